"""What the segments' errors make of a memory that predicts the next pattern of a sequence.

    accuracy    1 - fn(a, s, v, theta)                        of cells that should be predicted, v cells lost to noise
    Jaccard     a / (a + e (n - a)),   e = 1 - (1 - fp(n, a, s, theta))^(L a / n)

L transitions were learned, each giving a segment to every cell of its next pattern, L a / n to a cell on average; e is
the share of other cells that are predicted too. First-order temporal memory with one cell a column, the simulations of
Ahmad & Hawkins 2016.
"""

from __future__ import annotations

import math

from spiking.plasticity.arguments import whole
from spiking.plasticity.sdr.match import false_match
from spiking.plasticity.sdr.noise import false_negative


def prediction_accuracy(a: int, s: int, v: int, theta: int) -> float:
    """The share of the next pattern's cells that are predicted when v of the present one's are lost.

    Arguments:
        a, s, v, theta: as in `false_negative`.

    Raises:
        ValueError: naming the argument outside its range.
    """
    return float(1 - false_negative(a, s, v, theta, "fraction"))


def prediction_jaccard(n: int, a: int, s: int, theta: int, transitions: int) -> float:
    """The next pattern's cells over all cells that are predicted.

    Arguments:
        n, a, s, theta: as in `false_match`.
        transitions: L, learned in all.

    Raises:
        ValueError: naming the argument outside its range.
    """
    one = float(false_match(n, a, s, theta))
    segments = whole("transitions", transitions, 0) * whole("a", a, 1) / n
    wrong = float(segments > 0) if one == 1 else -math.expm1(segments * math.log1p(-one))
    return a / (a + wrong * (n - a))
