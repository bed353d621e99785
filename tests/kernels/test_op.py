"""The ops as PyTorch sees them: registration, compilation, arguments, state, dtypes, what is saved."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor

from spiking import Events
from spiking.kernels import Adaptation, FallbackWarning, LIFState, Rule, event_linear, lif, set_backend
from spiking.kernels.lif.rule import CHECKPOINT

from .cases import CASES, RECURRENT, arguments, build, leaves_of

OPS = torch.ops.spiking


def events(T: int = 20, B: int = 3, N: int = 30, density: float = 0.1, dt: float = 1.0) -> Events:
    return Events.from_dense(torch.rand(T, B, N, generator=torch.Generator().manual_seed(0)) < density, dt)


def matrix(inputs: int = 30, N: int = 12, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(inputs, N, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize(
    "name", ["lif", "everything_long", "lengths_dense", "lif_without_trace", "resonance", "recurrent_everything"]
)
def test_opcheck_lif(name: str) -> None:
    case = next(case for case in CASES + RECURRENT if case.name == name)
    problem = build(case, torch.float32)
    torch.library.opcheck(OPS.lif, arguments(problem, leaves_of(problem), "numba", case.trace))


def test_opcheck_event_linear() -> None:
    x, weight = events(), matrix().requires_grad_()
    torch.library.opcheck(OPS.event_linear, (x.indptr, x.index, x.value, weight, 60, "numba"))
    flat = x.to_dense().view(60, 30).requires_grad_()
    torch.library.opcheck(OPS.dense_linear, (flat, weight, "numba"))
    torch.library.opcheck(
        OPS.event_linear_backward, (x.indptr, x.index, None, None, torch.randn(60, 12), 30, "numba")
    )


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of inductor itself
@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_compiles_into_one_graph(compiler: str) -> None:
    if compiler == "inductor" and not shutil.which("g++"):
        pytest.skip("inductor needs g++")
    x, weight, recurrent = events(), matrix().requires_grad_(), matrix(12) * 0.1

    def run(x: Events, weight: Tensor) -> Tensor:
        hidden, _ = lif(x, weight=weight, recurrent=recurrent, tau_mem=10.0)
        assert isinstance(hidden, Tensor)
        return event_linear(hidden, weight[:12])

    wanted = run(x, weight)
    slope = torch.autograd.grad(wanted.sum(), weight)[0]
    found = torch.compile(run, fullgraph=True, backend=compiler)(x, weight)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), weight)[0], slope)


def test_gradcheck_where_it_is_smooth() -> None:
    """Without a reset the membrane is a linear filter of the input: finite differences must agree."""
    x = events(T=19, B=2, N=5, density=0.4)
    leaves = [
        matrix(5, 3, torch.float64),
        torch.tensor([8.0, 12.0, 20.0], dtype=torch.float64),
        torch.tensor([4.0, 5.0, 6.0], dtype=torch.float64),
        torch.tensor([0.1, -0.2, 0.0], dtype=torch.float64),
    ]
    rule = Rule(reset="none")

    def membrane(weight: Tensor, tau_mem: Tensor, tau_syn: Tensor, bias: Tensor) -> Tensor:
        out, _ = lif(
            x, weight=weight, tau_mem=tau_mem, tau_syn=tau_syn, bias=bias, threshold=float("inf"), rule=rule,
            surrogate="never", trace=True, backend="numba",
        )
        return out[1]

    assert torch.autograd.gradcheck(membrane, [leaf.requires_grad_() for leaf in leaves])
    dense = x.to_dense(torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: event_linear(x, w), [dense, leaves[0]])


@pytest.mark.parametrize("recurrent", [None, matrix(12)])
def test_a_state_goes_on_where_it_stopped(recurrent: Tensor | None) -> None:
    x, weight = events(T=40), matrix()
    options = dict(
        weight=weight, recurrent=recurrent, tau_mem=10.0, tau_syn=5.0, adaptation=Adaptation("threshold", strength=1.0),
        rule=Rule(refractory=2.0),
    )
    whole, last = lif(x, **options)
    first, state = lif(x[:17], **options)
    second, state = lif(x[17:], state, **options)
    assert torch.equal(torch.cat([first, second]), whole)
    for a, b in zip(state, last, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("recurrent", [None, matrix(12, dtype=torch.float64)])
def test_the_state_carries_gradients_across_calls(recurrent: Tensor | None) -> None:
    x, weight = events(T=40), matrix(dtype=torch.float64).requires_grad_()
    whole, _ = lif(x, weight=weight, recurrent=recurrent)
    slope = torch.autograd.grad(whole.sum(), weight)[0]
    first, state = lif(x[:17], weight=weight, recurrent=recurrent)
    second, _ = lif(x[17:], state, weight=weight, recurrent=recurrent)
    torch.testing.assert_close(torch.autograd.grad(first.sum() + second.sum(), weight)[0], slope)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_the_threshold_itself_spikes_only_if_inclusive(backend: str) -> None:
    current = torch.tensor([0.5, 1.0, 1.5]).expand(1, 1, 3)
    for inclusive, wanted in ((False, [0.0, 0.0, 1.0]), (True, [0.0, 1.0, 1.0])):
        rule = Rule(input_scale="one", inclusive=inclusive)
        spikes, _ = lif(current, rule=rule, dt=1.0, backend=backend)
        assert spikes[0, 0].tolist() == wanted


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_outputs_have_the_dtype_of_the_weight(dtype: torch.dtype) -> None:
    x, weight, recurrent = events(), matrix().to(dtype).requires_grad_(), matrix(12).to(dtype).requires_grad_()
    for fan_out in (None, recurrent):
        spikes, state = lif(x, weight=weight, recurrent=fan_out)
        assert spikes.dtype == dtype
        assert state.membrane.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        spikes.sum().backward()
    assert weight.grad is not None and weight.grad.dtype == dtype
    assert recurrent.grad is not None and recurrent.grad.dtype == dtype
    assert event_linear(x, weight).dtype == dtype
    assert event_linear(x.to_dense(), weight).dtype == dtype


def test_what_is_saved_is_bits_and_checkpoints() -> None:
    T, B, N = 100, 8, 64
    weight = matrix(N=N).requires_grad_()
    saved: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        saved[x.data_ptr()] = x.numel() * x.element_size()
        return x

    x = events(T, B)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        lif(x, weight=weight)
    given = sum(t.numel() * t.element_size() for t in (x.indptr, x.index, x.lengths, weight))
    checkpoints = -(-T // CHECKPOINT) * B * N * 4
    small = (10 * N + 5 * B * N) * 4 + 1024
    bits = -(-T // CHECKPOINT) * B * N // 8
    assert 0 < sum(saved.values()) <= given + bits + checkpoints + small
    assert sum(saved.values()) < T * B * N * 4


@pytest.mark.parametrize(
    ("options", "rows"), [({}, 1), ({"tau_syn": 5.0, "adaptation": Adaptation("threshold", strength=1.0)}, 3)]
)
def test_recurrent_weights_save_nothing_but_bits_and_checkpoints(options: dict, rows: int) -> None:
    T, B, N = 100, 8, 60
    x, weight, recurrent = events(T, B), matrix(N=N).requires_grad_(), (matrix(N, N) * 0.05).requires_grad_()
    saved: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        saved[x.data_ptr()] = x.numel() * x.element_size()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        lif(x, weight=weight, recurrent=recurrent, **options)
    given = sum(t.numel() * t.element_size() for t in (x.indptr, x.index, x.lengths, weight, recurrent))
    segments, parameters, state = -(-T // CHECKPOINT), 10 * N * 4, 5 * B * N * 4
    assert sum(saved.values()) == given + parameters + state + segments * B * (-(-N // 8) + rows * N * 4)


def test_sparse_dense_inputs_are_saved_as_events() -> None:
    x = events(T=100, B=8, N=300, density=0.01).to_dense()
    saved: list[int] = []

    def pack(x: Tensor) -> Tensor:
        saved.append(x.numel() * x.element_size())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        event_linear(x, matrix(300).requires_grad_())
    assert 0 < sum(saved) < x.numel()


def test_a_callable_surrogate_runs_on_the_reference() -> None:
    x, weight = events(), matrix()
    with set_backend("numba"), pytest.warns(FallbackWarning, match="a surrogate given as a function"):
        lif(x, weight=weight, surrogate=lambda u: (u > 0).to(u.dtype))
    with pytest.warns(FallbackWarning, match="holds 1024 neurons, not 1025"):
        lif(torch.zeros(2, 1, 1025), recurrent=torch.zeros(1025, 1025), dt=1.0, backend="triton")


def test_recurrent_weights_and_an_initial_z_between_0_and_1_are_those_of_the_reference() -> None:
    """The state of the first step may be anything; only later ones are spikes."""
    g = torch.Generator().manual_seed(2)
    found = []
    for backend in ("numba", "reference"):
        weight, recurrent = matrix(dtype=torch.float64), matrix(12, dtype=torch.float64) * 0.2
        z = torch.rand(3, 12, generator=g.manual_seed(3), dtype=torch.float64)
        leaves = [x.requires_grad_() for x in (weight, recurrent, z)]
        zero = torch.zeros_like(z)
        spikes, after = lif(
            events(), LIFState(zero, zero, zero, z, zero), weight=weight, recurrent=recurrent, backend=backend,
            surrogate="triangle",
        )
        assert isinstance(spikes, Tensor)
        loss = (spikes * torch.linspace(-1, 1, 12)).sum() + after.membrane.sum()
        found.append([spikes.detach(), *torch.autograd.grad(loss, leaves)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
    assert found[0][3].abs().min() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "weight: events need"),
        ({"weight": torch.zeros(7, 12)}, r"weight: expected \(in=30, N\), got \(7, 12\)"),
        ({"weight": torch.zeros(30)}, "weight: expected"),
        ({"weight": matrix(), "dt": 2.0}, "dt: layer 2.0 ms, events 1.0 ms"),
        ({"weight": matrix(), "tau_mem": -1.0}, "tau_mem: expected a time constant above 0 ms, got -1.0"),
        ({"weight": matrix(), "tau_mem": torch.ones(5)}, r"tau_mem: expected a number or \(12,\), got \(5,\)"),
        ({"weight": matrix(), "tau_syn": 0.0}, "tau_syn"),
        ({"weight": matrix(), "threshold": torch.ones(5)}, "threshold: expected"),
        ({"weight": matrix(), "bias": torch.ones(5)}, r"bias: expected \(12,\)"),
        ({"weight": matrix(), "recurrent": torch.ones(5, 5)}, "recurrent: expected"),
        ({"weight": matrix(), "surrogate": "step"}, "surrogate: expected one of"),
        ({"weight": matrix(), "backend": "cuda"}, "backend: expected one of"),
        ({"weight": matrix(), "lengths": torch.ones(3)}, "lengths: Events bring their own"),
        ({"weight": matrix(), "tau_mem": 0.5, "rule": Rule(decay="euler")}, "tau_mem: decay='euler'"),
        ({"weight": matrix(), "state": LIFState(*[torch.zeros(2, 12)] * 5)}, r"state.membrane: expected \(3, 12\)"),
    ],
)
def test_lif_names_a_wrong_argument(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lif(events(), **options)


def test_dense_inputs_are_checked() -> None:
    with pytest.raises(ValueError, match="dt: a dense tensor needs"):
        lif(torch.zeros(3, 2, 4))
    with pytest.raises(ValueError, match="x: expected a floating"):
        lif(torch.zeros(3, 2, 4, dtype=torch.int64), dt=1.0)
    with pytest.raises(ValueError, match="x: expected a floating"):
        lif(torch.zeros(3, 4), dt=1.0)
    with pytest.raises(ValueError, match=r"lengths: expected \(2,\)"):
        lif(torch.zeros(3, 2, 4), dt=1.0, lengths=torch.ones(5))
    with pytest.raises(TypeError, match="x: expected Events or a tensor, got list"):
        lif([1.0], weight=matrix())


def test_event_linear_names_a_wrong_argument() -> None:
    with pytest.raises(ValueError, match=r"weight: expected \(in=30, out\), got \(7, 12\)"):
        event_linear(events(), torch.zeros(7, 12))
    with pytest.raises(ValueError, match="x: expected"):
        event_linear(torch.zeros(3, 30), matrix())
    with pytest.raises(TypeError, match="x: expected Events or a tensor, got list"):
        event_linear([1.0], matrix())
    with pytest.raises(ValueError, match="weight: expected floating numbers"):
        event_linear(events(), torch.zeros(30, 4, dtype=torch.int64))


@pytest.mark.parametrize(
    ("indptr", "index", "message"),
    [
        ([0, 1, 3], [0, 1, 5], "index: expected channels 0 to 4, got 0 to 5"),
        ([0, 1, 3], [0, -1, 2], "index: expected channels 0 to 4, got -1 to 2"),
        ([0, 4, 3], [0, 1, 2], "indptr: expected a rising sequence"),
        ([0, 1, 9], [0, 1, 2], "indptr: expected a rising sequence"),
        ([0, 3], [0, 1, 2], "indptr: expected"),
    ],
)
def test_malformed_events_never_reach_a_kernel(indptr: list[int], index: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Events(torch.tensor(indptr), torch.tensor(index), (2, 1, 5), 1.0)
