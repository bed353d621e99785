"""The Triton kernels, run one program after the other by Triton's interpreter, against the specification.

Proves arithmetic, masks and addresses; races, barriers and alignment it can't see.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
import triton
import triton.language as tl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spiking.events import Events
from spiking.kernels import event_linear, lif
from spiking.kernels.event_linear import gpu as event_gpu
from spiking.kernels.lif import gpu
from spiking.kernels.lif.rule import Flags
from spiking.kernels.surrogate.gpu import derivative
from spiking.kernels.surrogate.reference import _DEFAULT
from spiking.kernels.surrogate.reference import derivative as specified_derivative

from .cases import CASES, Case, assert_close, build, specified, through_op
from .guard import bounds, poison

pytestmark = [
    pytest.mark.interpreter,
    pytest.mark.skipif(
        os.environ.get("TRITON_INTERPRET") != "1",
        reason="needs a process of its own: TRITON_INTERPRET=1 pytest -m interpreter tests/kernels",
    ),
]


@pytest.fixture(autouse=True)
def careful(monkeypatch):
    poison(monkeypatch)
    with bounds():
        yield


def check(case: Case, dtype: torch.dtype = torch.float64, tolerance: float = 1e-9) -> None:
    problem = build(case, dtype)
    found = through_op(case, problem, "triton")
    if dtype == torch.float64:
        assert torch.equal(found.spikes, specified(case, problem).spikes)
    assert_close(case, found, specified(case, problem, found.spikes), tolerance)


def small(case: Case, **sizes: object) -> Case:
    """A case cut to what the interpreter runs in a fraction of a second."""
    lengths = None if case.lengths is None else (6, 3)
    return replace(case, **{"T": 6, "B": 2, "N": 20, "inputs": 13, "lengths": lengths, **sizes})


SWITCHES = {(c.flags, c.surrogate, c.bias): small(c, fused=False) for c in CASES}
EVENTS = ("counts_and_signs", "lengths", "no_event", "everything_long", "ef_adlif", "hold_attached")
SIZES = ("no_step", "no_step_dense", "empty_batch", "empty_batch_dense", "lif_without_trace")


@pytest.mark.parametrize("case", SWITCHES.values(), ids=lambda c: c.name)
def test_every_switch_and_surrogate(case, monkeypatch):
    monkeypatch.setattr(gpu, "CHUNK", 4)
    check(case)


@pytest.mark.parametrize("case", [c for c in CASES if c.name in EVENTS], ids=lambda c: c.name)
def test_events(case, monkeypatch):
    monkeypatch.setattr(gpu, "CHUNK", 4)
    monkeypatch.setattr(gpu, "PROGRAMS", 1)  # one program takes all samples in turn
    check(small(case, density=0.3, N=33))


@pytest.mark.parametrize("case", [c for c in CASES if c.name in SIZES], ids=lambda c: c.name)
def test_sizes_without_content(case):
    check(replace(case, T=min(case.T, 2)))


@pytest.mark.parametrize(
    "case",
    [
        Case("as_the_issue_names_it", T=23, B=3, N=60),
        Case("two_chunks_and_lengths", Flags(1, 1, 0, 1, 0, 0), T=17, B=3, N=16, lengths=(17, 0, 16), fused=False),
        Case("three_blocks_of_neurons", T=2, B=1, N=301, inputs=5),
        Case("two_tiles_of_samples", T=2, B=5, N=33, fused=False),
        Case("one_neuron", T=3, B=1, N=1),
        Case("many_events_a_step", T=2, B=1, N=16, inputs=40, density=0.9),
        Case("padding_and_inclusive", Flags(inclusive=1, adaptation=2), T=3, B=1, N=17, fused=False),
    ],
    ids=lambda c: c.name,
)
def test_sizes(case, monkeypatch):
    monkeypatch.setattr(gpu, "PROGRAMS", 2)  # fewer than there are tiles
    check(case)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_storage(dtype):
    """Weights and spikes in a narrow type, arithmetic in float32: only the rounding of the result is its own."""
    case = Case("narrow", T=6, B=2, N=20, inputs=13, density=0.3, trace=False)
    problem = build(case, torch.float32)
    given = (problem.gradients[0].to(dtype), *problem.gradients[1:])
    problem = problem._replace(weight=problem.weight.to(dtype), gradients=given)
    found = through_op(case, problem, "triton")
    assert found.spikes.dtype == found.grad_input.dtype == dtype and found.last.dtype == torch.float32
    assert_close(case, found, specified(case, problem, found.spikes), 1e-5 if dtype == torch.float32 else 8e-3)


def test_the_same_inputs_give_the_same_bits():
    case = Case("twice", T=5, B=2, N=20, inputs=13, density=0.5)
    problem = build(case, torch.float32)
    first, second = (through_op(case, problem, "triton") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("flags", [Flags(synapse=1, inclusive=1, refractory=1), Flags(reset_next=1)])
def test_checkpoints_stand_before_their_step(flags):
    p = build(Case("saved", flags, T=9, B=1, N=11, fused=False))
    kept = [0, 1, 4] if flags.synapse else [0, 3]
    out = gpu.forward(
        p.current, None, None, None, None, p.params, p.state, p.lengths, 9, p.flags.as_list(), False, True
    )
    _, membrane, _, bits, checkpoints = out
    assert membrane.numel() == bits.numel() == 0 and checkpoints.shape == (2, len(kept), 1, 11)
    assert torch.equal(checkpoints[0], p.state[kept])
    before = gpu.forward(
        p.current[:8], None, None, None, None, p.params, p.state, p.lengths - 1, 8, p.flags.as_list(), False, False
    )
    assert torch.equal(checkpoints[1], before[2][kept])
    assert before[3].numel() == before[4].numel() == 0


EVERYTHING = next(c.flags for c in CASES if c.name == "everything")


@pytest.mark.parametrize(
    "case", [Case("held", T=18, B=3, N=20, fused=False), Case("scratch", EVERYTHING, T=6, B=3, N=20)],
    ids=lambda c: c.name,
)
def test_what_is_not_given_is_zero_and_what_is_not_wanted_is_not_made(case):
    """No lengths, one number for all of the state, gradients of the membrane alone."""
    p = build(case)
    nothing = torch.zeros_like(p.state)
    events = (None, None, None) if p.events is None else (p.events.indptr, p.events.index, p.events.value)
    given = (p.current, *events, p.weight, p.params)
    full, few = (nothing, p.lengths), (torch.zeros((), dtype=torch.float64).expand_as(nothing), None)
    rest = (case.T, p.flags.as_list())
    wanted, found = (gpu.forward(*given, *start, *rest, True, True) for start in (full, few))
    assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))
    spikes, membrane, _ = p.gradients
    saved, numbers = found[3:], p.surrogate.numbers
    zero = torch.zeros_like(spikes)
    wanted = gpu.backward(zero, membrane, nothing, *given, *full, *saved, *rest, numbers, True, True)
    found = gpu.backward(None, membrane, None, *given, *few, *saved, *rest, numbers, False, False)
    assert torch.equal(wanted[0], found[0]) and found[0].any()
    assert found[1].numel() == found[2].numel() == 0


# `careful` may last over all examples: it holds no state.
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 3), st.integers(0, 2), st.integers(1, 20), st.integers(1, 40), st.booleans(), st.integers(0, 999)
)
def test_event_linear_and_its_gradient(T, B, channels, columns, counts, seed):
    g = torch.Generator().manual_seed(seed)
    dense = (torch.rand(T, B, channels, generator=g) < 0.3).double()
    if counts:
        dense *= torch.randint(-2, 3, dense.shape, generator=g)
    x = Events.from_dense(dense, dt=1.0)
    weight = torch.randn(channels, columns, generator=g, dtype=torch.float64)
    grad = torch.randn(T * B, columns, generator=g, dtype=torch.float64)
    y = event_gpu.forward(x.indptr, x.index, x.value, weight, T * B)
    torch.testing.assert_close(y, dense.view(T * B, channels) @ weight)
    dw = event_gpu.backward(x.indptr, x.index, x.value, grad, channels)
    torch.testing.assert_close(dw, dense.view(T * B, channels).T @ grad)


def test_events_that_share_a_step_and_a_channel_add_up():
    indptr, index = torch.tensor([0, 3]), torch.tensor([1, 1, 0], dtype=torch.int32)
    weight = torch.tensor([[1.0], [10.0]])
    assert event_gpu.forward(indptr, index, None, weight, 1).tolist() == [[21.0]]
    assert event_gpu.backward(indptr, index, None, torch.ones(1, 1), 2).tolist() == [[1.0], [2.0]]


def test_public_functions_run_on_it():
    g = torch.Generator().manual_seed(0)
    x = Events.from_dense(torch.rand(5, 2, 7, generator=g) < 0.4, dt=1.0)
    results = []
    for backend in ("triton", "reference"):
        weight = torch.randn(7, 10, generator=torch.Generator().manual_seed(1), requires_grad=True)
        spikes, _ = lif(x, weight=weight, tau_mem=5.0, backend=backend)
        (spikes.sum() + event_linear(x, weight, backend=backend).square().sum()).backward()
        results.append((spikes.detach(), weight.grad))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@triton.jit
def derive(X, Y, n0: tl.float64, n1: tl.float64, n2: tl.float64, n3: tl.float64, kind: tl.constexpr):
    at = tl.arange(0, 64)
    x = tl.load(X + at)
    h = derivative(x, kind, *(tl.full((), n, x.dtype) for n in (n0, n1, n2, n3)))
    tl.store(Y + at, h)


@pytest.mark.parametrize("name", _DEFAULT)
def test_surrogates(name):
    surrogate = _DEFAULT[name]()
    edges = torch.tensor([0.0, -0.5, 0.5, -1.0, 1.0, 1.5, 1e-9, 80.0], dtype=torch.float64)
    x = torch.cat([torch.linspace(-3, 3, 56, dtype=torch.float64), edges])
    y = torch.full_like(x, float("nan"))
    derive[(1,)](x, y, *surrogate.numbers[1:], kind=name)
    torch.testing.assert_close(y, specified_derivative(surrogate, x), rtol=1e-12, atol=1e-15)


@triton.jit
def shift(X, Y, far: tl.constexpr, there: tl.constexpr):
    at = tl.arange(0, 8)
    tl.store(Y + at + there, tl.load(X + at + far))


@pytest.mark.parametrize(("far", "there", "word"), [(8, 0, "load"), (-1, 0, "load"), (0, 1, "store")])
def test_the_guard_bites(far, there, word):
    """A view into a longer tensor: the neighbour's memory exists, and Triton alone would touch it."""
    x, y = torch.arange(32.0)[8:16], torch.zeros(32)[8:16]
    shift[(1,)](x, y, 0, 0)
    assert torch.equal(x, y)
    with pytest.raises(Exception, match=f"out-of-bounds {word}"):
        shift[(1,)](x, y, far, there)


def test_the_poison_shows(monkeypatch):
    """A kernel that writes nothing leaves NaN, which assert_close refuses."""
    tile = gpu._tile(2, 32, False, gpu.TILE)[1]
    monkeypatch.setattr(gpu, "_tile", lambda *_: ((0, 1), tile))
    with pytest.raises(AssertionError):
        check(Case("unwritten", T=2, B=2, N=20, fused=False))
