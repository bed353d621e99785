"""What rules for synapses have in common: bounds, signs, and learning from spike trains that are given.

A rule is the numbers of `kernels.stdp.Rule` with bounds. It runs inside a network (`LSM.adapt`, or the op
`spiking.kernels.stdp.stdp`), or, by `learn`, on the spikes of neurons recorded elsewhere.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels.reservoir import IntegrateFire, Synapses
from spiking.kernels.sparse_linear.weight import SparseWeight
from spiking.kernels.stdp import Plastic, PlasticNetwork, Rule, again, stdp
from spiking.kernels.stdp.rule import check_rule

UNREACHED = 1e30  # a threshold above what synapses can bring


class Synaptic:
    """A rule for synapses; `numbers` is what the op takes.

    Arguments:
        numbers: the rule.
        w_min, w_max: bounds of a synapse's strength without its sign, in units of the synapse: in a liquid the mean
            strength of its kind before learning, in `learn` 1.
        inhibitory: negative synapses learn as well, and stay negative; else they are fixed.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(self, numbers: Rule, w_min: float, w_max: float, inhibitory: bool) -> None:
        check_rule(numbers)
        for name, value in (("w_min", w_min), ("w_max", w_max)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ValueError(f"{name}: expected a strength of 0 or more, got {value!r}")
        if not isinstance(inhibitory, bool):
            raise ValueError(f"inhibitory: expected True or False, got {inhibitory!r}")
        if not w_max > w_min:
            raise ValueError(f"w_max: expected it above w_min, {w_min:g}, got {w_max!r}")
        self.numbers, self.w_min, self.w_max, self.inhibitory = numbers, w_min, w_max, inhibitory

    def plastic(self, synapses: Synapses, unit: float | Tensor = 1.0, negative: Tensor | None = None) -> Plastic:
        """The synapses of a network with this rule's bounds.

        Arguments:
            synapses: (N, N); one that begins outside the bounds keeps its own strength as its bound.
            unit: of the bounds, a number or (nnz,).
            negative: (nnz,) bool, which are inhibitory; `None` looks at their strengths.

        Raises:
            TypeError: if they are drawn from a seed and not stored.
        """
        if not isinstance(synapses, Synapses):
            return Plastic(synapses, 0.0, 1.0)  # which says how to store them
        weight = synapses.weight.double()
        negative = weight < 0 if negative is None else negative
        sign = torch.where(negative, -1.0, 1.0).double()
        size, scale = weight * sign, torch.as_tensor(unit, dtype=torch.float64)
        weak = torch.minimum(self.w_min * scale, size) * sign
        strong = torch.maximum(self.w_max * scale, size) * sign
        return Plastic(synapses, weak, strong, None if self.inhibitory else ~negative)

    @torch.no_grad()
    def learn(
        self, pre: Events, post: Events, weight: SparseWeight, delay: int | Tensor = 1, reward: Tensor | None = None
    ) -> SparseWeight:
        """What given spikes make of synapses, recording after recording.

        Arguments:
            pre, post: Events (T, B, n) and (T, B, m) of neurons on either side; strengths do not move these spikes.
            weight: (n, m), n and m together at most 16 million.
            delay: steps of the dendrite, 1 to 255, as `Synapses.of` takes it: an event of `post` comes to the synapse
                so much later.
            reward: (T,) or (T, B), for rules that wait for it.

        Returns:
            the synapses, in float64, with what they have learned.

        Raises:
            ValueError, TypeError: naming the argument that does not fit.
        """
        if not isinstance(weight, SparseWeight):
            raise TypeError(f"weight: expected a SparseWeight, got {type(weight).__name__}")
        both, (n, m) = _beside(pre, post), weight.shape
        if (n, m) != (pre.shape[2], post.shape[2]):
            raise ValueError(f"weight: expected ({pre.shape[2]}, {post.shape[2]}), got {(n, m)}")
        N = n + m
        indptr = torch.cat([weight.indptr, weight.indptr[-1:].expand(m)])
        given = SparseWeight(indptr, weight.index + n, weight.values.detach().double(), (N, N))
        drive = torch.full((N,), 2 * UNREACHED, dtype=torch.float64)
        heard = SparseWeight(torch.arange(N + 1), torch.arange(N), drive, (N, N), check=False)
        # Each neuron forgets its input within a step and fires when it is told to.
        neuron = IntegrateFire(tau_mem=both.dt / 100, threshold=UNREACHED)
        recurrent = self.plastic(Synapses.of(given, delay))
        network = PlasticNetwork(Synapses.of(heard, 0), recurrent, neuron)
        begin = stdp(both[:0, :1], network, self.numbers, reward=None if reward is None else reward[:0].flatten())[1]
        state = begin
        for b in range(both.shape[1]):
            signal = None if reward is None else reward if reward.ndim == 1 else reward[:, b]
            state = again(state, begin, self.numbers, both.dt)
            _, state = stdp(both[:, b : b + 1], network, self.numbers, state=state, reward=signal, spikes=False)
        return weight.with_values(state.weight)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.numbers}, w_min={self.w_min:g}, w_max={self.w_max:g})"


def _beside(pre: Any, post: Any) -> Events:
    """The spikes of both, those of `post` behind those of `pre`."""
    for name, events in (("pre", pre), ("post", post)):
        if not isinstance(events, Events):
            raise TypeError(f"{name}: expected Events, got {type(events).__name__}")
        if events.value is not None and not bool((events.value == 1).all()):
            raise ValueError(f"{name}: expected spikes, 1 a step at most, got counts")
    if pre.shape[:2] != post.shape[:2] or pre.dt != post.dt or not torch.equal(pre.lengths, post.lengths):
        raise ValueError(
            f"post: expected as many steps, recordings and ms as pre, {pre.shape[:2]} and {pre.dt:g} ms, "
            f"got {post.shape[:2]} and {post.dt:g} ms"
        )
    row = torch.cat([pre.rows(), post.rows()])
    index = torch.cat([pre.index, post.index + pre.shape[2]])[torch.argsort(row, stable=True)]
    shape = (*pre.shape[:2], pre.shape[2] + post.shape[2])
    return Events(pre.indptr + post.indptr, index, shape, pre.dt, None, pre.lengths, check=False)
