"""Binning: events at microsecond times become rows of active channels, `Events`.

Bins are absolute: edge 0 lies at t = 0 and step k holds the events with k*dt <= t < (k+1)*dt. dt is read as the
simplest fraction near it (0.1 is 1/10, 30/7 is 30/7), so that no event falls on the wrong side of an edge. Inside a row
channels rise and events that share a step and a channel are one entry with their count as value. Every event before the
horizon, steps*dt, is kept; events at or after it are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from spiking.datasets.pooling import Pooling
from spiking.events import Events, Sensor
from spiking.kernels.jit import jit, spread

Array = np.ndarray[Any, Any]
Grid = tuple[Array, float, int, Array]

CHUNK, BLOCK = 8, 32  # recordings of one task, and of one task of `_merge`
ONE, SIX = np.uint64(1), np.uint64(6)


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
    pooled: Pooling | None = None,
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
        pooled: channels that become one, optional.

    Returns:
        Events (T, B, N), N as pooling leaves it, with lengths[b] = min(T, ceil(duration[b] / dt)); `value` is `None`
        when every count is 1.

    Raises:
        ValueError: naming the argument that does not fit, or the recording whose content was damaged.
    """
    given = (index, time, start, stop)
    return bin_by(_order, given, stop - start, duration, channels, dt, steps, binary, sensor, pooled)


