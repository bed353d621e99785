"""Multitasking Hebbian networks: patterns with zeros leave neurons free, so that several are recalled at once.

    H = -(1/2N) sum_mu sum_{i != j} xi_i^mu xi_j^mu s_i s_j,     P(xi = +-1) = (1 - d)/2,  P(xi = 0) = d
    m_mu = < xi^mu sign( sum_nu m_nu xi^nu ) >                    without noise, for many neurons
    m_mu = (1 - d) d^(mu-1)                                       the hierarchical state, while 1 - 2d + d^K > 0

The first pattern takes its neurons, the second those that the first leaves free, and so on. Beyond d_c, the root of
1 - 2d + d^K below 1 (0.618 for K = 3, 1/2 for many), the others together overrule the first. Agliari, Alessandrelli,
Barra & Ricci-Tersenghi 2023, arXiv 2308.04106; the condition follows from m_1 > m_2 + ... + m_K.
"""

from __future__ import annotations

from itertools import product

import torch
from scipy.optimize import brentq
from torch import Tensor

from spiking.plasticity.arguments import whole
from spiking.plasticity.memory.dense import Dense
from spiking.plasticity.memory.engine import checked
from spiking.plasticity.memory.patterns import share


class Multitasking(Dense):
    """N neurons that recall several patterns with entries -1, 0 and 1 at once; arguments as in `Dense`."""

    def __init__(self, neurons: int) -> None:
        super().__init__(neurons, 2)

    def hierarchy(self, seed: int = 0) -> Tensor:
        """(1, N) a state: each neuron has the sign of the first pattern that is not 0 there, or a random one."""
        generator = torch.Generator().manual_seed(seed)
        state = 2.0 * torch.randint(2, (self.keys.shape[1],), generator=generator).double() - 1
        for pattern in self.keys.flip(0):
            state = torch.where(pattern == 0, state, pattern.sign())
        return state[None]

    def magnetisation(self, state: Tensor) -> Tensor:
        """(B, K) the overlaps m of states (B, N) with the patterns, a neuron."""
        return self.overlap(checked("state", state, self.keys.shape[1])) / self.keys.shape[1]


def hierarchical(dilution: float, patterns: int) -> list[float]:
    """m_mu = (1 - d) d^(mu-1) of the hierarchical state, whether stable or not.

    Arguments:
        dilution: d.
        patterns: K.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    share("dilution", dilution)
    whole("patterns", patterns, 1)
    return [(1 - dilution) * dilution**mu for mu in range(patterns)]


def kink(patterns: int) -> float:
    """d_c, the dilution at which the hierarchical state of K patterns, 3 or more, loses its stability.

    Raises:
        ValueError: if there are fewer than three patterns, for which it never does.
    """
    whole("patterns", patterns, 1)
    if patterns < 3:
        raise ValueError(f"patterns: expected 3 or more, got {patterns}: fewer are stable at every dilution")
    return float(brentq(lambda d: sum(d**k for k in range(1, patterns)) - 1, 0.5, 1 - 1e-9, xtol=1e-15))


def magnetisations(dilution: float, patterns: int, sweeps: int = 1000) -> list[float]:
    """The overlaps m_mu that a large network settles at from the hierarchical state.

    Arguments:
        dilution: d.
        patterns: K, at most 8: the mean runs over all 3^K columns of patterns.
        sweeps: at most.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    whole("sweeps", sweeps, 1)
    m = torch.tensor(hierarchical(dilution, patterns), dtype=torch.float64)
    if patterns > 8:
        raise ValueError(f"patterns: expected at most 8, got {patterns}")
    column = torch.tensor(list(product((-1.0, 0.0, 1.0), repeat=patterns)), dtype=torch.float64)
    chance = torch.tensor([(1 - dilution) / 2, dilution, (1 - dilution) / 2], dtype=torch.float64)
    weight = chance[column.long() + 1].prod(1)
    state = torch.zeros(len(column), dtype=torch.float64)
    for _ in range(sweeps):
        h = column @ m
        after = torch.where(h.abs() < 1e-12, state, h.sign())
        if torch.equal(after, state):
            break
        state, m = after, (weight * after) @ column
    return m.tolist()
