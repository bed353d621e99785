"""Which neurons of a liquid are connected, as compressed sparse rows drawn block by block from a seed.

    distance:  P(i -> j) = C(type of i, type of j) exp(-(D(i, j) / lambda)^2)      Maass et al. 2002, section 3
    degree:    every neuron reaches the same number of others, drawn uniformly     "fixed outdegree", Senk et al. 2022
    dense:     every neuron reaches every other one and itself                     Lin et al. 2023

D is the distance on a three-dimensional grid. No neuron reaches itself, unless dense. By Dale's law a neuron's synapses
are all excitatory or all inhibitory. C holds four probabilities, E->E, E->I, I->E, I->I, which is the order everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spiking.reservoir import draws

Array = np.ndarray[Any, Any]
Rows = tuple[Array, Array]
Signed = tuple[Array, Array, Array]
Four = tuple[float, float, float, float]

CELLS = 1 << 20  # pairs that are looked at together


def grid(neurons: int, shape: tuple[int, int, int] | None = None) -> Array:
    """(N, 3) int64 places on a grid, the last axis running fastest.

    Arguments:
        neurons: N.
        shape: sides of the box; `None`, or one of another volume, means the smallest cube that has room.
    """
    if shape is None or int(np.prod(shape)) != neurons:
        side = round(neurons ** (1 / 3))
        side += side**3 < neurons
        shape = (side, side, side)
    return np.stack(np.unravel_index(np.arange(neurons), shape), 1).astype(np.int64)


def kinds(inhibitory: Array, source: Array, target: Array) -> Array:
    """0 to 3 for E->E, E->I, I->E, I->I of each pair."""
    return 2 * inhibitory[source].astype(np.int64) + inhibitory[target].astype(np.int64)


def distance(seed: int, place: Array, inhibitory: Array, C: Four, lam: float) -> Rows:
    """Connections whose probability falls with distance.

    Arguments:
        seed: of the network.
        place: (N, 3) on the grid.
        inhibitory: (N,) bool.
        C: the four probabilities at distance 0.
        lam: lambda, in steps of the grid.

    Returns:
        (N + 1,) int64 where each neuron's targets begin and end, and the targets, int32, rising.

    Raises:
        ValueError: if lambda is not positive.
    """
    if not lam > 0:
        raise ValueError(f"lambda: expected a length above 0, got {lam!r}")
    N = len(place)
    table = np.asarray(C, np.float64)

    def block(first: int, last: int) -> Array:
        far = ((place[first:last, None] - place[None]) ** 2).sum(-1)
        P = np.exp(-far / lam**2)
        source = np.arange(first, last)[:, None]
        P *= table[kinds(inhibitory, source, np.arange(N)[None])]
        P[np.arange(last - first), np.arange(first, last)] = 0.0
        return draws.uniform(seed, draws.SYNAPSES, first * N, (last - first) * N).reshape(-1, N) < P

    return _rows(N, N, block)


def degree(seed: int, neurons: int, fan_out: int) -> Rows:
    """Each neuron reaches `fan_out` others; arguments and returns as in `distance`.

    Raises:
        ValueError: if there are fewer others.
    """
    if not 0 <= fan_out < neurons:
        raise ValueError(f"fan_out: expected 0 to {neurons - 1} other neurons, got {fan_out!r}")

    def block(first: int, last: int) -> Array:
        u = draws.uniform(seed, draws.SYNAPSES, first * neurons, (last - first) * neurons).reshape(-1, neurons)
        u[np.arange(last - first), np.arange(first, last)] = 2.0  # itself comes last
        mask = np.zeros_like(u, bool)
        nearest = np.argpartition(u, fan_out, axis=1)[:, :fan_out]
        np.put_along_axis(mask, nearest, True, axis=1)
        return mask

    return _rows(neurons, neurons, block)


def dense(sources: int, targets: int) -> Rows:
    """All pairs; returns as `distance`."""
    index = np.tile(np.arange(targets, dtype=np.int32), sources)
    return np.arange(sources + 1, dtype=np.int64) * targets, index


def inputs(seed: int, channels: int, neurons: int, density: float, negative: float) -> Signed:
    """Each channel reaches each neuron with the same probability.

    Arguments:
        seed: of the network.
        channels, neurons: how many.
        density: the probability.
        negative: share of synapses that are negative.

    Returns:
        as `distance`, and the sign of each synapse, 1 or -1.

    Raises:
        ValueError: if the density or the share lies outside 0 to 1.
    """
    probability("input_density", density)
    probability("input_negative", negative)

    def block(first: int, last: int) -> Array:
        at, count = first * neurons, (last - first) * neurons
        there = draws.uniform(seed, draws.INPUTS, at, count) < density
        sign = np.where(draws.uniform(seed, draws.INPUT_SIGNS, at, count) < negative, -1, 1)
        return (there * sign).reshape(-1, neurons)

    return _signed(channels, neurons, block)


def inputs_by_place(
    seed: int, channels: int, neurons: int, density: float, negative: float, width: tuple[float, float]
) -> Signed:
    """Neurons hear a band of channels, such as frequencies of sound, less another band.

    Channel c stands at (c + 1/2) / channels. Neuron j draws two places x_j in [0, 1] and one width w_j, and has a
    positive synapse from c with a probability proportional to exp(-((x_j - x_c) / w_j)^2) round its first place, and a
    negative one round its second; where both come, they cancel.

    Arguments:
        seed, channels, neurons, density, negative: as `inputs`.
        width: least and greatest w, as shares of the range of channels, uniform on a logarithmic scale.

    Returns:
        as `inputs`.

    Raises:
        ValueError: as `inputs`, and if a width is not positive.
    """
    probability("input_density", density)
    probability("input_negative", negative)
    if not 0 < width[0] <= width[1]:
        raise ValueError(f"input_width: expected widths above 0, the least first, got {width!r}")
    x = draws.uniform(seed, draws.PLACES, 0, 2 * neurons).reshape(2, neurons)
    low, high = np.log(width)
    w = np.exp(low + (high - low) * draws.uniform(seed, draws.PLACES, 2 * neurons, neurons))
    centre = (np.arange(channels) + 0.5) / channels
    step = max(1, CELLS // max(neurons, 1))

    def near(which: int, first: int, last: int) -> Array:
        closeness: Array = np.exp(-(((x[which] - centre[first:last, None]) / w) ** 2))
        return closeness

    scale = []
    for which, share in enumerate((1 - negative, negative)):
        total = sum(float(near(which, k, min(k + step, channels)).sum()) for k in range(0, channels, step))
        scale.append(density * share * channels * neurons / max(total, 1e-300))

    def block(first: int, last: int) -> Array:
        at, count = first * neurons, (last - first) * neurons
        plus = draws.uniform(seed, draws.INPUTS, at, count).reshape(-1, neurons) < scale[0] * near(0, first, last)
        minus = draws.uniform(seed, draws.INPUT_SIGNS, at, count).reshape(-1, neurons) < scale[1] * near(1, first, last)
        return plus.astype(np.int8) - minus.astype(np.int8)

    return _signed(channels, neurons, block)


def probability(name: str, p: float) -> None:
    """Raise unless p lies in 0 to 1.

    Raises:
        ValueError: naming it.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: expected a probability, 0 to 1, got {p!r}")


def _rows(sources: int, targets: int, block: Any) -> Rows:
    return _signed(sources, targets, block)[:2]


def _signed(sources: int, targets: int, block: Any) -> Signed:
    """The entries that are not 0 of what `block(first, last)` makes for some of the rows, (last - first, targets)."""
    indptr = np.zeros(sources + 1, np.int64)
    indices, signs = [np.empty(0, np.int32)], [np.empty(0, np.int8)]
    step = max(1, CELLS // max(targets, 1))
    for first in range(0, sources, step):
        last = min(first + step, sources)
        table = block(first, last)
        row, index = table.nonzero()
        indptr[first + 1 : last + 1] = np.bincount(row, minlength=last - first)
        indices.append(index.astype(np.int32))
        signs.append(table[row, index].astype(np.int8))
    return np.cumsum(indptr), np.concatenate(indices), np.concatenate(signs)
