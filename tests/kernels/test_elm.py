"""ELM memory: the equation as loops, Numba and Newton against the specification, and the op as PyTorch sees it."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking import Events
from spiking.kernels import MLP, MemoryState, elm
from spiking.kernels.elm import flat, newton
from spiking.kernels.elm.cpu_product import product, tanh
from spiking.kernels.elm.trace import trace

from .elm_cases import CASES, Case, Problem, assert_close, build, run, specified
from .guard import poison

BACKENDS = ["reference", "numba"]
NAMED = {case.name: case for case in CASES}


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_the_equation(activation: str) -> None:
    """One number after the other, as the paper writes it."""
    case = Case("loops", activation=activation, T=11, B=2, inputs=4, hidden=3, units=2, density=0.4, lengths=(11, 6))
    p = build(case)
    x = p.x.to_dense(torch.float64) if isinstance(p.x, Events) else p.x
    w = {name: leaf.tolist() for name, leaf in p.leaves.items()}
    wanted = run(case, p, "reference")
    for b in range(2):
        current, m = list(w["state.current"][b]), list(w["state.memory"][b])
        for t in range(case.lengths[b] if case.lengths else 0):
            current = [
                w["leak"][0] * current[k] + sum(float(x[t, b, i]) * w["weight"][i][k] for i in range(4))
                for k in range(3)
            ]
            kept = [w["decay"][j] * m[j] for j in range(2)]
            z = [current[k] + w["bias"][k] + sum(kept[j] * w["memory"][j][k] for j in range(2)) for k in range(3)]
            hidden = [max(v, 0.0) if activation == "relu" else v / (1 + math.exp(-v)) for v in z]
            u = [w["update_bias"][j] + sum(hidden[k] * w["update"][k][j] for k in range(3)) for j in range(2)]
            m = [kept[j] + w["gain"][j] * 1.7159 * math.tanh(2 * u[j] / 3) for j in range(2)]
            torch.testing.assert_close(wanted["m"][t, b], torch.tensor(m, dtype=torch.float64))
        torch.testing.assert_close(wanted["current"][b], torch.tensor(current, dtype=torch.float64))
        torch.testing.assert_close(wanted["memory"][b], torch.tensor(m, dtype=torch.float64))
    assert wanted["m"][6:, 1].abs().sum() == 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_numba_is_the_specification(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    p = build(case)
    wanted = specified(case, p)
    poison(monkeypatch)
    assert_close(case, run(case, p, "numba"), wanted, 1e-11)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_newton_is_the_specification(case: Case) -> None:
    p = build(case)
    assert_close(case, run(case, p, "numba", "newton"), specified(case, p), 1e-10)


@pytest.mark.parametrize("solver", ["serial", "newton"])
@pytest.mark.parametrize("name", ["plain", "silu", "learned_dense", "several_groups"])
def test_single_precision(name: str, solver: str) -> None:
    case = NAMED[name]
    p = build(case, torch.float32)
    found = run(case, p, "numba", solver)
    assert found["m"].dtype == torch.float32
    assert_close(case, found, specified(case, p), 3e-5)


@pytest.mark.parametrize("name", ["several_groups", "several_rounds"])
def test_threads_do_not_change_a_bit(name: str) -> None:
    p, before, results = build(NAMED[name], torch.float32), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(NAMED[name], p, "numba"))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(other[key], x) for key, x in results[0].items())


@settings(max_examples=25)
@given(
    sizes=st.tuples(st.integers(0, 19), st.integers(0, 9), *(st.integers(1, 6) for _ in range(3))),
    kind=st.sampled_from(["events", "dense", "learned", "currents"]), activation=st.sampled_from(["relu", "silu"]),
    density=st.sampled_from([0.0, 0.1, 1.0]), seed=st.integers(0, 99), data=st.data(),
)
def test_any_sizes(
    sizes: tuple[int, ...], kind: str, activation: str, density: float, seed: int, data: st.DataObject
) -> None:
    T, B, inputs, hidden, units = sizes
    lengths = tuple(data.draw(st.integers(0, T)) for _ in range(B))
    case = Case("any", kind, activation, T, B, inputs, hidden, units, density, valued=True, lengths=lengths)
    p = build(case, seed=seed)
    wanted = specified(case, p)
    assert_close(case, run(case, p, "numba"), wanted, 1e-11)
    assert_close(case, run(case, p, "numba", "newton"), wanted, 1e-9)


@pytest.mark.parametrize("solver", ["serial", "newton"])
@pytest.mark.parametrize("kind", ["events", "learned", "currents"])
def test_gradcheck(kind: str, solver: str) -> None:
    case = Case("small", kind, "silu", T=10, B=2, inputs=4, hidden=3, units=2, density=0.3, lengths=(10, 4))
    p = build(case)
    names = list(p.leaves)
    leaves = list(p.leaves.values()) + ([] if isinstance(p.x, Events) else [p.x])

    def outputs(*given: Tensor) -> tuple[Tensor, ...]:
        w = dict(zip(names, given, strict=False))
        m, after = elm(
            p.x if isinstance(p.x, Events) else given[-1], MemoryState(w["state.current"], w["state.memory"]),
            mlp=MLP(*(w[name] for name in MLP._fields)), decay=w["decay"], gain=w["gain"], weight=w.get("weight"),
            leak=w["leak"], activation="silu", solver=solver, lengths=p.lengths, backend="numba",
        )
        return m, *after

    assert torch.autograd.gradcheck(outputs, [leaf.requires_grad_() for leaf in leaves])


def options(p: Problem) -> dict[str, Any]:
    w = p.leaves
    return {
        "mlp": MLP(*(w[name] for name in MLP._fields)), "decay": w["decay"], "gain": w["gain"],
        "weight": w.get("weight"), "leak": w["leak"],
    }


@pytest.mark.parametrize("solver", ["serial", "newton"])
@pytest.mark.parametrize("cuts", [[20], [3, 5, 6, 30]])
def test_parts_are_the_whole(cuts: list[int], solver: str) -> None:
    p = build(Case("parts", T=40, B=3, lengths=(40, 25, 4), state=False))
    whole, last = elm(p.x, **options(p), solver=solver)
    state, parts = None, []
    for start, stop in zip([0, *cuts], [*cuts, 40], strict=True):
        m, state = elm(p.x[start:stop], state, **options(p), solver=solver)
        parts.append(m)
    torch.testing.assert_close(torch.cat(parts), whole)
    assert state is not None
    torch.testing.assert_close(state.memory, last.memory)
    torch.testing.assert_close(state.current, last.current)


def test_a_shorter_recording_is_one_cut_off() -> None:
    p = build(Case("cut", kind="dense", T=30, B=1))
    assert isinstance(p.x, Tensor)
    alone, after = elm(p.x[:17], **options(p))
    nonsense = torch.where(torch.arange(30)[:, None, None] < 17, p.x, torch.nan)
    for backend in BACKENDS:
        weight = p.leaves["weight"].clone().requires_grad_()
        given = {**options(p), "weight": weight}
        padded, state = elm(nonsense, lengths=torch.tensor([17]), backend=backend, **given)
        torch.testing.assert_close(padded[:17], alone)
        torch.testing.assert_close(state.memory, after.memory)
        assert padded[17:].abs().sum() == 0 and alone.abs().sum() > 0
        assert torch.autograd.grad(padded.sum(), weight)[0].isfinite().all()


def test_the_trace_is_what_the_filter_holds() -> None:
    p = build(Case("trace", T=30, lengths=(30, 0, 11), valued=True, state=False))
    assert isinstance(p.x, Events)
    _, after = elm(p.x, **options(p))
    left = trace(p.x, p.leaves["leak"])
    torch.testing.assert_close(left @ p.leaves["weight"], after.current)
    torch.testing.assert_close(trace(p.x.to_dense(torch.float64), p.leaves["leak"], p.x.lengths), left)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_have_the_dtype_of_the_weights(dtype: torch.dtype, backend: str) -> None:
    p = build(NAMED["plain"], dtype)
    given = {**options(p), "gain": p.leaves["gain"].requires_grad_()}
    m, state = elm(p.x, backend=backend, **given)
    assert m.dtype == dtype and state.memory.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.autograd.grad(m.sum(), p.leaves["gain"])[0].dtype == dtype


def test_only_the_memory_grows_with_the_steps() -> None:
    """Nothing of T * B * h is kept for the backward pass: the memory, and a current for every 16 steps."""
    T, B, h, d = 400, 8, 64, 32
    p, saved = build(Case("memory", T=T, B=B, inputs=30, hidden=h, units=d, density=0.05), torch.float32), []

    def pack(x: Tensor) -> Tensor:
        saved.append(x.numel() if x.is_floating_point() else 0)
        return x

    given = {**options(p), "weight": p.leaves["weight"].requires_grad_()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        elm(p.x, **given)
    assert T * B * d < sum(saved) < T * B * d * 1.2


@pytest.mark.parametrize("units", [4, 20])
def test_newton_takes_few_iterations_and_never_more_than_steps(units: int) -> None:
    p = build(Case("newton", T=400, B=2, hidden=2 * units, units=units))
    drive = p.x.to_dense(torch.float64) if isinstance(p.x, Events) else p.x
    w = p.leaves
    currents = newton.filtered(drive @ w["weight"], w["state.current"], w["leak"])
    inner = [w["state.memory"], *(w[name] for name in MLP._fields), w["decay"], w["gain"]]
    _, count = newton.solve(currents, *inner, 0)
    assert 2 <= int(count) <= 40
    wild = [inner[0], 30 * inner[1], inner[2], 30 * inner[3], *inner[4:]]  # chaotic: slopes far above 1
    m, count = newton.solve(currents[:25], *wild, 0)
    assert int(count) <= 25 and m.isfinite().all()
    wanted, _ = elm(
        (drive @ w["weight"])[:25], MemoryState(w["state.current"], w["state.memory"]), mlp=MLP(*wild[1:5]),
        decay=w["decay"], gain=w["gain"], leak=w["leak"], backend="reference",
    )
    torch.testing.assert_close(m, wanted)


def test_the_scan_is_a_loop() -> None:
    g = torch.Generator().manual_seed(0)
    for T in (0, 1, 2, 3, 7, 8, 21):
        a, c = (torch.randn(T, 2, *shape, generator=g, dtype=torch.float64) for shape in ((3, 3), (3,)))
        x, wanted = torch.zeros(2, 3, dtype=torch.float64), []
        for t in range(T):
            x = (a[t] @ x[..., None])[..., 0] + c[t]
            wanted.append(x)
        torch.testing.assert_close(newton.scan(a, c), torch.stack(wanted) if T else c)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_and_tanh_of_the_loops(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    for rows, inner, columns in ((4, 1, 16), (8, 7, 80), (12, 33, 112), (4, 0, 16), (4, 200, 208)):
        a, w, c = (torch.randn(*shape, generator=g, dtype=dtype) for shape in (
            (rows, inner), (inner, columns), (rows, columns)))
        found, turned = c.clone(), c.clone()
        flat_w = w.view(-1).numpy()
        product(a.view(-1).numpy(), 0, inner, 1, flat_w, 0, columns, found.view(-1).numpy(), 0, columns, rows, inner,
                columns)
        product(a.t().contiguous().view(-1).numpy(), 0, 1, rows, flat_w, 0, columns, turned.view(-1).numpy(), 0,
                columns, rows, inner, columns)
        for result in (found, turned):
            torch.testing.assert_close(result, c + a @ w)
    x = torch.cat([torch.linspace(-12, 12, 10001, dtype=dtype), torch.tensor([0.0, -0.0, 1e-20, 1e4], dtype=dtype)])
    y = x.clone()
    tanh(y.numpy(), 0, len(y), 0.7)
    assert float((y.double() - torch.tanh(0.7 * x.double())).abs().max()) < (8e-8 if dtype == torch.float32 else 1e-15)


def test_opcheck() -> None:
    learned = replace(NAMED["learned_dense"], lengths=(23, 0, 9))
    for case in (NAMED["plain"], NAMED["read_and_memory"], NAMED["currents"], learned):
        p = build(case, torch.float32)
        w = {name: leaf.requires_grad_() for name, leaf in p.leaves.items()}
        events: tuple[Tensor | None, ...] = (None,) * 4
        drive = None
        if isinstance(p.x, Events):
            events = (p.x.indptr, p.x.index, p.x.value, w["weight"])
        else:
            drive = (p.x if case.kind == "currents" else (p.x @ w["weight"]).detach()).requires_grad_()
        rest = [w["state.current"], w["state.memory"], *(w[name] for name in MLP._fields), w["decay"], w["gain"]]
        given = (*events, drive, *rest, w["leak"], w.get("readout"), p.lengths, 23, 0, True, "numba")
        torch.library.opcheck(flat.memory, given)
        out, _, _, kept, _ = (x.detach() for x in flat.memory(*given))
        gradients = [*p.gradients, None][:4]
        still = [x.detach() if isinstance(x, Tensor) else x for x in given]
        torch.library.opcheck(
            torch.ops.spiking.elm_backward, (*gradients, out, kept, *still[:16], 23, 0, "numba")
        )
    torch.library.opcheck(flat.checked, (w["decay"], w["gain"], w["leak"], [w["memory"], w["bias"]], None, 23))
    current = torch.randn(9, 2, 10)
    solved = [x.detach() for x in (torch.randn(2, 5), *rest[2:])]
    torch.library.opcheck(newton.solve, (current, *solved, 0))
    m, j = torch.randn(9, 2, 5).requires_grad_(), torch.rand(9, 2, 5, 5)
    torch.library.opcheck(torch.ops.spiking.elm_adjoint, (m, j))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of inductor itself
@pytest.mark.parametrize(
    ("compiler", "solver"), [("aot_eager", "serial"), ("inductor", "serial"), ("aot_eager", "newton")]
)
def test_compiles_into_one_graph(compiler: str, solver: str) -> None:
    if compiler == "inductor" and not shutil.which("g++"):
        pytest.skip("inductor needs g++")
    p = build(replace(NAMED["plain"], T=9))
    gain = p.leaves["gain"].requires_grad_()

    def both(x: Events, gain: Tensor) -> Tensor:
        m, after = elm(x, **{**options(p), "gain": gain}, solver=solver)
        return elm(m, after, mlp=MLP(*(p.leaves[name] for name in MLP._fields)), decay=p.leaves["decay"], gain=gain,
                   weight=p.leaves["weight"][:5])[0]

    wanted = both(p.x, gain)
    found = torch.compile(both, fullgraph=True, backend=compiler)(p.x, gain)
    torch.testing.assert_close(found, wanted)
    for a, b in zip(*(torch.autograd.grad(y.sum(), [gain]) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(a, b)


def good() -> dict[str, Any]:
    return {
        "x": torch.zeros(6, 2, 4), "weight": torch.ones(4, 3), "decay": torch.full((2,), 0.5),
        "gain": torch.full((2,), 0.5), "mlp": MLP(torch.ones(2, 3), torch.ones(3), torch.ones(3, 2), torch.ones(2)),
    }


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"x": [1]}, "x: expected Events or a tensor, got list"),
        ({"x": torch.zeros(6, 4)}, r"x: expected real numbers \(T, B, in\), got torch.float32 \(6, 4\)"),
        ({"weight": torch.ones(5, 3)}, r"weight: expected \(in, h\), here \(4, 3\), got \(5, 3\)"),
        ({"weight": torch.full((4, 3), torch.nan)}, "weight: expected finite numbers, got nan at input 0, neuron 0"),
        ({"weight": None}, r"x: expected currents \(T, B, h=3\), as there is no weight, got \(6, 2, 4\)"),
        ({"decay": torch.ones(3)}, r"gain: expected \(d,\), here \(3,\), got \(2,\)"),
        ({"decay": torch.tensor([0.5, torch.inf])}, "decay: expected finite numbers"),
        ({"gain": torch.ones(2, dtype=torch.int64)}, "gain: expected floating numbers, got torch.int64"),
        ({"mlp": torch.ones(3)}, "mlp: expected an MLP of four tensors, got Tensor"),
        (
            {"mlp": good()["mlp"]._replace(update=torch.ones(2, 3))},
            r"mlp.update: expected \(h, d\), here \(3, 2\), got \(2, 3\)",
        ),
        ({"mlp": good()["mlp"]._replace(bias=torch.full((3,), torch.nan))}, "mlp.bias: expected finite numbers"),
        ({"readout": [1]}, "readout: expected a tensor, got list"),
        ({"readout": torch.full((2, 3), torch.nan)}, "readout: expected finite numbers, got nan"),
        ({"readout": torch.ones(3, 2)}, r"readout: expected \(d=2, out\), got \(3, 2\)"),
        ({"readout": torch.ones(2)}, r"readout: expected \(d=2, out\), got \(2,\)"),
        ({"leak": "much"}, "leak: expected a number or a tensor, got str"),
        ({"leak": torch.ones(2)}, r"leak: expected a number or \(1,\), got \(2,\)"),
        ({"state": torch.ones(2)}, "state: expected a MemoryState, got Tensor"),
        ({"state": MemoryState(torch.ones(2, 3), torch.ones(1, 2))}, r"state.memory: expected \(B, d\), here \(2, 2\)"),
        ({"activation": "tanh"}, "activation: expected one of relu, silu, got 'tanh'"),
        ({"solver": "euler"}, "solver: expected one of serial, newton, got 'euler'"),
        ({"lengths": torch.tensor([7, 1])}, r"lengths: expected 0 to 6 steps, got \[7, 1\]"),
        ({"lengths": torch.tensor([1])}, r"lengths: expected \(2,\), got \(1,\)"),
        ({"x": Events.from_dense(torch.ones(6, 2, 4), 1.0), "lengths": torch.tensor([1, 1])}, "lengths: Events bring"),
        ({"x": Events.from_dense(torch.ones(6, 2, 4), 1.0), "weight": None}, "weight: Events need the weights"),
        ({"backend": "metal"}, "backend: expected one of"),
    ],
)
def test_malformed_calls(wrong: dict[str, Any], message: str, backend: str) -> None:
    call = {**good(), "backend": backend, **wrong}
    with pytest.raises((ValueError, TypeError), match=message):
        elm(call.pop("x"), **call)


def test_check_finite_says_where() -> None:
    call = good()
    x = call.pop("x")
    x[3, 1, 2] = torch.nan
    with pytest.raises(ValueError, match="x: expected finite numbers, got nan at step 3, sample 1, input 2"):
        elm(x, check_finite=True, **call)
    x = torch.zeros(6, 2, 4)
    call["decay"] = torch.full((2,), 1e30)
    with pytest.raises(FloatingPointError, match="memory: expected finite numbers, got inf at step 1, sample 0"):
        elm(x + 1, MemoryState(torch.ones(2, 3), torch.ones(2, 2)), check_finite=True, **call)
    call["decay"] = torch.full((2,), 0.5)
    m, _ = elm(x, check_finite=True, **{**call, "gain": call["gain"].requires_grad_()})
    with pytest.raises(FloatingPointError, match="gradient of memory: expected finite numbers, got inf"):
        m.backward(torch.full_like(m, torch.inf))
