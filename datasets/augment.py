"""Augmentation: recordings moved, turned, stretched, jittered, thinned, blended and sprinkled before they are binned.

For camera events, with c the sensor's middle and numbers drawn once for each recording,

    (x', y') = round(A ((x, y) - c) + c + shift),   A = scale * rotation * shear

and events that leave the sensor are dropped. For other recordings `shift` moves channels. In time, t' = t * warp +
jitter * N(0, 1), where events that leave [0, duration) are dropped; the duration stays. A blend takes every event of
two recordings of a class with probability 1/2, after both have been moved halfway to each other, so that their mean
times and mean places agree (in the manner of Nowotny, Turner & Knight 2025).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from spiking.datasets import binning
from spiking.datasets.binning import CHUNK, ONE, bin_by, check_whole, chunks, is_damaged, lowest, order_recording
from spiking.datasets.pooling import Pooling
from spiking.datasets.rng import GAMMA, bits, normal_table, streams, uniform
from spiking.datasets.store import EventStore
from spiking.events import Events, Sensor
from spiking.kernels.jit import jit, spread

Array = np.ndarray[Any, Any]
Source = tuple[Array, Array, Array, Array, Array]

NORMAL = normal_table(4096)
ALL = np.uint64(2**64 - 1)


@dataclass(frozen=True)
class Pool:
    """All recordings that a batch may be blended with, ordered by class.

    Attributes:
        source: index, time, start, stop and duration of them all.
        order: (n,) positions, class after class.
        first: (classes + 1,) where each class begins in `order`.
        longest: (classes,) most events of a recording of each class.
    """

    source: Source
    order: Array
    first: Array
    longest: Array


@dataclass(frozen=True)
class Recordings:
    """The events of a batch before binning.

    Attributes:
        index: (events,) channels, other recordings' among them.
        time: (events,) microseconds.
        start, stop: (B,) recording b has the events start[b] to stop[b].
        duration: (B,) microseconds.
        ids: (B,) what names each recording for random numbers.
        labels: (B,) classes.
        place: (B,) where each lies in the pool.
        channels: N.
        sensor: (W, H, P) or `None`.
        pool: recordings to blend with.
        pooled: channels that become one when they are binned, or `None`.
    """

    index: Array
    time: Array
    start: Array
    stop: Array
    duration: Array
    ids: Array
    labels: Array
    place: Array
    channels: int
    sensor: Sensor | None
    pool: Pool
    pooled: Pooling | None = None

    @classmethod
    def of(cls, store: EventStore) -> Recordings:
        """All recordings of a store or view, without a copy."""
        index, time, start, stop = store.spans()
        labels = store.labels.numpy()
        first = np.zeros(len(store.classes) + 1, np.int64)
        np.cumsum(np.bincount(labels, minlength=len(store.classes)), out=first[1:])
        longest = np.zeros(len(store.classes), np.int64)
        np.maximum.at(longest, labels, stop - start)
        pool = Pool((index, time, start, stop, store.duration), np.argsort(labels, kind="stable"), first, longest)
        given = (index, time, start, stop, store.duration, store.ids, labels, np.arange(len(labels)))
        channels, sensor, pooled = store.recorded()
        return cls(*given, channels, sensor, pool, pooled)

    def select(self, at: Array) -> Recordings:
        """Some of them, by position; they go on being blended with all."""
        columns = ("start", "stop", "duration", "ids", "labels", "place")
        return replace(self, **{name: getattr(self, name)[at] for name in columns})

    def bin(self, dt: float, steps: int | None = None, binary: bool = False) -> Events:
        """The batch, binned as `EventStore.batch` does."""
        given = (self.index, self.time, self.start, self.stop, self.duration, self.channels)
        return binning.bin_events(*given, dt, steps, binary, self.sensor, self.pooled)


@dataclass(frozen=True)
class Augment:
    """Random changes to recordings, the same for the same (seed, epoch, recording).

    Arguments:
        shift: largest move along x and along y, in whole pixels, or along the channels where there is no sensor.
        rotate: largest turn to either side, degrees (cameras).
        scale: largest relative change of size, 0.1 means 0.9 to 1.1 (cameras).
        jitter: standard deviation of each event's time, ms.
        drop: probability with which each event is left out.
        time_warp: largest relative change of speed, 0.1 means times multiplied by 0.9 to 1.1.
        shear: largest slant, x moved by this times y (cameras).
        channel_jitter: standard deviation of each event's channel, or of its x and of its y, in channels or pixels.
        blend: probability with which a recording is blended with another of its class.
        noise: rate of events that are added to each channel, Hz.

    Raises:
        ValueError: for a negative number, `drop`, `scale` or `time_warp` of 1 or more, `blend` above 1, or (when
            called) a change that needs a sensor on recordings without one.
    """

    shift: int = 0
    rotate: float = 0.0
    scale: float = 0.0
    jitter: float = 0.0
    drop: float = 0.0
    time_warp: float = 0.0
    shear: float = 0.0
    channel_jitter: float = 0.0
    blend: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            number = getattr(self, field.name)
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < np.inf:
                raise ValueError(f"{field.name}: expected a number of at least 0, got {number!r}")
            if field.name in ("drop", "scale", "time_warp") and number >= 1:
                raise ValueError(f"{field.name}: expected less than 1, got {number!r}")
        if int(self.shift) != self.shift:
            raise ValueError(f"shift: expected whole pixels or channels, got {self.shift!r}")
        if self.blend > 1:
            raise ValueError(f"blend: expected a probability of at most 1, got {self.blend!r}")

    def __call__(self, recordings: Recordings, seed: int, epoch: int) -> Recordings:
        """The changed recordings; what is given stays as it is."""
        given, most = self._given(recordings, seed, epoch)
        start = np.concatenate([np.zeros(1, np.int64), np.cumsum(most)])
        index, time = (np.empty(start[-1], kind) for kind in (recordings.index.dtype, recordings.time.dtype))
        stop, damaged = start[:-1].copy(), np.zeros(len(most), np.bool_)
        spread(_keep, chunks(len(most)), *given, index, time, stop, damaged)
        check_whole(damaged, recordings.channels)
        return replace(recordings, index=index, time=time, start=start[:-1], stop=stop)

    def bin(
        self, recordings: Recordings, seed: int, epoch: int, dt: float, steps: int | None = None, binary: bool = False
    ) -> Events:
        """The changed recordings, binned: `self(recordings, seed, epoch).bin(dt, steps, binary)`, only sooner."""
        given, most = self._given(recordings, seed, epoch)
        batch = recordings
        rest = (batch.duration, batch.channels, dt, steps, binary, batch.sensor, batch.pooled)
        return bin_by(_order, given, most, *rest)

    def _given(self, recordings: Recordings, seed: int, epoch: int) -> tuple[tuple[Any, ...], Array]:
        """What `_alter` takes after the recording's number, and how many events each can come to have."""
        if recordings.sensor is None and (self.rotate or self.scale or self.shear):
            raise ValueError("rotate, scale, shear: these need recordings with a sensor (W, H, P), got channels only")
        batch, pool = recordings, recordings.pool
        source = (batch.index, batch.time, batch.start, batch.stop, batch.duration)
        partners = (pool.source, pool.order, pool.first, batch.labels, batch.place)
        # milliseconds, degrees and Hz become microseconds, radians and events per microsecond of all channels together
        units = {"jitter": 1000.0, "rotate": np.pi / 180, "noise": 1e-6 * batch.channels}
        strength = np.array([getattr(self, f.name) * units.get(f.name, 1.0) for f in fields(self)])
        most = batch.stop - batch.start
        if self.blend:
            most = most + pool.longest[batch.labels]
        if self.noise:
            mean = strength[-1] * batch.duration
            most = most + np.ceil(mean + 10 * np.sqrt(mean) + 10).astype(np.int64)
        nudges = np.floor(self.channel_jitter * NORMAL + 0.5).astype(np.int32)
        size = batch.sensor or (batch.channels, 1, 1)
        return (source, partners, streams(seed, epoch, batch.ids), strength, nudges, size), most


