"""What a reservoir remembers between two calls: `reservoir(more, ..., state=state)` goes on with the same bits."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spiking.kernels.arguments import floating
from spiking.kernels.reservoir.neuron import IZHIKEVICH, NEURON, RECEPTORS, SYNAPSE, B, C, Setup


class ReservoirState(NamedTuple):
    """State of B recordings of N neurons; delays of up to L - 1 steps, R receptors, G groups of short-term plasticity.

    Arguments:
        clock: (B,) int64, steps done.
        membrane: (B, N) V.
        slow: (B, N) rise of the threshold, or u of Izhikevich's neurons.
        current: (B, K, N) synaptic currents: i of each receptor, or h and i of each.
        refractory: (B, N) int32, steps left.
        pending: (B, L, R, N) what arrives in the steps to come, that of step `clock + d` at (clock + d) mod L.
        use, resources: (B, N, G) u and R at the neuron's last spike.
        last: (B, N) int64, its step; -1 for none.
        trace: (B, N), filtered spikes; (B, 0) where the last call did not record them.
    """

    clock: Tensor
    membrane: Tensor
    slow: Tensor
    current: Tensor
    refractory: Tensor
    pending: Tensor
    use: Tensor
    resources: Tensor
    last: Tensor
    trace: Tensor


def resting(setup: Setup, batch: int, slots: int, groups: int) -> ReservoirState:
    """Neurons without input since ever: V at 0, Izhikevich's at c and u at b c."""
    params, _, flags = setup
    N, device = params.shape[1], params.device

    def zeros(*shape: int, dtype: torch.dtype = params.dtype) -> Tensor:
        return torch.zeros(batch, *shape, dtype=dtype, device=device)

    membrane, slow = zeros(N), zeros(N)
    if flags[NEURON] == IZHIKEVICH:
        membrane += params[C]
        slow += params[B] * params[C]
    return ReservoirState(
        zeros(dtype=torch.int64), membrane, slow, zeros(flags[RECEPTORS] * flags[SYNAPSE], N),
        zeros(N, dtype=torch.int32), zeros(slots, flags[RECEPTORS], N), zeros(N, groups), zeros(N, groups),
        zeros(N, dtype=torch.int64) - 1, zeros(0),
    )  # fmt: skip


def copy(state: ReservoirState, like: ReservoirState) -> ReservoirState:
    """A copy of a given state that fits what `resting` gives.

    Raises:
        ValueError, TypeError: naming the field.
    """
    if not isinstance(state, ReservoirState):
        raise TypeError(f"state: expected a ReservoirState, got {type(state).__name__}")
    fields = {}
    for name, given, wanted in zip(state._fields, state, like, strict=True):
        if not isinstance(given, Tensor):
            raise TypeError(f"state.{name}: expected a tensor, got {type(given).__name__}")
        fits = given.shape == wanted.shape or (name == "trace" and given.shape == like.membrane.shape)
        if not fits:
            raise ValueError(f"state.{name}: expected {tuple(wanted.shape)}, got {tuple(given.shape)}")
        if wanted.is_floating_point():
            floating(f"state.{name}", given, wanted.device)
        elif given.dtype != wanted.dtype or given.device != wanted.device:
            raise ValueError(f"state.{name}: expected {wanted.dtype} on {wanted.device}, got {given.dtype}")
        fields[name] = given.detach().to(wanted.dtype, copy=True, memory_format=torch.contiguous_format)
    if bool((fields["clock"] < 0).any()) or bool((fields["refractory"] < 0).any()):
        raise ValueError("state: expected clocks and refractory steps of 0 or more")
    return ReservoirState(**fields)
