"""Hopfield's network: the dense Hebbian network of order 2, sign(sum_{j != i} sum_mu xi_i xi_j s_j).

    m = erf(y),    y ( sqrt(2 alpha) + (2/sqrt(pi)) e^(-y^2) ) = erf(y),    alpha = K/N

is the overlap with a stored pattern once the network has settled, without noise and for many neurons; there is such a y
up to alpha_c = 0.138. Hopfield 1982; Amit, Gutfreund & Sompolinsky 1985, 1987.
"""

from __future__ import annotations

import math

from scipy.optimize import brentq, minimize_scalar

from spiking.plasticity.arguments import real
from spiking.plasticity.memory.dense import Dense


class Hopfield(Dense):
    """N neurons with states -1 and 1 and Hebbian synapses between all pairs; arguments as in `Dense`."""

    def __init__(self, neurons: int) -> None:
        super().__init__(neurons, 2)


def capacity() -> float:
    """alpha_c, patterns a neuron beyond which nothing is recalled."""
    return _load(_turn()) ** 2 / 2


def retrieval(load: float) -> float:
    """The overlap with a stored pattern that the network settles at.

    Arguments:
        load: alpha = K/N, 0 or more.

    Returns:
        m, 0 above the capacity.

    Raises:
        ValueError: if the load is below 0.
    """
    real("load", load, 0, said="patterns a neuron, 0 or more")
    turn, wanted = _turn(), math.sqrt(2 * load)
    if wanted > _load(turn):
        return 0.0
    if not load:
        return 1.0
    return math.erf(brentq(lambda y: _load(y) - wanted, turn, 1 / wanted + 1, xtol=1e-14))


def _load(y: float) -> float:
    """sqrt(2 alpha) at which y is a solution."""
    return math.erf(y) / y - 2 / math.sqrt(math.pi) * math.exp(-y * y)


def _turn() -> float:
    """The y of the largest load; solutions above it are stable."""
    return float(minimize_scalar(lambda y: -_load(y), bounds=(0.5, 4), method="bounded", options={"xatol": 1e-12}).x)
