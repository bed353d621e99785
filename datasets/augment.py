"""Augmentation: recordings moved, turned, stretched, jittered and thinned before they are binned.

For camera events, with c the sensor's middle and numbers drawn once for each recording,

    (x', y') = round(A ((x, y) - c) + c + shift),   A = scale * rotation * shear

and events that leave the sensor are dropped. For other recordings `shift` moves channels. In time, t' = t * warp +
jitter * N(0, 1), where events that leave [0, duration) are dropped; the duration stays.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from spiking.datasets.binning import CHUNK, bin_events, chunks
from spiking.datasets.rng import normal, streams, uniform
from spiking.datasets.store import EventStore
from spiking.events import Events, Sensor
from spiking.kernels.jit import jit, spread

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Recordings:
    """The events of a batch before binning.

    Attributes:
        index: (events,) channels.
        time: (events,) microseconds.
        start, stop: (B,) recording b has the events start[b] to stop[b].
        duration: (B,) microseconds.
        ids: (B,) what names each recording for random numbers.
        channels: N.
        sensor: (W, H, P) or `None`.
    """

    index: Array
    time: Array
    start: Array
    stop: Array
    duration: Array
    ids: Array
    channels: int
    sensor: Sensor | None

    @classmethod
    def of(cls, store: EventStore) -> Recordings:
        """All recordings of a store or view."""
        index, time, indptr = store.arrays()
        return cls(index, time, indptr[:-1], indptr[1:], store.duration, store.ids, store.channels, store.sensor)

    def bin(self, dt: float, steps: int | None = None, binary: bool = False) -> Events:
        """The batch, binned as `EventStore.batch` does."""
        given = (self.index, self.time, self.start, self.stop, self.duration, self.channels)
        return bin_events(*given, dt, steps, binary, self.sensor)


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

    Raises:
        ValueError: for a negative number, `drop`, `scale` or `time_warp` of 1 or more, or (when called) a change that
            needs a sensor on recordings without one.
    """

    shift: int = 0
    rotate: float = 0.0
    scale: float = 0.0
    jitter: float = 0.0
    drop: float = 0.0
    time_warp: float = 0.0
    shear: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            number = getattr(self, field.name)
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < np.inf:
                raise ValueError(f"{field.name}: expected a number of at least 0, got {number!r}")
            if field.name in ("drop", "scale", "time_warp") and number >= 1:
                raise ValueError(f"{field.name}: expected less than 1, got {number!r}")
        if int(self.shift) != self.shift:
            raise ValueError(f"shift: expected whole pixels or channels, got {self.shift!r}")

    def __call__(self, recordings: Recordings, seed: int, epoch: int) -> Recordings:
        """The changed recordings; what is given stays as it is."""
        if recordings.sensor is None and (self.rotate or self.scale or self.shear):
            raise ValueError("rotate, scale, shear: these need recordings with a sensor (W, H, P), got channels only")
        index, time = recordings.index.astype(np.int32), recordings.time.astype(np.int64)
        width, height, _ = recordings.sensor or (recordings.channels, 1, 1)
        start, stop = recordings.start, recordings.stop.copy()
        strength = np.array([self.shift, np.deg2rad(self.rotate), self.scale, self.jitter * 1000, self.drop])
        states = streams(seed, epoch, recordings.ids)
        limits = (width, height, self.time_warp, self.shear)
        given = (index, time, start, stop, recordings.duration, states, strength, *limits)
        spread(_augment, chunks(len(start)), *given)
        return replace(recordings, index=index, time=time, stop=stop)


@jit
def _augment(
    task: int,
    index: Array,
    time: Array,
    start: Array,
    stop: Array,
    duration: Array,
    states: Array,
    strength: Array,
    width: int,
    height: int,
    time_warp: float,
    shear: float,
) -> None:
    """In place; `stop` moves towards `start` as events are dropped."""
    shift, rotate, scale, jitter, drop = strength
    for b in range(task * CHUNK, min(start.size, (task + 1) * CHUNK)):
        state = states[b]
        dx = np.floor(uniform(state) * (2 * shift + 1)) - shift
        dy = np.floor(uniform(state) * (2 * shift + 1)) - shift
        angle = rotate * (2 * uniform(state) - 1)
        size = 1 + scale * (2 * uniform(state) - 1)
        slant = shear * (2 * uniform(state) - 1)
        speed = 1 + time_warp * (2 * uniform(state) - 1)
        if height == 1:
            dy = 0.0
        xx, xy = size * np.cos(angle), size * (slant * np.cos(angle) - np.sin(angle))
        yx, yy = size * np.sin(angle), size * (slant * np.sin(angle) + np.cos(angle))
        middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
        out = start[b]
        for i in range(start[b], stop[b]):
            if drop > 0 and uniform(state) < drop:
                continue
            t = time[i] * speed
            if jitter > 0:
                t += jitter * normal(state)
            rest = index[i] // width
            x, y, p = index[i] - rest * width, rest % height, rest // height
            u, v = x - middle_x, y - middle_y
            new_x = np.floor(xx * u + xy * v + middle_x + dx + 0.5)
            new_y = np.floor(yx * u + yy * v + middle_y + dy + 0.5)
            if not (0 <= t < duration[b] and 0 <= new_x < width and 0 <= new_y < height):
                continue
            index[out] = (p * height + int(new_y)) * width + int(new_x)
            time[out] = int(t)
            out += 1
        stop[b] = out
