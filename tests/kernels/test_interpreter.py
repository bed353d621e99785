"""The Triton kernels, run one program after the other by Triton's interpreter, against the specification.

Proves arithmetic, masks and addresses; races, barriers and alignment it can't see.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from triton.runtime import interpreter

from spiking.events import Events
from spiking.kernels import event_linear, lif
from spiking.kernels.event_linear import gpu as event_gpu
from spiking.kernels.lif import gpu
from spiking.kernels.lif.rule import THETA, Flags, Z
from spiking.kernels.surrogate.gpu import derivative
from spiking.kernels.surrogate.reference import _DEFAULT
from spiking.kernels.surrogate.reference import derivative as specified_derivative

from .cases import CASES, RECURRENT, Case, assert_close, build, specified, through_op
from .guard import INTERPRETED

pytestmark = INTERPRETED


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
CONNECTED = {(c.flags, c.surrogate, c.bias, bool(c.lengths), c.trace): small(c, fused=False) for c in RECURRENT}


@pytest.mark.parametrize("case", SWITCHES.values(), ids=lambda c: c.name)
def test_every_switch_and_surrogate(case, monkeypatch):
    monkeypatch.setattr(gpu, "CHECKPOINT", 4)
    check(case)


@pytest.mark.parametrize("case", [c for c in CASES if c.name in EVENTS], ids=lambda c: c.name)
def test_events(case, monkeypatch):
    monkeypatch.setattr(gpu, "CHECKPOINT", 4)
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
def test_sizes(case):
    check(case)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_storage(dtype, recurrent):
    """Weights and spikes in a narrow type, arithmetic in float32: only the rounding of the result is its own."""
    case = Case("narrow", T=6, B=2, N=20, inputs=13, density=0.3, trace=False, recurrent=recurrent)
    problem = build(case, torch.float32)
    given = (problem.gradients[0].to(dtype), *problem.gradients[1:])
    problem = problem._replace(weight=problem.weight.to(dtype), gradients=given)
    if recurrent:
        problem = problem._replace(recurrent=problem.recurrent.to(dtype))
    found = through_op(case, problem, "triton")
    assert found.spikes.dtype == found.grad_input.dtype == dtype and found.last.dtype == torch.float32
    assert_close(case, found, specified(case, problem, found.spikes), 1e-5 if dtype == torch.float32 else 8e-3)


@pytest.mark.parametrize("case", CONNECTED.values(), ids=lambda c: c.name)
def test_recurrent_weights_with_every_switch_and_surrogate(case, monkeypatch):
    monkeypatch.setattr(gpu, "CHECKPOINT", 4)
    check(case)


@pytest.mark.parametrize(
    "case",
    [
        *(replace(c, T=min(c.T, 2)) for c in RECURRENT if c.name in ("recurrent_no_step", "recurrent_empty_batch")),
        Case("events_in_two_chunks", T=18, B=2, N=33, valued=True, lengths=(18, 17)),
        Case("one_neuron", T=5, B=2, N=1),
        Case("two_warps_wide", T=3, B=2, N=150, inputs=5, surrogate="arctan", bias=0.6),
        Case("more_than_a_handful_firing", Flags(adaptation=1), T=4, B=1, N=40, fused=False, bias=1.0),
        Case("padding_and_inclusive", Flags(inclusive=1), T=3, B=1, N=17, surrogate="fast_sigmoid", fused=False),
    ],
    ids=lambda c: c.name,
)
def test_recurrent_sizes(case):
    check(replace(case, recurrent=True))


def test_recurrent_neurons_feel_graded_spikes_of_the_state():
    """A state may hold any numbers as its last spikes: they pass through the weights, and so does their gradient."""
    case = Case("graded", T=3, B=2, N=20, fused=False, recurrent=True)
    p = build(case)
    state = p.state.clone()
    state[Z] = torch.linspace(-1, 1, 40, dtype=torch.float64).view(2, 20)
    p = p._replace(state=state)
    assert_close(case, through_op(case, p, "triton"), specified(case, p), 1e-9)


def test_long_recordings_unpack_their_spikes_in_parts(monkeypatch):
    monkeypatch.setattr(gpu, "UNPACKED", 100)
    check(Case("parts", T=9, B=2, N=20, fused=False, recurrent=True))


def test_only_rows_of_neurons_that_spiked_or_could_have_are_read(monkeypatch):
    """Counts what is loaded of the matrix: twice a row for each spike, once for each surrogate that is not 0."""
    case = Case("rows", T=6, B=2, N=32, inputs=13, density=0.3, recurrent=True)
    p = build(case)
    assert p.recurrent is not None
    low, high = p.recurrent.data_ptr(), p.recurrent.data_ptr() + p.recurrent.nbytes
    builder, loaded = type(interpreter.interpreter_builder), 0
    load = builder.create_masked_load

    def counting(self, pointers, mask, *rest):
        nonlocal loaded
        touched = np.broadcast_to(pointers.data, mask.data.shape)[mask.data]
        loaded += int(((touched >= low) & (touched < high)).sum())
        return load(self, pointers, mask, *rest)

    kept = (p.current, p.events.indptr, p.events.index, p.events.value, p.weight, p.recurrent, p.params, p.state)
    flags = p.flags.as_list()
    with monkeypatch.context() as patch:  # undone before the guard is
        patch.setattr(builder, "create_masked_load", counting)
        spikes, membrane, _, bits, checkpoints = gpu.forward(*kept, p.lengths, 6, flags, True, True)
        fired = int(spikes[:-1].sum())
        assert loaded == 32 * fired > 0
        gpu.backward(*p.gradients, *kept, p.lengths, bits, checkpoints, 6, flags, p.surrogate.numbers, True)
    able = int((specified_derivative(p.surrogate, membrane[:-1] - p.params[THETA]) != 0).sum())
    assert able < 0.8 * 5 * 2 * 32
    assert loaded == 32 * (2 * fired + able)


@pytest.mark.parametrize("recurrent", [False, True])
def test_the_same_inputs_give_the_same_bits(recurrent):
    case = Case("twice", T=5, B=2, N=20, inputs=13, density=0.5, recurrent=recurrent)
    problem = build(case, torch.float32)
    first, second = (through_op(case, problem, "triton") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_bits_are_little_endian_and_checkpoints_stand_before_their_step():
    p = build(Case("saved", Flags(synapse=1, inclusive=1, refractory=1), T=17, B=1, N=11, fused=False))
    none = (None,) * 5
    out = gpu.forward(p.current, *none, p.params, p.state, p.lengths, 17, p.flags.as_list(), False, True)
    spikes, membrane, _, bits, checkpoints = out
    assert membrane.numel() == 0 and bits.shape == (17, 1, 2) and checkpoints.shape == (2, 3, 1, 11)
    unpacked = ((bits[..., None] >> torch.arange(8)) & 1).view(17, 1, 16)
    assert torch.equal(unpacked[..., :11].double(), spikes)
    assert not unpacked[..., 11:].any()  # the bits of no neuron
    assert torch.equal(checkpoints[0], p.state[[0, 1, 4]])
    before = gpu.forward(p.current[:16], *none, p.params, p.state, p.lengths - 1, 16, p.flags.as_list(), False, False)
    assert torch.equal(checkpoints[1], before[2][[0, 1, 4]])
    assert before[3].numel() == before[4].numel() == 0


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
        recurrent = torch.eye(10).roll(1, 0).requires_grad_()
        spikes, _ = lif(x, weight=weight, tau_mem=5.0, backend=backend)
        again, _ = lif(x, weight=weight, recurrent=recurrent, tau_mem=5.0, backend=backend)
        (spikes.sum() + again.sum() + event_linear(x, weight, backend=backend).square().sum()).backward()
        assert bool(again.any())
        results.append((spikes.detach(), again.detach(), weight.grad, recurrent.grad))
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
    tile = gpu._tile(2, 32, False, False, False)[1]
    monkeypatch.setattr(gpu, "_tile", lambda *_: ((0, 0), tile))
    with pytest.raises(AssertionError):
        check(Case("unwritten", T=2, B=2, N=20, fused=False))
