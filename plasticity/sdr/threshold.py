"""The threshold of a dendritic segment: how many active synapses make false matches rare whatever the population is.

    median over a grid of n, a/n and s of fp(n, a, s, theta), for each theta

Ahmad & Hawkins 2016: 210 combinations of cells, sparsity and synapses. Medians fall below 1e-7 from theta = 8 on, which
is where thresholds of NMDA spikes are measured, at 8 to 20 synapses.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

from spiking.plasticity.arguments import whole
from spiking.plasticity.sdr.counting import tail

CELLS = (1000, 5000, 9000, 13000, 17000)
PER_MILLE = (5, 10, 15, 20, 25, 30)
SYNAPSES = (20, 25, 30, 35, 40, 45, 50)


def grid_errors(
    theta: int, cells: Sequence[int] = CELLS, per_mille: Sequence[int] = PER_MILLE, synapses: Sequence[int] = SYNAPSES
) -> list[float]:
    """False matches at one threshold for all combinations of a grid, in rising order.

    Arguments:
        theta: the threshold.
        cells: each n.
        per_mille: active cells, in thousandths of n, rounded.
        synapses: each s.

    Raises:
        ValueError: naming the argument outside its range.
    """
    return [float(value) for value in _sorted(theta, cells, per_mille, synapses)]


def median_error(
    theta: int, cells: Sequence[int] = CELLS, per_mille: Sequence[int] = PER_MILLE, synapses: Sequence[int] = SYNAPSES
) -> float:
    """The median of `grid_errors`, its middle taken exactly; arguments as there."""
    values = _sorted(theta, cells, per_mille, synapses)
    return float((values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2)


def least_threshold(limit: float = 1e-7) -> int:
    """The smallest threshold whose median error over the published grid is at most `limit`.

    Raises:
        ValueError: if the limit is below 0, or no threshold of the grid's shortest segments reaches it.
    """
    if not limit >= 0:
        raise ValueError(f"limit: expected a probability, 0 or more, got {limit!r}")
    for theta in range(min(SYNAPSES) + 1):
        if median_error(theta) <= limit:
            return theta
    raise ValueError(f"limit: no threshold up to {min(SYNAPSES)} synapses brings the median error below {limit!r}")


def _sorted(
    theta: int, cells: Sequence[int], per_mille: Sequence[int], synapses: Sequence[int]
) -> list[Fraction]:
    cells = [whole("cells", n, 1) for n in cells]
    per_mille = [whole("per_mille", part, 0, 1000) for part in per_mille]
    synapses = [whole("synapses", s, 0, min(cells, default=0), "min(cells)") for s in synapses]
    if not (cells and per_mille and synapses):
        raise ValueError(f"grid: expected at least one of each, got {cells}, {per_mille}, {synapses}")
    theta = whole("theta", theta, 0, min(synapses), "min(synapses)")
    return sorted(tail(n, round(n * part / 1000), s, theta) for n, part, s in product(cells, per_mille, synapses))
