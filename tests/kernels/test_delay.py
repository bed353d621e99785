"""Delayed events: the equation as loops, the Numba kernels against the specification, and the op as PyTorch sees it."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking import Events
from spiking.kernels import delay_linear, event_linear
from spiking.kernels.delay import flat, reference
from spiking.kernels.delay.window import REACH, width, window

from .delay_cases import CASES, Case, Result, assert_close, build, run, specified
from .guard import poison

BACKENDS = ["reference", "numba"]
NAMED = {case.name: case for case in CASES}


def uniform(*shape: int, high: float = 1.0, seed: int = 0) -> Tensor:
    return high * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def train(T: int, B: int, N: int, density: float = 0.2, seed: int = 0) -> Tensor:
    return (uniform(T, B, N, seed=seed) < density).double()


def share(p: int, d: float, last: int, sigma: float, rounded: bool) -> float:
    """k(p; d) as the papers write it."""
    if rounded:
        return float(p == round(d))
    if sigma == 0:
        return max(0.0, 1 - abs(p - d))
    return math.exp(-0.5 * ((p - d) / sigma) ** 2) / sum(
        math.exp(-0.5 * ((q - d) / sigma) ** 2) for q in range(last + 1)
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("axonal", [False, True])
@pytest.mark.parametrize(("sigma", "rounded"), [(0.0, False), (0.0, True), (0.6, False), (3.0, False)])
def test_the_equation(sigma: float, rounded: bool, axonal: bool, backend: str) -> None:
    """y[t'+p, b, o] += v W[i, o] k(p; d[i, o]) event by event; what would arrive after a recording's end is dropped."""
    T, B, inputs, out, last = 30, 2, 4, 3, 28
    x, lengths = train(T, B, inputs) * 2, [T, 17]
    weight, delay = uniform(inputs, out, seed=1) - 0.5, uniform(inputs, out, high=last, seed=2)
    if axonal:
        delay = delay[:, 0]
    wanted, under_way = torch.zeros(T, B, out), torch.zeros(last, B, out)
    for t, b, i in x.nonzero().tolist():
        for o in range(out if t < lengths[b] else 0):
            for p in range(last + 1):
                d = float(delay[i] if axonal else delay[i, o])
                arriving = float(x[t, b, i] * weight[i, o]) * share(p, d, last, sigma, rounded)
                if t + p < lengths[b]:
                    wanted[t + p, b, o] += arriving
                elif t + p - lengths[b] < last:
                    under_way[t + p - lengths[b], b, o] += arriving
    events = Events.from_dense(x, 1.0, torch.tensor(lengths))
    y, state = delay_linear(events, weight, delay, last, sigma=sigma, rounded=rounded, backend=backend)
    torch.testing.assert_close(y, wanted.double(), atol=2e-6, rtol=0)  # REACH leaves out 1e-6
    torch.testing.assert_close(state, under_way.double(), atol=2e-6, rtol=0)
    assert y[17:, 1].abs().sum() == 0 and y[:17, 1].abs().sum() > 0


@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.0, 1.9])
def test_what_the_window_leaves_out(sigma: float) -> None:
    """Less than 1e-6 of the kernel, the rest sums to 1; the delay's gradient is the same within 1e-4 of its size."""
    last = 80
    delay = torch.cat([uniform(40, 5, high=last), torch.tensor([[0.0, 0.5, 1.5, last - 0.5, last]])]).requires_grad_()
    assert width(last, sigma, False) == 2 * math.ceil(REACH * sigma) + 1 < last
    cut, whole = (reference.positions(delay, last, sigma, False, truncated) for truncated in (True, False))
    torch.testing.assert_close(cut.sum(1), torch.ones_like(delay))
    missing = float((cut - whole).abs().sum(1).detach().max())
    assert missing < 2e-6
    given = uniform(*cut.shape, seed=3)
    a, b = (torch.autograd.grad(k, delay, given)[0] for k in (cut, whole))
    assert float((a - b).abs().max()) < 1e-4 * float(b.abs().max())
    if sigma >= 1:
        assert missing > 1e-8, "the test needs a kernel that is cut"


@pytest.mark.parametrize("sigma", [0.0, 0.5, 7.0])
def test_the_window_is_where_the_reference_is_not_zero(sigma: float) -> None:
    last, delay = 40, torch.cat([uniform(20, 4, high=40), torch.tensor([[0.0, 40.0, 13.0, 13.5]])])
    for rounded in (False, True):
        k, first = window(delay, last, sigma, rounded)
        assert first.dtype == torch.int32 and first.shape[1] == (1 if k.shape[1] == last + 1 else 4)
        place = first.long()[:, None] + torch.arange(k.shape[1])[:, None]
        dense = torch.zeros(21, last + 1, 4, dtype=torch.float64).scatter_(1, place.expand_as(k), k)
        torch.testing.assert_close(dense, reference.positions(delay, last, sigma, rounded))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_numba_is_the_specification(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    p = build(case)
    wanted = specified(case, p)
    poison(monkeypatch)
    assert_close(case, run(case, p, "numba"), wanted, 1e-11)


@pytest.mark.parametrize("name", ["gaussian", "rounded", "dense_gaussian", "axonal_linear", "too_dense_gaussian"])
def test_numba_in_single_precision(name: str) -> None:
    case = NAMED[name]
    p = build(case, torch.float32)
    found = run(case, p, "numba")
    assert found.y.dtype == torch.float32
    assert_close(case, found, specified(case, p), 2e-5)


@pytest.mark.parametrize("name", ["several_blocks", "axonal_several_blocks", "gaussian_everywhere"])
def test_threads_do_not_change_a_bit(name: str) -> None:
    p, before, results = build(NAMED[name], torch.float32), torch.get_num_threads(), list[Result]()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(NAMED[name], p, "numba"))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


@settings(max_examples=40)
@given(
    sizes=st.tuples(st.integers(1, 12), *(st.integers(0, 5) for _ in range(3))), last=st.integers(0, 30),
    sigma=st.sampled_from([0.0, 0.3, 2.0]), rounded=st.booleans(), axonal=st.booleans(), dense=st.booleans(),
    density=st.sampled_from([0.0, 0.1, 1.0]), seed=st.integers(0, 99),
)
def test_any_sizes(
    sizes: tuple[int, int, int, int], last: int, sigma: float, rounded: bool, axonal: bool, dense: bool,
    density: float, seed: int,
) -> None:
    T, B, inputs, out = sizes
    if not inputs * out:
        return
    case = Case("any", sigma, rounded, axonal, T, B, inputs, out, last, density, dense=dense)
    p = build(case, seed=seed)
    assert_close(case, run(case, p, "numba"), specified(case, p), 1e-11)


def test_whole_delays_are_a_convolution() -> None:
    """With a whole delay the Gaussian and linear kernels are those of a dilated convolution with torch's own conv1d."""
    T, B, inputs, out, last = 40, 3, 6, 5, 11
    x, weight = train(T, B, inputs), uniform(inputs, out, seed=1)
    delay = uniform(inputs, out, high=last, seed=2).round()
    kernel = torch.zeros(out, inputs, last + 1, dtype=torch.float64)
    kernel.scatter_(2, (last - delay.long()).t()[:, :, None], weight.t()[:, :, None])
    wanted = torch.nn.functional.conv1d(x.permute(1, 2, 0), kernel, padding=last)[:, :, :T].permute(2, 0, 1)
    for sigma, rounded in ((0.0, True), (0.0, False), (0.05, False)):
        y, _ = delay_linear(Events.from_dense(x, 1.0), weight, delay, last, sigma=sigma, rounded=rounded)
        torch.testing.assert_close(y, wanted)


def test_without_delays_it_is_event_linear() -> None:
    x, weight = Events.from_dense(train(20, 3, 7), 1.0), uniform(7, 9)
    y, state = delay_linear(x, weight, torch.zeros(7, 9, dtype=torch.float64), 0)
    torch.testing.assert_close(y, event_linear(x, weight))
    assert state.shape == (0, 3, 9)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("name", ["gaussian", "linear", "axonal_gaussian", "too_dense"])
def test_gradcheck(name: str, dense: bool) -> None:
    case = NAMED[name]
    x = train(7, 2, 4, 0.9 if name == "too_dense" else 0.3)
    delay = uniform(*((4,) if case.axonal else (4, 3)), high=17, seed=2)
    leaves = [uniform(4, 3, seed=1), delay, uniform(18, 2, 3, seed=4), *([x] if dense else [])]
    lengths = torch.tensor([7, 4])

    def outputs(weight: Tensor, delay: Tensor, state: Tensor, x: Tensor = x) -> tuple[Tensor, Tensor]:
        given = x if dense else Events.from_dense(x, 1.0, lengths)
        return delay_linear(
            given, weight, delay, 18, state, sigma=case.sigma, lengths=lengths if dense else None, backend="numba"
        )

    assert torch.autograd.gradcheck(outputs, [leaf.requires_grad_() for leaf in leaves])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cuts", [[20], [3, 5, 6, 30]])  # parts shorter than the delays, too
def test_parts_are_the_whole(cuts: list[int], backend: str) -> None:
    T, B, last = 40, 3, 18
    dense, weight = train(T, B, 6), uniform(6, 5, seed=1).requires_grad_()
    delay = uniform(6, 5, high=last, seed=2).requires_grad_()
    x = Events.from_dense(dense, 1.0, torch.tensor([T, 25, 4]))
    whole, last_state = delay_linear(x, weight, delay, last, sigma=0.5, backend=backend)
    state, parts = torch.zeros(last, B, 5, dtype=torch.float64), []
    for start, stop in zip([0, *cuts], [*cuts, T], strict=True):
        y, state = delay_linear(x[start:stop], weight, delay, last, state, sigma=0.5, backend=backend)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts), whole)
    torch.testing.assert_close(state, last_state)
    given = uniform(T, B, 5, seed=5)
    for a, b in zip(
        torch.autograd.grad(torch.cat(parts), [weight, delay], given),
        torch.autograd.grad(whole, [weight, delay], given), strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_a_shorter_recording_is_one_cut_off() -> None:
    x, weight, delay = train(40, 1, 6), uniform(6, 5), uniform(6, 5, high=12, seed=2)
    alone, state = delay_linear(Events.from_dense(x[:17], 1.0), weight, delay, 12)
    for source, lengths in ((Events.from_dense(x, 1.0, torch.tensor([17])), None), (x, torch.tensor([17]))):
        padded, after = delay_linear(source, weight, delay, 12, lengths=lengths)
        torch.testing.assert_close(padded[:17], alone)
        torch.testing.assert_close(after, state)
        assert padded[17:].abs().sum() == 0 and alone.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_have_the_dtype_of_the_weight(dtype: torch.dtype, backend: str) -> None:
    x, weight, delay = train(20, 2, 6), uniform(6, 5).to(dtype).requires_grad_(), uniform(6, 5, high=9).to(dtype)
    for source in (Events.from_dense(x, 1.0), x.to(dtype)):
        y, state = delay_linear(source, weight, delay.requires_grad_(), 9, sigma=0.5, backend=backend)
        assert y.dtype == dtype and state.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        for slope in torch.autograd.grad(y.sum(), [weight, delay]):
            assert slope.dtype == dtype


def test_nothing_of_the_size_of_the_output_is_saved() -> None:
    T, B, N = 400, 8, 64
    x, weight = Events.from_dense(train(T, B, 30, 0.05), 1.0), uniform(30, N).float().requires_grad_()
    delay, saved = uniform(30, N, high=9).float().requires_grad_(), list[int]()

    def pack(x: Tensor) -> Tensor:
        saved.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        delay_linear(x, weight, delay, 10, sigma=0.5)
    assert 0 < sum(saved) < T * B * N


def test_opcheck() -> None:
    p = build(NAMED["gaussian"], torch.float32)
    assert isinstance(p.x, Events)
    k, first = window(p.delay, 20, 0.37, False)
    taps = (p.weight[:, None] * k).requires_grad_()
    torch.library.opcheck(flat.events, (p.x.indptr, p.x.index, p.x.value, taps, first, 23, 3, 20, "numba"))
    for density in (0.1, 0.9):
        x = train(23, 3, 17, density).float().requires_grad_()
        torch.library.opcheck(flat.dense, (x, taps, first, 20, "numba"))
    grad = torch.randn(43, 3, 60)
    torch.library.opcheck(
        torch.ops.spiking.delay_backward, (p.x.indptr, p.x.index, None, None, grad, first, 5, 20, "numba")
    )
    torch.library.opcheck(torch.ops.spiking.delay_input_gradient, (grad, taps.detach(), first, 20))
    torch.library.opcheck(flat.checked, (p.delay.requires_grad_(), p.weight, p.x.lengths, 20, 20, 23))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of inductor itself
@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_compiles_into_one_graph(compiler: str) -> None:
    if compiler == "inductor" and not shutil.which("g++"):
        pytest.skip("inductor needs g++")
    x, leaves = Events.from_dense(train(20, 3, 6), 1.0), [uniform(6, 5), uniform(6, 5, high=9, seed=1)]
    weight, delay = (leaf.requires_grad_() for leaf in leaves)

    def both(x: Events, weight: Tensor, delay: Tensor) -> Tensor:
        hidden, _ = delay_linear(x, weight, delay, 9, sigma=0.5)
        return delay_linear(hidden, weight[:5], delay[:5], 9)[0]

    wanted = both(x, weight, delay)
    compiled = torch.compile(both, fullgraph=True, backend=compiler)
    found = compiled(x, weight, delay)
    torch.testing.assert_close(found, wanted)
    for a, b in zip(*(torch.autograd.grad(y.sum(), [weight, delay]) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match="delay: expected finite numbers"):
        compiled(x, weight, torch.full_like(delay, torch.nan).requires_grad_())


GOOD = {"weight": torch.ones(6, 5), "delay": torch.ones(6, 5), "max_delay": 9}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weight": torch.ones(7, 5)}, r"weight: expected \(in=6, out\), got \(7, 5\)"),
        ({"weight": torch.ones(6, 5, dtype=torch.int64)}, "weight: expected floating numbers, got torch.int64"),
        ({"weight": torch.full((6, 5), torch.inf)}, "weight: expected finite numbers"),
        ({"delay": torch.ones(5, 6)}, r"delay: expected \(6, 5\) or \(6,\), got \(5, 6\)"),
        ({"delay": torch.ones(6, dtype=torch.int64)}, "delay: expected floating numbers"),
        ({"delay": torch.full((6, 5), torch.nan)}, r"delay: expected finite numbers of steps, 0 to 9 .*, got nan"),
        ({"delay": torch.full((6,), torch.inf)}, "delay: expected finite numbers of steps, 0 to 9 .*, got inf"),
        ({"delay": torch.full((6,), -0.01)}, "delay: expected finite numbers of steps, 0 to 9 .*, got -0.01"),
        ({"delay": torch.full((6,), 9.5)}, "delay: expected finite numbers of steps, 0 to 9 .*, got 9.5"),
        (
            {"delay": torch.full((6,), 21.0), "max_delay": 30},
            "delay: expected no more than the 20 steps of the recording, got 21",
        ),
        ({"max_delay": -1}, "max_delay: expected a whole number of steps, 0 or more, got -1"),
        ({"max_delay": 2.5}, "max_delay: expected a whole number of steps, 0 or more, got 2.5"),
        ({"state": torch.zeros(8, 3, 5)}, r"state: expected \(9, 3, 5\), got \(8, 3, 5\)"),
        ({"sigma": -1.0}, "sigma: expected a finite number of steps, 0 or more, got -1.0"),
        ({"sigma": math.nan}, "sigma: expected a finite number of steps"),
        ({"lengths": torch.tensor([1, 2])}, r"lengths: expected \(3,\), got \(2,\)"),
        ({"lengths": torch.tensor([1, -1, 2])}, r"lengths: expected 0 to 20 steps, got \[1, -1, 2\]"),
        ({"lengths": torch.tensor([1, 21, 2])}, r"lengths: expected 0 to 20 steps, got \[1, 21, 2\]"),
        ({"x": torch.zeros(20, 6)}, r"x: expected \(T, B, in\), got \(20, 6\)"),
        ({"backend": "cuda"}, "backend: expected one of"),
    ],
)
def test_a_wrong_argument_is_named_before_a_kernel_runs(
    wrong: dict, message: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flat, "_kernels", lambda name: pytest.fail("a kernel ran"))
    monkeypatch.setattr(reference, "delay_linear", lambda *_: pytest.fail("the reference ran"))
    with pytest.raises(ValueError, match=message):
        delay_linear(**{"x": torch.zeros(20, 3, 6), "backend": backend, **GOOD, **wrong})


def test_events_are_checked() -> None:
    x = Events.from_dense(train(20, 3, 6), 1.0)
    with pytest.raises(ValueError, match="lengths: Events bring their own"):
        delay_linear(x, **GOOD, lengths=torch.tensor([1, 2, 3]))
    with pytest.raises(TypeError, match="x: expected Events or a tensor, got list"):
        delay_linear([1.0], **GOOD)


BOUNDS = """
import sys
sys.path.insert(0, {folder!r})
import torch
from delay_cases import CASES, build, run
for case in CASES:
    if case.B * case.T < 60:
        run(case, build(case), "numba")
"""


@pytest.mark.timeout(300)
def test_no_kernel_leaves_its_arrays(tmp_path: Path) -> None:
    """Numba checks every index: a place outside an array raises an IndexError."""
    env = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_OPT": "0"}
    script = BOUNDS.format(folder=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