def bin_by(
    order: Callable[..., Any],
    given: tuple[Any, ...],
    most: Array,
    duration: Array,
    channels: int,
    dt: float,
    steps: int | None = None,
    binary: bool = False,
    sensor: Sensor | None = None,
    pooled: Pooling | None = None,
) -> Events:
    """A batch of recordings, binned from wherever their events come.

    Arguments:
        order: jitted, called as order(chunk, *given, offset, grid, channel, ends, rows, damaged); calls
            `order_recording` for each recording of the chunk that is not damaged.
        given: its first arguments.
        most: (B,) int64, how many events each recording has at most.
        duration, channels, dt, steps, binary, sensor, pooled: as for `bin_events`.
    """
    step = step_length(dt)
    if steps is not None and (isinstance(steps, bool) or int(steps) != steps or steps < 1):
        raise ValueError(f"steps: expected a whole number of at least 1 or None, got {steps!r}")
    B = len(most)
    whole, rest = np.divmod(duration.astype(np.int64), step.numerator)
    needed = whole * step.denominator - (-rest * step.denominator // step.numerator)
    T = int(steps) if steps is not None else int(needed.max(initial=0))
    lengths = torch.from_numpy(np.minimum(needed, T))

    offset = np.zeros(B + 1, np.int64)
    np.cumsum(most, out=offset[1:])
    # each recording's channels by step, where its steps end among them, and how many different ones a step has
    channel, ends, rows = np.empty(offset[-1], np.int32), np.zeros((B, T), np.int32), np.zeros((B, T), np.int32)
    group, left, sensor = (np.empty(0, np.int32), channels, sensor) if pooled is None else pooled
    grid, damaged = (edges(step, T + 1), float(1 / step), left, group), np.zeros(B, np.bool_)
    spread(order, chunks(B), *given, offset, grid, channel, ends, rows, damaged)
    check_whole(damaged, channels)
    # numpy, because torch's fill of a large array wakes its threads, which then spin
    indptr = np.zeros(T * B + 1, np.int64)
    np.cumsum(rows.T.reshape(-1), out=indptr[1:])
    several = not binary and T > 0 and int(indptr[-1]) < int(ends[:, -1].sum(dtype=np.int64))
    merged, value = np.empty(indptr[-1], np.int32), np.empty(indptr[-1] if several else 0, np.float32)
    spread(_merge, -(-B // BLOCK), offset, channel, ends, left, indptr, merged, value)
    counts = torch.from_numpy(value) if several else None
    pointer, index = torch.from_numpy(indptr), torch.from_numpy(merged)
    return Events(pointer, index, (T, B, left), float(dt), counts, lengths, sensor, check=False)


def check_whole(damaged: Array, channels: int) -> None:
    """Raise about the first damaged recording, if there is one."""
    if damaged.any():
        raise ValueError(
            f"index, time: recording {damaged.argmax()} of the batch has channels outside 0 to {channels - 1} or times "
            "below 0; the file was damaged, build it again"
        )


def chunks(recordings: int) -> int:
    """How many tasks of CHUNK recordings there are: threads share tasks, which do not depend on their number."""
    return -(-recordings // CHUNK)


@intrinsic
def lowest(context: Any, word: Any) -> Any:
    """The position of a uint64's lowest bit that is set, one instruction."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), build


@intrinsic
def _ones(context: Any, word: Any) -> Any:
    """How many bits of a uint64 are set."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), build


@jit
def _order(
    task: int, index: Array, time: Array, start: Array, stop: Array, offset: Array, grid: Grid, channel: Array,
    ends: Array, rows: Array, damaged: Array,
) -> None:  # fmt: skip
    """Order the recordings of a chunk."""
    for b in range(task * CHUNK, min(start.size, (task + 1) * CHUNK)):
        damaged[b] = is_damaged(index, time, start[b], stop[b], max(grid[2], grid[3].size))
        if damaged[b]:
            continue
        own_index, own_time = index[start[b] : stop[b]], time[start[b] : stop[b]]
        order_recording(own_index, own_time, grid, channel[offset[b] :], ends[b], rows[b])


@jit
def is_damaged(index: Array, time: Array, start: int, stop: int, channels: int) -> bool:
    """Whether a recording has channels that there are not, or times below 0."""
    wrong = False
    for i in range(start, stop):
        wrong |= (time[i] < 0) | (index[i] < 0) | (index[i] >= channels)
    return wrong


@jit
def order_recording(index: Array, time: Array, grid: Grid, channel: Array, ends: Array, rows: Array) -> None:
    """Order one recording's events by step.

    Arguments:
        index, time: (events,) its own.
        grid: edges of the T steps and of one more, steps per microsecond, N after pooling, and the group of each
            channel, of none where channels stay as they are.
        channel: (events,) receives the channels, step after step.
        ends: (T,) receives where each step ends in `channel`.
        rows: (T,) receives how many different channels each step has.
    """
    edge, _, channels, group = grid
    T, n = ends.size, time.size
    rising = True
    for i in range(1, n):
        rising &= time[i - 1] <= time[i]
    if not rising:
        _by_step(index, time, grid, channel, ends)
    words = (channels + 63) // 64
    marks, other = np.zeros(2 * words, np.uint64), np.uint64(words)
    i = 0
    for k in range(T):
        first = i
        if rising:
            while i < n and time[i] < edge[k + 1]:
                c = group[np.uint64(index[i])] if group.size else np.int32(index[i])
                channel[i] = c
                _mark(np.uint64(c), np.uint64(i), other, marks)
                i += 1
            ends[k] = i
        else:
            for i in range(first, ends[k]):
                _mark(np.uint64(channel[i]), np.uint64(i), other, marks)
            i = ends[k]
        if first < i:
            for w in range(words):
                rows[k] += _ones(marks[w] | marks[w + words])  # type: ignore[call-arg]
                marks[w], marks[w + words] = 0, 0


# Channels and steps are made unsigned where they index: a signed index is first looked at for counting from the end.


@jit
def _by_step(index: Array, time: Array, grid: Grid, channel: Array, ends: Array) -> None:
    """A counting sort; what lies beyond the horizon goes into a step of its own, at the end.

    Every other event is counted apart: neighbours mostly share a step, and would wait for each other's count.
    """
    edge, per_us, _, group = grid
    T = ends.size
    step, place = np.empty(time.size, np.uint32), np.zeros(2 * (T + 1), np.int64)
    apart = np.uint64(T + 1)
    for i in range(time.size):
        t = min(np.int64(time[i]), edge[T])
        # the product may be off by one rounding, the whole-numbered edges decide
        near = np.uint64(np.int64(t * per_us))
        near += np.uint64(t >= edge[near + ONE])
        near -= np.uint64(t < edge[near])
        near += apart * np.uint64(i & 1)
        step[i] = near
        place[near] += 1
    before = 0
    for k in range(T + 1):
        even, odd = place[k], place[T + 1 + k]
        place[k], place[T + 1 + k] = before, before + even
        before += even + odd
    for i in range(time.size):
        at = place[np.uint64(step[i])]
        place[np.uint64(step[i])] = at + 1
        channel[np.uint64(at)] = group[np.uint64(index[i])] if group.size else np.int32(index[i])
    ends[:] = place[T + 1 : 2 * T + 1]


@jit
def _mark(channel: Any, i: Any, other: Any, marks: Array) -> None:
    """Set the bit of event i's channel, in the other half for every other event: neighbours that share words wait."""
    marks[(channel >> SIX) + other * (i & ONE)] |= ONE << (channel & np.uint64(63))


@jit
def _merge(
    task: int, offset: Array, channel: Array, ends: Array, channels: int, indptr: Array, out_index: Array,
    out_value: Array,
) -> None:  # fmt: skip
    """Write each step's channels to its row, in order and each once, with its count where counts are wanted."""
    B, T = ends.shape
    words = (channels + 63) // 64
    marks, other, count = np.zeros(2 * words, np.uint64), np.uint64(words), np.zeros(channels, np.int32)
    begin, end = task * BLOCK, min(B, (task + 1) * BLOCK)
    at = offset[begin:end].copy()  # where each one's next step begins
    # step by step, so that rows are written side by side
    for k in range(T):
        for b in range(begin, end):
            first, last = at[b - begin], offset[b] + ends[b, k]
            if first == last:
                continue
            at[b - begin] = last
            for i in range(first, last):
                c = np.uint64(channel[i])
                count[c] += 1
                _mark(c, np.uint64(i), other, marks)
            out = np.uint64(indptr[k * B + b])
            for w in range(words):
                word = marks[w] | marks[w + words]
                marks[w], marks[w + words] = 0, 0
                while word:
                    c = (np.uint64(w) << SIX) + lowest(word)  # type: ignore[call-arg]
                    word &= word - ONE
                    out_index[out] = c
                    if out_value.size:
                        out_value[out] = count[c]
                    count[c] = 0
                    out += ONE


def count_events(
    index: Array, time: Array, start: Array, stop: Array, channels: int, horizon: float, bins: int,
    pooled: Pooling | None = None,
) -> Array:  # fmt: skip
    """(B, bins * N) float32, each channel's events in equal parts of [0, horizon) ms, column k*N + c."""
    if isinstance(bins, bool) or int(bins) != bins or bins < 1:
        raise ValueError(f"bins: expected a whole number of at least 1, got {bins!r}")
    if not 1e-6 <= horizon < 1e12:
        raise ValueError(f"horizon: expected a time in ms of at least 1e-6, got {horizon!r}")
    edge = edges(step_length(float(horizon)) / int(bins), int(bins))
    group = np.arange(channels, dtype=np.int32) if pooled is None else pooled.group
    left = channels if pooled is None else pooled.channels
    out, damaged = np.zeros((len(start), int(bins) * left), np.float32), np.zeros(len(start), np.bool_)
    spread(_count, chunks(len(start)), index, time, start, stop, edge, group, left, out, damaged)
    check_whole(damaged, channels)
    return out


@jit
def _count(
    task: int, index: Array, time: Array, start: Array, stop: Array, edge: Array, group: Array, channels: int,
    out: Array, damaged: Array,
) -> None:  # fmt: skip
    for b in range(task * CHUNK, min(start.size, (task + 1) * CHUNK)):
        for i in range(start[b], stop[b]):
            c = index[i]
            if time[i] < 0 or c < 0 or c >= group.size:
                damaged[b] = True
            elif time[i] < edge[-1]:
                k = np.searchsorted(edge, time[i], side="right") - 1
                out[b, k * channels + group[c]] += 1