@jit
def _keep(
    task: int, source: Source, partners: Any, states: Array, strength: Array, nudges: Array, size: Sensor,
    index: Array, time: Array, stop: Array, damaged: Array,
) -> None:  # fmt: skip
    """Write the changed recordings of a chunk; `stop` begins as where each one's part begins."""
    for b in range(task * CHUNK, min(stop.size, (task + 1) * CHUNK)):
        at = stop[b]
        n = _alter(b, source, partners, states[b], strength, nudges, size, index[at:], time[at:])
        damaged[b], stop[b] = n < 0, at + n


@jit
def _order(
    task: int, source: Source, partners: Any, states: Array, strength: Array, nudges: Array, size: Sensor,
    offset: Array, grid: Any, channel: Array, ends: Array, rows: Array, damaged: Array,
) -> None:  # fmt: skip
    """Order the changed recordings of a chunk by step, as `bin_by` wants them."""
    begin, end = task * CHUNK, min(states.shape[0], (task + 1) * CHUNK)
    most = np.diff(offset[begin : end + 1]).max()
    index, time = np.empty(most, source[0].dtype), np.empty(most, source[1].dtype)
    for b in range(begin, end):
        n = _alter(b, source, partners, states[b], strength, nudges, size, index, time)
        damaged[b] = n < 0
        if damaged[b]:
            continue
        order_recording(index[:n], time[:n], grid, channel[offset[b] :], ends[b], rows[b])


