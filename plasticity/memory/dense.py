"""Dense Hebbian networks: P neurons interact at a time, so that about N^(P-1) patterns fit into N neurons.

    E(s) = - sum_mu c_mu (x_mu . s)^P                     the published energy, but for a positive factor
    s_i <- the sign with the lower energy, all neurons at once:
    h_i  = sum_{k=1}^P C(P, k) (-1)^(k+1) 2^k s_i^(k+1) sum_mu c_mu o_mu^(P-k) x_{mu,i}^k

h_i has the sign that s_i should have: s_i h_i is what turning s_i would cost, expanded in powers of x, so that it holds
for patterns with zeros and for means of examples too. The term k = 1 is the engine's field, the others take a neuron's
own part out of it. Energies of Agliari et al. 2022, arXiv 2211.14067 (unsupervised) and 2212.00606 (supervised), with
R = r^2 + (1 - r^2)/M; the law of errors is Gardner 1987, Krotov & Hopfield 2016.
"""

from __future__ import annotations

import math
from math import comb
from typing import Any

import torch
from torch import Tensor

from spiking.plasticity.arguments import whole
from spiking.plasticity.memory.engine import Memory, checked
from spiking.plasticity.memory.patterns import share


class Dense(Memory):
    """N neurons with states -1 and 1 that remember patterns by an energy of order P.

    Arguments:
        neurons: N.
        order: P, at least 2.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(self, neurons: int, order: int = 3) -> None:
        super().__init__(neurons, neurons, order)

    def learn(self, patterns: Tensor) -> Any:
        """Remember patterns (K, N), whose entries may be any numbers; returns the memory itself."""
        self.store(patterns, patterns)
        return self

    def learn_examples(self, examples: Tensor, quality: float, supervised: bool) -> Any:
        """Learn archetypes from corrupted examples of them; returns the memory itself.

        Arguments:
            examples: (K, M, N).
            quality: r of the examples, above 0.
            supervised: a teacher says which examples belong together, so that their mean is what is remembered.

        Raises:
            ValueError: naming the argument that does not fit.
        """
        if not isinstance(examples, Tensor):
            raise TypeError(f"examples: expected a tensor, got {type(examples).__name__}")
        if examples.ndim != 3 or not examples.shape[1]:
            raise ValueError(f"examples: expected (K, 1 or more, N), got {tuple(examples.shape)}")
        if not isinstance(supervised, bool):
            raise ValueError(f"supervised: expected True or False, got {supervised!r}")
        share("quality", quality)
        if not quality:
            raise ValueError("quality: expected above 0, got 0: such examples say nothing of their archetypes")
        M = examples.shape[1]
        power = (quality**2 + (1 - quality**2) / M) ** (-self.order / 2)
        rows, strength = (examples.double().mean(1), power) if supervised else (examples.flatten(0, 1), power / M)
        self.store(rows, rows, strength)
        return self

    def energy(self, state: Tensor) -> Tensor:
        """(B,) energies of states (B, N)."""
        return -(self.overlap(state) ** self.order) @ self.strength

    def field(self, query: Tensor) -> Tensor:
        """(B, N), the sign that each neuron of states (B, N) should have, and what another would cost."""
        P, state = self.order, checked("state", query, self.keys.shape[1])
        overlap = self.overlap(state)
        total = 2 * P * super().field(state)
        for k in range(2, P + 1):
            own = (overlap ** (P - k) * self.strength) @ self.keys**k
            total += float(comb(P, k) * (-1) ** (k + 1) * 2**k) * state ** (k + 1) * own
        return total

    def recall(self, state: Tensor, sweeps: int = 100) -> Tensor:
        """Where states (B, N) of -1 and 1 settle, or are after so many sweeps of all neurons at once.

        Raises:
            ValueError: naming the argument that does not fit.
        """
        whole("sweeps", sweeps, 1)
        state = checked("state", state, self.keys.shape[1])
        if not bool((state.abs() == 1).all()):
            raise ValueError("state: expected entries -1 and 1")
        for _ in range(sweeps):
            h = self.field(state)
            after = torch.where(h == 0, state, h.sign())
            if torch.equal(after, state):
                break
            state = after
        return state


def bit_error(neurons: int, order: int, stored: int) -> float:
    """The probability that a neuron leaves a stored pattern in the first sweep, for many neurons and random patterns.

        P_err = erfc( sqrt( N^(P-1) / (2 K (2P-3)!!) ) ) / 2

    Arguments:
        neurons: N.
        order: P, at least 2.
        stored: K patterns of -1 and 1.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    whole("neurons", neurons, 1)
    whole("stored", stored, 1)
    order = whole("order", order, 2)
    return 0.5 * math.erfc(math.sqrt(neurons ** (order - 1) / (2 * stored * math.prod(range(1, 2 * order - 2, 2)))))
