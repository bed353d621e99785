"""The Triton kernels of sparse synapses under the interpreter; every address is checked.

`event_linear` is held to the dense product, `lif` to the specification with the dense matrix.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from triton.runtime import interpreter

from spiking import Events
from spiking.kernels import Adaptation, Rule, SparseWeight, event_linear, lif
from spiking.kernels.lif import gpu_sparse
from spiking.kernels.lif.rule import THETA, Flags, Z
from spiking.kernels.sparse_linear import gpu
from spiking.kernels.surrogate.reference import derivative

from .cases import RECURRENT, Case, assert_close, specified
from .guard import INTERPRETED
from .sparse_cases import arguments, check_linear, masked, sparse, through_sparse, trains

pytestmark = INTERPRETED


# `careful` may last over all examples: it holds no state.
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 3), st.integers(0, 2), st.integers(1, 9), st.integers(1, 20), st.booleans(),
    st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 99),
)  # fmt: skip
def test_event_linear_is_the_dense_product(T, B, inputs, N, counts, reach, seed):
    check_linear(trains(T, B, inputs, 0.3, counts, seed), sparse(inputs, N, reach, seed), "triton")


@pytest.mark.parametrize(("N", "density"), [(2 * gpu.TILE + 5, 0.01), (gpu.SYNAPSES + 9, 1.0)])
def test_tiles_of_targets_and_long_fan_outs(N, density):
    check_linear(trains(1, 2, 4, 0.6), sparse(4, N, density), "triton")


def test_many_rows_go_back_in_blocks():
    check_linear(trains(gpu.ROWS + 3, 1, 3, 0.2), sparse(3, 5), "triton")


def test_the_same_inputs_give_the_same_bits_in_single_precision():
    weight, dense = sparse(13, 20, dtype=torch.float32), trains(5, 2, 13).float()
    found = []
    for x in (dense, Events.from_dense(dense, 1.0)):
        for _ in range(2):
            out = event_linear(x, weight, backend="triton")
            found.append((out, torch.autograd.grad(out.square().sum(), weight.values)[0]))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def check(case: Case, dtype: torch.dtype = torch.float64, tolerance: float = 1e-9) -> None:
    p, kept = masked(case, dtype)
    found = through_sparse(case, p, "triton")
    if dtype == torch.float64:
        assert torch.equal(found.spikes, specified(case, p).spikes)
    wanted = specified(case, p, found.spikes)
    assert_close(case, found, wanted._replace(grad_recurrent=wanted.grad_recurrent * kept), tolerance)


# The kernel's step is that of dense weights, which test_interpreter.py holds to every switch.
NAMES = (
    "lif", "lengths_in_second_segment", "next_reset_attached", "hold_attached", "alif_previous", "adlif_attached",
    "everything", "leaky_integrator", "without_trace",
)  # fmt: skip
SWITCHES = [c for c in RECURRENT if c.name.removeprefix("recurrent_") in NAMES]


@pytest.mark.parametrize("case", SWITCHES, ids=lambda c: c.name)
def test_recurrent_weights_with_switches_and_surrogates(case, monkeypatch):
    """Two tiles of neurons, the second of them mostly padding, and two segments of time."""
    monkeypatch.setattr(gpu_sparse, "CHECKPOINT", 3)
    monkeypatch.setattr(gpu_sparse, "TILE", 16)
    lengths = (5, 2) if case.lengths else None
    check(replace(case, T=5, B=2 if lengths else 1, N=19, inputs=13, fused=False, lengths=lengths))


@pytest.mark.parametrize(
    "case",
    [
        *(replace(c, T=min(c.T, 2)) for c in RECURRENT if c.name in ("recurrent_no_step", "recurrent_empty_batch")),
        Case("two_segments", T=18, B=1, N=9, lengths=(17,)),
        Case("one_neuron", T=5, B=2, N=1),
        Case("two_warps_and_long_fan_outs", T=2, B=1, N=70, inputs=5, surrogate="arctan", bias=0.2),
        Case("padding_and_inclusive", Flags(inclusive=1), T=3, B=1, N=17, surrogate="fast_sigmoid", fused=False),
    ],
    ids=lambda c: c.name,
)  # fmt: skip
def test_recurrent_sizes(case, monkeypatch):
    monkeypatch.setattr(gpu_sparse, "LANES", 16)
    check(replace(case, recurrent=True))


def test_recurrent_neurons_feel_graded_spikes_of_the_state(monkeypatch):
    monkeypatch.setattr(gpu_sparse, "TILE", 16)
    case = Case("graded", T=3, B=2, N=20, fused=False, recurrent=True)
    p, kept = masked(case)
    state = p.state.clone()
    state[Z] = torch.linspace(-1, 1, 40, dtype=torch.float64).view(2, 20)
    p = p._replace(state=state)
    wanted = specified(case, p)
    assert_close(
        case, through_sparse(case, p, "triton"), wanted._replace(grad_recurrent=wanted.grad_recurrent * kept), 1e-9
    )


def test_a_population_without_synapses():
    empty = SparseWeight.from_dense(torch.zeros(3, 3, dtype=torch.float64))
    current = torch.randn(3, 1, 3, dtype=torch.float64, requires_grad=True)
    found, wanted = (
        lif(current, recurrent=V, dt=1.0, tau_mem=2.0, threshold=0.2, backend="triton")[0] for V in (empty, None)
    )
    assert bool(found.any()) and torch.equal(found, wanted)
    (slope,), (same,) = (torch.autograd.grad(out.sum(), current) for out in (found, wanted))
    torch.testing.assert_close(slope, same)


def test_only_synapses_of_neurons_that_spiked_or_could_have_are_read(monkeypatch):
    """Counts what is loaded of the strengths: of each spike, and back of each neuron whose surrogate is not 0."""
    case = Case("rows", T=4, B=2, N=20, inputs=13, fused=False, recurrent=True)
    p, _ = masked(case)
    current, indptr, index, values, *given = arguments(case, p, [p.current, p.params, p.state, p.recurrent], "triton")
    low, high = values.data_ptr(), values.data_ptr() + values.nbytes
    builder, loaded = type(interpreter.interpreter_builder), 0
    load = builder.create_masked_load

    def counting(self, pointers, mask, *rest):
        nonlocal loaded
        touched = np.broadcast_to(pointers.data, mask.data.shape)[mask.data]
        loaded += int(((touched >= low) & (touched < high)).sum())
        return load(self, pointers, mask, *rest)

    params, state, lengths, flags, numbers, *_ = given
    size = indptr.diff().double()
    with monkeypatch.context() as patch:  # undone before the guard is
        patch.setattr(builder, "create_masked_load", counting)
        spikes, membrane, _, bits, checkpoints = gpu_sparse.forward(
            current, indptr, index, values, params, state, lengths, flags, True, True
        )
        sent = int((torch.cat([(state[Z] != 0).double()[None], spikes[:-1]]) @ size).sum())
        assert loaded == sent > 0
        gpu_sparse.backward(
            *p.gradients, current, indptr, index, values, params, state, lengths, bits, checkpoints, flags, numbers,
            True,
        )  # fmt: skip
    able = (derivative(p.surrogate, membrane[:-1] - params[THETA]) != 0).double()
    assert able.mean() < 0.8
    # what each neuron received is summed again, and the initial spikes get an adjoint at all neurons
    assert loaded == 2 * sent + int((able @ size).sum()) + int(size.sum())


def test_a_recurrent_layer_gives_the_same_bits_in_single_precision():
    case = Case("twice", Flags(adaptation=1), T=4, B=1, N=24, fused=False, recurrent=True)
    p, _ = masked(case, torch.float32)
    first, second = (through_sparse(case, p, "triton") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    check(case, torch.float32, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lif_with_sparse_weights_everywhere_is_the_reference(dtype):
    x = Events.from_dense(trains(6, 2, 20, 0.4), 1.0, torch.tensor([6, 4]))
    found = []
    for backend in ("triton", "reference"):
        weight, recurrent = sparse(20, 13, dtype=dtype), sparse(13, 13, seed=3, dtype=dtype)
        spikes, state = lif(
            x, weight=weight, recurrent=recurrent, backend=backend, threshold=0.1, surrogate="triangle",
            adaptation=Adaptation("threshold", strength=1.0), rule=Rule(refractory=2.0),
        )  # fmt: skip
        assert spikes.dtype == dtype and bool(spikes.any())
        slopes = torch.autograd.grad(spikes.sum() + state.membrane.sum(), [weight.values, recurrent.values])
        found.append([spikes.detach(), *(s.detach() for s in state), *slopes])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2 if dtype != torch.float32 else 1e-4, atol=1e-3)