@jit
def _alter(
    b: int, source: Source, partners: Any, state: Array, strength: Array, nudges: Array, size: Sensor,
    out_index: Array, out_time: Array,
) -> int:  # fmt: skip
    """Write recording b, changed; returns how many events it has, or -1 if it or what it is blended with is damaged."""
    index, time, start, stop, duration = source
    width, height, polarities = size
    shift, rotate, scale, jitter, drop, time_warp, shear, channel_jitter, blend, noise = strength
    dx = np.floor(uniform(state) * (2 * shift + 1)) - shift
    dy = np.floor(uniform(state) * (2 * shift + 1)) - shift
    angle = rotate * (2 * uniform(state) - 1)
    growth = 1 + scale * (2 * uniform(state) - 1)
    slant = shear * (2 * uniform(state) - 1)
    speed = 1 + time_warp * (2 * uniform(state) - 1)
    if height == 1:
        dy = 0.0
    turn = (
        growth * np.cos(angle), growth * (slant * np.cos(angle) - np.sin(angle)),
        growth * np.sin(angle), growth * (slant * np.sin(angle) + np.cos(angle)),
    )  # fmt: skip
    each = (speed, jitter, channel_jitter, 1 - drop, duration[b])
    other = _partner(b, partners, state, blend)
    channels = width * height * polarities
    target = np.empty(channels, np.int32)
    damaged = is_damaged(index, time, start[b], stop[b], channels)
    if other >= 0:
        damaged |= is_damaged(partners[0][0], partners[0][1], partners[0][2][other], partners[0][3][other], channels)
    if damaged:
        return -1
    if other < 0:
        _targets(turn, dx, dy, 0.0, 0.0, size, target)
        n = _copy(index, time, start[b], stop[b], target, 0.0, each, False, nudges, size, state, 0, out_index, out_time)
    else:
        theirs = partners[0]
        x, y, t = _middle(index, time, start[b], stop[b], width, height)
        x_other, y_other, t_other = _middle(theirs[0], theirs[1], theirs[2][other], theirs[3][other], width, height)
        right, down, later = (x_other - x) / 2, (y_other - y) / 2, (t_other - t) / 2
        _targets(turn, dx, dy, right, down, size, target)
        own = (index, time, start[b], stop[b])
        n = _copy(*own, target, later, each, True, nudges, size, state, 0, out_index, out_time)
        _targets(turn, dx, dy, -right, -down, size, target)
        given = (theirs[0], theirs[1], theirs[2][other], theirs[3][other])
        n = _copy(*given, target, -later, each, True, nudges, size, state, n, out_index, out_time)
    return _sprinkle(noise, duration[b], size, state, n, out_index, out_time)


@jit
def _partner(b: int, partners: Any, state: Array, blend: float) -> int:
    """The recording of the pool that recording b is blended with, or -1."""
    if blend == 0 or uniform(state) >= blend:
        return -1
    _, order, first, labels, place = partners
    begin, others = first[labels[b]], first[labels[b] + 1] - first[labels[b]] - 1
    if others < 1:
        return -1
    drawn = order[begin + int(uniform(state) * others)]
    # the last of the class stands for the recording itself
    return int(order[begin + others] if drawn == place[b] else drawn)


