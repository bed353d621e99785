"""Binning: events at microsecond times become rows of active channels, `Events`.

Bins are absolute: edge 0 lies at t = 0 and step k holds the events with k*dt <= t < (k+1)*dt. dt is read as the
simplest fraction near it (0.1 is 1/10, 30/7 is 30/7), so that no event falls on the wrong side of an edge. Inside a row
channels rise and events that share a step and a channel are one entry with their count as value. Every event before the
horizon, steps*dt, is kept; events at or after it are left out.
"""

from __future__ import annotations

from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np
import torch

from spiking.events import Events, Sensor
from spiking.kernels.jit import jit, spread

Array = np.ndarray[Any, Any]

CHUNK = 8  # recordings of one task


def step_length(dt: float) -> Fraction:
    """dt (ms) as an exact number of microseconds.

    Raises:
        ValueError: if dt isn't a finite number of at least 1e-6 ms.
    """
    if isinstance(dt, bool) or not isinstance(dt, Real) or not 1e-6 <= dt < 1e12:
        raise ValueError(f"dt: expected a step in ms of at least 1e-6, got {dt!r}")
    return Fraction(float(dt)).limit_denominator(1_000_000) * 1000


def edges(step: Fraction, steps: int) -> Array:
    """(steps + 1,) int64, the first whole microsecond that lies in each step, and the horizon's."""
    whole, rest = divmod(step.numerator, step.denominator)  # apart, so that no product leaves 64 bits
    k = np.arange(steps + 1, dtype=np.int64)
    return k * whole - (-k * rest // step.denominator)


def bin_events(
    index: Array,
    time: Array,
    start: Array,
    stop: Array,
    duration: Array,
    channels: int,
    dt: float,
    steps: int | None = None,
    binary: bool = False,
    sensor: Sensor | None = None,
) -> Events:
    """A batch of recordings, binned.

    Arguments:
        index: (events,) integer channels, 0 <= index < channels.
        time: (events,) integer microseconds from the beginning of the recording, in any order, below its duration.
        start, stop: (B,) int64, recording b is `index[start[b] : stop[b]]`.
        duration: (B,) int64, microseconds.
        channels: N.
        dt: length of a step, ms.
        steps: T; `None` means as many as the longest recording of the batch needs.
        binary: several events in one step and channel count once.
        sensor: (W, H, P), optional.

    Returns:
        Events (T, B, N), lengths[b] = min(T, ceil(duration[b] / dt)); `value` is `None` when every count is 1.

    Raises:
        ValueError: naming the argument that does not fit, or the recording whose content was damaged.
    """
    step = step_length(dt)
    if steps is not None and (isinstance(steps, bool) or int(steps) != steps or steps < 1):
        raise ValueError(f"steps: expected a whole number of at least 1 or None, got {steps!r}")
    B = len(start)
    whole, rest = np.divmod(duration.astype(np.int64), step.numerator)
    needed = whole * step.denominator - (-rest * step.denominator // step.numerator)
    T = int(steps) if steps is not None else int(needed.max(initial=0))
    lengths = np.minimum(needed, T)

    offset = np.zeros(B + 1, np.int64)
    np.cumsum(stop - start, out=offset[1:])
    scratch_index, scratch_count = np.empty(offset[-1], np.int32), np.empty(offset[-1], np.int32)
    rows, several, damaged = np.zeros((T, B), np.int64), np.zeros(B, np.bool_), np.zeros(B, np.bool_)
    spread(
        _sort, chunks(B), index, time, start, stop, offset, edges(step, T), float(1 / step), channels, binary,
        rows, several, damaged, scratch_index, scratch_count,
    )  # fmt: skip
    _whole(damaged, channels)
    indptr = torch.zeros(T * B + 1, dtype=torch.int64)
    np.cumsum(rows.reshape(-1), out=indptr.numpy()[1:])
    nnz = int(indptr[-1])
    out = torch.empty(nnz, dtype=torch.int32)
    value = torch.empty(nnz if several.any() else 0, dtype=torch.float32)
    places = (indptr.numpy(), scratch_index, scratch_count, out.numpy(), value.numpy())
    spread(_place, chunks(B), offset, rows, *places)
    counts = value if several.any() else None
    return Events(indptr, out, (T, B, channels), float(dt), counts, torch.from_numpy(lengths), sensor, check=False)


def _whole(damaged: Array, channels: int) -> None:
    """Raise about the first damaged recording, if there is one."""
    if damaged.any():
        raise ValueError(
            f"index, time: recording {damaged.argmax()} of the batch has channels outside 0 to {channels - 1} or times "
            "below 0; the file was damaged, build it again"
        )


def chunks(recordings: int) -> int:
    """How many tasks of CHUNK recordings there are: threads share tasks, which do not depend on their number."""
    return -(-recordings // CHUNK)


@jit
def _sort(
    task: int,
    index: Array,
    time: Array,
    start: Array,
    stop: Array,
    offset: Array,
    edge: Array,
    per_us: float,
    channels: int,
    binary: bool,
    rows: Array,
    several: Array,
    damaged: Array,
    out_index: Array,
    out_count: Array,
) -> None:
    """Each recording's events by (step, channel): counting sorts by channel, then by step, then merging."""
    T, B = rows.shape
    horizon = edge[T]
    for b in range(task * CHUNK, min(B, (task + 1) * CHUNK)):
        first, n = start[b], stop[b] - start[b]
        step = np.empty(n, np.int32)
        by_channel, by_step = np.zeros(channels + 1, np.int32), np.zeros(T + 1, np.int32)
        for i in range(n):
            t, c = time[first + i], index[first + i]
            if t < 0 or c < 0 or c >= channels:
                damaged[b] = True
                break
            if t >= horizon:
                step[i] = -1
                continue
            k = int(t * per_us)
            # the product may be off by one rounding, the whole-numbered edges decide
            if t < edge[k]:
                k -= 1
            elif t >= edge[k + 1]:
                k += 1
            step[i] = k
            by_step[k + 1] += 1
            by_channel[c + 1] += 1
        if damaged[b]:
            continue
        for c in range(channels):
            by_channel[c + 1] += by_channel[c]
        for k in range(T):
            by_step[k + 1] += by_step[k]
        kept = by_step[T]
        pair = np.empty(kept, np.int64)
        for i in range(n):
            if step[i] >= 0:
                c = index[first + i]
                at = by_channel[c]
                by_channel[c] = at + 1
                pair[at] = np.int64(step[i]) << 32 | np.int64(c)
        ordered = np.empty(kept, np.int32)
        for i in range(kept):
            k = pair[i] >> 32
            at = by_step[k]
            by_step[k] = at + 1
            ordered[at] = pair[i] & 0xFFFFFFFF
        # by_step[k] has moved on to the end of step k
        out, i = offset[b], 0
        for k in range(T):
            begin, end = out, by_step[k]
            while i < end:
                c, count = ordered[i], 1
                i += 1
                while i < end and ordered[i] == c:
                    count += 1
                    i += 1
                if count > 1 and not binary:
                    several[b] = True
                out_index[out] = c
                out_count[out] = 1 if binary else count
                out += 1
            rows[k, b] = out - begin


@jit
def _place(
    task: int,
    offset: Array,
    rows: Array,
    indptr: Array,
    index: Array,
    count: Array,
    out_index: Array,
    out_value: Array,
) -> None:
    """Copy each recording's rows to where step-major order wants them."""
    T, B = rows.shape
    for b in range(task * CHUNK, min(B, (task + 1) * CHUNK)):
        source = offset[b]
        for k in range(T):
            target = indptr[k * B + b]
            for i in range(rows[k, b]):
                out_index[target + i] = index[source + i]
                if out_value.size:
                    out_value[target + i] = count[source + i]
            source += rows[k, b]


def count_events(
    index: Array, time: Array, start: Array, stop: Array, channels: int, horizon: float, bins: int
) -> Array:
    """(B, bins * N) float32, each channel's events in equal parts of [0, horizon) ms, column k*N + c."""
    if isinstance(bins, bool) or int(bins) != bins or bins < 1:
        raise ValueError(f"bins: expected a whole number of at least 1, got {bins!r}")
    if not 1e-6 <= horizon < 1e12:
        raise ValueError(f"horizon: expected a time in ms of at least 1e-6, got {horizon!r}")
    edge = edges(step_length(float(horizon)) / int(bins), int(bins))
    out, damaged = np.zeros((len(start), int(bins) * channels), np.float32), np.zeros(len(start), np.bool_)
    spread(_count, chunks(len(start)), index, time, start, stop, edge, channels, out, damaged)
    _whole(damaged, channels)
    return out


@jit
def _count(
    task: int,
    index: Array,
    time: Array,
    start: Array,
    stop: Array,
    edge: Array,
    channels: int,
    out: Array,
    damaged: Array,
) -> None:
    for b in range(task * CHUNK, min(start.size, (task + 1) * CHUNK)):
        for i in range(start[b], stop[b]):
            c = index[i]
            if time[i] < 0 or c < 0 or c >= channels:
                damaged[b] = True
            elif time[i] < edge[-1]:
                k = np.searchsorted(edge, time[i], side="right") - 1
                out[b, k * channels + c] += 1
