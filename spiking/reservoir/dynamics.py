"""How activity spreads in a liquid, from spikes.

    branching factor   for each spike of neuron i at t, the spikes of its targets in (t, t + w] by those of its sources
                       in [t - w, t), of which at least 1 is counted; the mean over a neuron's spikes, then over neurons
                       (Ivanov & Michmizos 2021, w = 4 ms, 25 ms left out at both ends)
    divergence         d(t), the distance of the filtered spikes of two runs that differ by one input spike, whose
                       exponent is ln(d(late) / d(early)) / (late - early): Lyapunov's, as Legenstein & Maass (2007)
                       estimate it

The branching factor is no derivative: neurons without any synapse have it as well, near 1 where rates are steady. It
tells activity that grows from activity that dies, and where it lies for good liquids is a matter of experience.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.signal import lfilter
from scipy.sparse import csr_array

from spiking.events import Events
from spiking.kernels import SparseWeight

if TYPE_CHECKING:
    from spiking.reservoir.lsm import LSM

Array = np.ndarray[Any, Any]


class Branching(NamedTuple):
    """The branching factor.

    Attributes:
        mean: over neurons that spike; NaN if none does.
        neurons: (N,) of each, NaN where it never spikes.
    """

    mean: float
    neurons: Array


class Divergence(NamedTuple):
    """How a small difference grows.

    Attributes:
        exponent: 1/s; below 0 the difference is forgotten, above 0 it grows. -inf where it is gone.
        curve: (T,) mean distance at each step after the difference.
        dt: step, ms.
    """

    exponent: float
    curve: Array
    dt: float


def branching_factor(spikes: Events, recurrent: SparseWeight, window: float = 4.0, trim: float = 25.0) -> Branching:
    """Spikes after a spike by spikes before it, among neurons that are connected.

    Arguments:
        spikes: (T, B, N) of the liquid.
        recurrent: (N, N), its synapses.
        window: w, ms.
        trim: ms at both ends of a recording that are left out, at most an eighth of it.

    Raises:
        ValueError: if neurons don't match.
    """
    _, B, N = spikes.shape
    if recurrent.shape != (N, N):
        raise ValueError(f"recurrent: expected ({N}, {N}) for the spikes' neurons, got {recurrent.shape}")
    linked = csr_array((np.ones(recurrent.nnz), recurrent.index.numpy(), recurrent.indptr.numpy()), shape=(N, N))
    w = max(1, round(window / spikes.dt))
    total, count = np.zeros(N), np.zeros(N)
    for b in range(B):
        one = spikes[:, [b]]
        length = int(one.lengths[0])
        cut = min(round(trim / spikes.dt), length // 8)
        step, neuron = one.rows().numpy(), one.index.numpy()
        until = np.zeros((length + 1, N))  # spikes before step t
        np.add.at(until, (step + 1, neuron), 1)
        until = until.cumsum(0)
        inside = (step >= cut + w) & (step < length - cut - w)
        step, neuron = step[inside], neuron[inside]
        if not len(step):
            continue
        times, row = np.unique(step, return_inverse=True)
        after = (linked @ (until[times + w + 1] - until[times + 1]).T).T
        before = (linked.T @ (until[times] - until[times - w]).T).T
        ratio = after[row, neuron] / np.maximum(before[row, neuron], 1)
        np.add.at(total, neuron, ratio)
        np.add.at(count, neuron, 1)
    with np.errstate(invalid="ignore"):
        each = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return Branching(float(np.nanmean(each)) if count.any() else float("nan"), each)


def divergence(one: Events, other: Events, start: int, tau: float = 20.0, early: float = 20.0) -> Divergence:
    """How the runs of two inputs move apart.

    Arguments:
        one, other: (T, B, N) spikes of both; a recording in one belongs to the same in the other.
        start: step at which the inputs differ.
        tau: of the filter, ms.
        early: ms, how long after `start` the first distance is taken; the last is that at the end.

    Raises:
        ValueError: if shapes differ or there is no time left.
    """
    T = one.shape[0]
    if one.shape != other.shape or one.dt != other.dt:
        raise ValueError(f"other: expected {one.shape} at {one.dt} ms, got {other.shape} at {other.dt} ms")
    first = start + round(early / one.dt)
    if not 0 <= start < first < T - 1:
        raise ValueError(f"start: expected a step with more than {early:g} ms after it, of {T} steps, got {start}")
    keep = float(np.exp(-one.dt / tau))
    difference = (one.to_dense() - other.to_dense()).numpy()
    far = np.linalg.norm(lfilter([1.0], [1.0, -keep], difference, axis=0), axis=2)
    curve = far.mean(1)[start:]
    d, last = curve[first - start], curve[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = float(np.log(last / d) / ((T - 1 - first) * one.dt * 1e-3)) if d > 0 else float("-inf")
    if d == 0 and curve[first - start :].any():  # they part only later: nothing to measure growth from
        exponent = float("nan")
    return Divergence(exponent, curve, one.dt)


def lyapunov(lsm: LSM, events: Events, start: int, tau: float = 20.0, early: float = 20.0) -> Divergence:
    """How a liquid takes the loss of one input spike in each recording.

    Arguments:
        lsm: the liquid.
        events: (T, B, inputs); the more recordings, the smoother the curve.
        start: step from which on the next event of each recording is left out.
        tau, early: as `divergence`.

    Returns:
        as `divergence`; recordings without an event after `start` add nothing.
    """
    return divergence(lsm.simulate(events)[0], lsm.simulate(without_one(events, start))[0], start, tau, early)


def without_one(events: Events, start: int) -> Events:
    """The recordings without their first event in step `start` or later."""
    T, B, N = events.shape
    rows = events.rows()
    late = (rows >= start * B).nonzero()[:, 0]
    first = np.unique((rows[late] % max(B, 1)).numpy(), return_index=True)[1]
    kept = torch.ones_like(rows, dtype=torch.bool)
    kept[late[torch.from_numpy(first)]] = False
    indptr = torch.zeros_like(events.indptr)
    indptr[1:] = torch.bincount(rows[kept], minlength=T * B).cumsum(0)
    value = None if events.value is None else events.value[kept]
    return Events(indptr, events.index[kept], (T, B, N), events.dt, value, events.lengths, events.sensor, check=False)
