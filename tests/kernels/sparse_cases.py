"""Sparse synapses for tests, and the code that runs them beside the dense product or the specification."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spiking import Events
from spiking.kernels import SparseWeight, event_linear

from .cases import RECURRENT, Case, Problem, Result, _gradients, build, leaves_of

OPS = torch.ops.spiking
NAMES = (
    "recurrent_lif", "recurrent_dense", "recurrent_without_trace", "recurrent_no_step_dense", "recurrent_one_neuron",
    "recurrent_segment_and_a_step", "recurrent_several_groups", "recurrent_several_blocks_adlif", "recurrent_lengths",
    "recurrent_empty_batch", "recurrent_all_firing_refractory", "recurrent_everything_long",
    "recurrent_leaky_integrator", "recurrent_everything", "recurrent_few_near_the_threshold",
)  # fmt: skip
WHOLE = Case("recurrent_whole_groups", T=18, B=131, N=19, surrogate="arctan", fused=False, recurrent=True)
SOME = [*(case for case in RECURRENT if case.name in NAMES), WHOLE]


def sparse(
    inputs: int, N: int, density: float = 0.3, seed: int = 0, dtype: torch.dtype = torch.float64
) -> SparseWeight:
    """Random synapses whose strengths take a gradient."""
    g = torch.Generator().manual_seed(seed)
    matrix = torch.randn(inputs, N, generator=g, dtype=dtype) * (torch.rand(inputs, N, generator=g) < density)
    weight = SparseWeight.from_dense(matrix)
    return weight.with_values(weight.values.requires_grad_())


def trains(T: int, B: int, inputs: int, density: float = 0.3, counts: bool = False, seed: int = 1) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    dense = (torch.rand(T, B, inputs, generator=g) < density).double()
    return dense * torch.randint(-2, 3, dense.shape, generator=g) if counts else dense


def check_linear(dense: Tensor, weight: SparseWeight, backend: str, device: str = "cpu") -> None:
    """Events and a graded input, forward and all gradients, against the dense product."""
    dense, weight = dense.to(device), weight.to(device)
    matrix = weight.to_dense().detach().requires_grad_()
    graded = [dense.clone().requires_grad_() for _ in range(2)]
    wanted = graded[0] @ matrix
    grad = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(2), dtype=wanted.dtype).to(device)
    dx, dw = torch.autograd.grad(wanted, (graded[0], matrix), grad)
    at = dw[weight.rows(), weight.index.long()]
    for x in (Events.from_dense(dense, 1.0), graded[1]):
        out = event_linear(x, weight, backend=backend)
        torch.testing.assert_close(out, wanted)
        torch.testing.assert_close(torch.autograd.grad(out, weight.values, grad, retain_graph=True)[0], at)
    torch.testing.assert_close(torch.autograd.grad(out, graded[1], grad)[0], dx)


def masked(case: Case, dtype: torch.dtype = torch.float64) -> tuple[Problem, Tensor]:
    """A case whose recurrent matrix has a third of its synapses, and which."""
    p = build(case, dtype)
    assert p.recurrent is not None
    kept = torch.rand(p.recurrent.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    return p._replace(recurrent=p.recurrent * kept / 0.5), kept


def arguments(case: Case, p: Problem, leaves: list[Tensor], backend: str = "numba") -> tuple[Any, ...]:
    source, params, state, matrix = leaves
    current = source if p.events is None else p.events.to_dense(source.dtype) @ source
    fan = SparseWeight.from_dense(matrix)
    flags, numbers = p.flags.as_list(), p.surrogate.numbers
    return (
        current, fan.indptr, fan.index, fan.values, params, state, p.lengths, flags, numbers, case.trace, True, backend
    )


def through_sparse(case: Case, p: Problem, backend: str = "numba") -> Result:
    """Forward and backward of `lif_sparse`; the gradient of V is that of a matrix, 0 where there is no synapse."""
    leaves = leaves_of(p)
    spikes, membrane, last, _, _ = OPS.lif_sparse(*arguments(case, p, leaves, backend))
    outputs, given = (spikes, membrane, last), p.gradients
    if not case.trace:
        outputs, given = (spikes, last), (given[0], given[2])
    return Result(spikes.detach(), membrane.detach(), last.detach(), *_gradients(leaves, outputs, given))
