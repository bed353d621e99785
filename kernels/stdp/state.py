"""What a learning network remembers between two calls; traces stand as they were at their last spike."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spiking.kernels.arguments import floating
from spiking.kernels.reservoir.neuron import THRESHOLD, Setup
from spiking.kernels.reservoir.state import ReservoirState
from spiking.kernels.reservoir.state import copy as copy_reservoir
from spiking.kernels.stdp.plastic import Plastic
from spiking.kernels.stdp.rule import Rule, brought


class LearningState(NamedTuple):
    """State of a network of N neurons with D different delays of synapses that learn, the longest below L.

    Arguments:
        network: of its neurons, one recording; `clock` of it is the step to come.
        weight: (nnz,) strengths of all recurrent synapses.
        eligibility: (nnz,) changes that wait for a reward; (0,) where they come at once.
        pre: (2, N) r1 and r2 at the neuron's last spike.
        seen: (N,) int64, its step; -1 for none.
        post: (D, 4, N) o1, o2, y / rate and theta behind each delay, at the last spike that came there.
        came: (D, N) int64, the step at which it came; -1 for none.
        past: (L, N) bool, the spikes of the last L steps, those of step t in row t mod L.
        reward: () float64, what is left of rewards that are spread.
        threshold: (N,) thresholds that learn; (0,) where they don't.
    """

    network: ReservoirState
    weight: Tensor
    eligibility: Tensor
    pre: Tensor
    seen: Tensor
    post: Tensor
    came: Tensor
    past: Tensor
    reward: Tensor
    threshold: Tensor


def fresh(network: ReservoirState, recurrent: Plastic, made: Setup, rule: Rule | None, adapts: bool) -> LearningState:
    """Before any spike: the strengths that were given, no traces, theta at 1."""
    params, _, _ = made
    N, D, L = params.shape[1], len(recurrent.delays), network.pending.shape[1]
    weight = recurrent.synapses.weight.to(params.dtype, copy=True)
    post = params.new_zeros(D, 4, N)
    post[:, 3] = 1
    waits = rule is not None and rule.tau_eligibility is not None
    return LearningState(
        network, weight, torch.zeros_like(weight) if waits else weight.new_zeros(0), params.new_zeros(2, N),
        torch.full((N,), -1), post, torch.full((D, N), -1), torch.zeros(L, N, dtype=torch.bool),
        torch.zeros((), dtype=torch.float64), params[THRESHOLD].clone() if adapts else params.new_zeros(0),
    )  # fmt: skip


def again(state: LearningState, begin: LearningState, rule: Rule | None, dt: float) -> LearningState:
    """Where the next recording begins: as `begin`, with what was learned, and rates and theta at this one's end."""
    post = begin.post.clone()
    post[:, 2:] = state.post[:, 2:]
    if rule is not None and rule.sliding is not None:
        since = (state.network.clock - 1 - state.came).to(post.dtype) * dt
        post[:, 2], post[:, 3] = brought(state.post[:, 2], state.post[:, 3], since, rule.sliding)
    return begin._replace(weight=state.weight, threshold=state.threshold, post=post)


def copy(state: Any, like: LearningState, recurrent: Plastic) -> LearningState:
    """A copy of a given state that fits what `fresh` gives.

    Raises:
        ValueError, TypeError: naming the field.
    """
    if not isinstance(state, LearningState):
        raise TypeError(f"state: expected a LearningState, got {type(state).__name__}")
    fields: dict[str, Any] = {"network": copy_reservoir(state.network, like.network)}
    for name, given, wanted in zip(state._fields[1:], state[1:], like[1:], strict=True):
        if not isinstance(given, Tensor):
            raise TypeError(f"state.{name}: expected a tensor, got {type(given).__name__}")
        if given.shape != wanted.shape:
            raise ValueError(f"state.{name}: expected {tuple(wanted.shape)}, got {tuple(given.shape)}")
        if wanted.is_floating_point():
            floating(f"state.{name}", given, wanted.device)
        elif given.dtype != wanted.dtype:
            raise ValueError(f"state.{name}: expected {wanted.dtype}, got {given.dtype}")
        if given.is_floating_point() and not bool(given.isfinite().all()):
            raise ValueError(f"state.{name}: expected finite numbers")
        fields[name] = given.detach().to(wanted.dtype, copy=True, memory_format=torch.contiguous_format)
    latest = int(fields["network"].clock[0]) - 1
    for name in ("seen", "came"):
        if fields[name].numel() and not -1 <= int(fields[name].min()) <= int(fields[name].max()) <= latest:
            raise ValueError(f"state.{name}: expected steps from -1 to {latest}, the last one of its clock")
    chosen = recurrent.learning
    ends = torch.stack([recurrent.weak, recurrent.strong])[:, chosen].to(like.weight.dtype)
    held = fields["weight"][chosen]
    if bool(((held < ends.amin(0)) | (held > ends.amax(0))).any()):
        raise ValueError("state.weight: expected strengths within the bounds of synapses that learn")
    return LearningState(**fields)