@jit
def _targets(
    turn: tuple[float, float, float, float], dx: float, dy: float, right: float, down: float, size: Sensor,
    target: Array,
) -> None:  # fmt: skip
    """Where each channel goes, -1 for off the sensor."""
    width, height, polarities = size
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    for y in range(height):
        for x in range(width):
            u, v = x + right - middle_x, y + down - middle_y
            new_x = np.floor(turn[0] * u + turn[1] * v + middle_x + dx + 0.5)
            new_y = np.floor(turn[2] * u + turn[3] * v + middle_y + dy + 0.5)
            inside = 0 <= new_x < width and 0 <= new_y < height
            for p in range(polarities):
                to = (p * height + int(new_y)) * width + int(new_x) if inside else -1
                target[(p * height + y) * width + x] = to


@jit
def _middle(index: Array, time: Array, start: int, stop: int, width: int, height: int) -> tuple[float, float, float]:
    """Mean x, y and time of a recording's events."""
    x, y, t = 0, 0, 0
    for i in range(start, stop):
        t += time[i]
    if height == 1:
        for i in range(start, stop):
            x += index[i]
    else:
        for i in range(start, stop):
            row = index[i] // width
            x += index[i] - row * width
            y += row % height
    n = max(stop - start, 1)
    return x / n, y / n, t / n


@jit
def _copy(
    index: Array, time: Array, start: int, stop: int, target: Array, later: float,
    each: tuple[float, float, float, float, int], half: bool, nudges: Array, size: Sensor, state: Array, n: int,
    out_index: Array, out_time: Array,
) -> Any:  # fmt: skip
    """Append a recording's events or a random half, each changed by itself; returns how many there are now."""
    speed, jitter, channel_jitter, keep, duration = each
    # an event that goes is overwritten by the next: a branch would be guessed wrong at each
    to = np.uint64(n)
    if speed == 1 and later == 0 and jitter == 0 and channel_jitter == 0 and keep == 1 and not half:
        for i in range(start, stop):
            place = target[np.uint64(index[i])]
            out_index[to], out_time[to] = place, time[i]
            to += np.uint64((place >= 0) & (time[i] < duration))
        return np.int64(to)
    # 64 random bits say of an event whether it stays (24 of them) and how it is jittered (12 each for time, x and y)
    counter, below = state[0], np.uint64(keep * 16777216)
    for begin in range(start, stop, 64):
        chosen = ALL
        if half:  # 64 more say which of 64 events are in it
            counter += GAMMA
            chosen = bits(counter)
        if stop - begin < 64:
            chosen &= (ONE << np.uint64(stop - begin)) - ONE
        while chosen:
            k: Any = np.uint64(begin) + lowest(chosen)  # type: ignore[call-arg]
            chosen &= chosen - ONE
            counter += GAMMA
            word = bits(counter)
            place = target[np.uint64(index[k])]
            if channel_jitter > 0:
                place = _nudge(place, nudges, word, size)
            t = (time[k] + later) * speed + jitter * NORMAL[(word >> np.uint64(24)) & np.uint64(4095)]
            out_index[to], out_time[to] = place, int(t)
            to += np.uint64((place >= 0) & (t >= 0) & (t < duration) & ((word & np.uint64(16777215)) < below))
    state[0] = counter
    return np.int64(to)


@jit
def _nudge(channel: int, nudges: Array, word: Any, size: Sensor) -> int:
    """A channel jittered along x and y, -1 for off the sensor."""
    width, height, _ = size
    right = nudges[(word >> np.uint64(36)) & np.uint64(4095)]
    if height == 1:
        x = channel + right
        return x if (channel >= 0) & (x >= 0) & (x < width) else -1
    row = channel // width
    x = channel - row * width + right
    down = nudges[(word >> np.uint64(48)) & np.uint64(4095)]
    inside = (channel >= 0) & (x >= 0) & (x < width) & (row % height + down >= 0) & (row % height + down < height)
    return (row + down) * width + x if inside else -1


@jit
def _sprinkle(
    noise: float, duration: int, size: Sensor, state: Array, n: int, out_index: Array, out_time: Array
) -> int:
    """Append a Poisson process of `noise` events a microsecond over all channels; returns how many events there are."""
    if noise == 0:
        return n
    channels = size[0] * size[1] * size[2]
    t = 0.0
    while n < out_index.size:
        t -= np.log(1 - uniform(state)) / noise
        if t >= duration:
            break
        out_index[n], out_time[n] = int(uniform(state) * channels), int(t)
        n += 1
    return n
