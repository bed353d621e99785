"""A simulated event camera: threshold crossings of log intensity, at microsecond times.

A pixel's photoreceptor follows L(t) = log(I(t) + dark), linear in time between frames, through a low-pass filter that
is the faster the more light there is, v' = 2 pi f (L - v) with f = cutoff (I + dark) / (1 + dark). The pixel's memory M
is the level at its last event:

    v(t) - M >= theta_on   ->  event of polarity 1 at t        M <- v(t)
    M - v(t) >= theta_off  ->  event of polarity 0 at t        M <- v(t)

After an event the pixel is blind for the refractory time and then remembers the level it wakes up to. Thresholds differ
from pixel to pixel (normal, relative spread `mismatch`). The memory leaks, which makes events of polarity 1 where
nothing moves, and shot noise makes events of either polarity at Poisson times. The model is that of Lichtsteiner, Posch
& Delbruck (2008) and of Hu, Liu & Delbruck (2021, v2e, whose section 4 has the filter); `spiking.datasets.pixel` is one
pixel of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spiking.datasets.pixel import simulate
from spiking.datasets.progress import progress_bar
from spiking.datasets.rng import streams
from spiking.datasets.store import EventStore
from spiking.events import Sensor
from spiking.kernels.jit import spread

Array = np.ndarray[Any, Any]

CHUNK = 64


@dataclass(frozen=True)
class Film:
    """What a simulated camera saw.

    Attributes:
        index: (events,) channels (p*H + y)*W + x, polarity p = 1 where it grew brighter.
        time_us: (events,) microseconds, rising within a recording.
        indptr: (n + 1,) recording i has the events indptr[i] to indptr[i + 1].
        duration: microseconds of every recording.
        sensor: (W, H, 2).
    """

    index: Array
    time_us: Array
    indptr: Array
    duration: int
    sensor: Sensor

    def store(self, labels: Any, classes: Sequence[str] | None = None, **metadata: Any) -> EventStore:
        """The recordings with their labels (n,) and columns, as `EventStore.from_arrays` takes them."""
        return EventStore.from_arrays(
            self.index, self.time_us, self.indptr, labels, self.sensor, None, classes, self.duration, **metadata
        )


def saccades(interval: float, width: float = 5.5, height: float = 4.0, lasting: float = 100.0) -> Array:
    """The path of N-MNIST's three saccades (Orchard et al. 2015): there, across and back along a triangle.

    Arguments:
        interval: ms from one place to the next.
        width, height: of the triangle, pixels.
        lasting: of one saccade, ms, speeding up and slowing down smoothly (minimum jerk).

    Returns:
        (places, 2) displacements (x, y) in pixels, from t = 0 to 3*lasting.
    """
    t = np.arange(round(3 * lasting / interval) + 1) * interval
    corners = np.array([[0.0, 0.0], [width / 2, height], [width, 0.0], [0.0, 0.0]])
    leg = np.minimum((t / lasting).astype(int), 2)
    s = t / lasting - leg
    s = s**3 * (10 - 15 * s + 6 * s**2)
    place = corners[leg] + s[:, None] * (corners[leg + 1] - corners[leg])
    return place - [width / 2, height / 2]


def record(
    images: Any,
    motion: str | Array | None = None,
    interval: float = 2.0,
    threshold: float | tuple[float, float] = 0.28,
    mismatch: float = 0.05,
    dark: float = 0.1,
    refractory: float = 1.0,
    leak: float = 0.1,
    noise: float | tuple[float, float] = 0.5,
    cutoff: float = np.inf,
    seed: int = 0,
    first: int = 0,
    progress: bool = False,
) -> Film:
    """Show still images, moved, or videos to a simulated event camera.

    Arguments:
        images: (n, H, W) with a motion, or videos (n, frames, H, W); intensities of at least 0, bytes are divided by
            255.
        motion: "saccades" moves still images as `saccades` says; (places, 2) displacements (x, y) in pixels, one every
            `interval`, move them along a path of one's own; `None` for videos.
        interval: ms from frame to frame of a video, or between places of the moved image.
        threshold: means of theta_off and theta_on, in units of log intensity, or one number for both.
        mismatch: relative standard deviation of thresholds over pixels.
        dark: added to intensities before the logarithm.
        refractory: ms.
        leak: events of polarity 1 per second and pixel from the leaking memory, once it has leaked through a threshold.
        noise: shot noise events of polarity 0 and of polarity 1 per second and pixel, or one number for both together.
        cutoff: of the photoreceptor at intensity 1, Hz.
        seed: recording i is the same for the same (seed, first + i), whatever is recorded with it.
        first: the number of the first image.
        progress: show a bar.

    Returns:
        Film, whose `store(labels)` makes an EventStore.

    Raises:
        ValueError: naming the argument that doesn't fit.
    """
    frames, path = _scene(images, motion, interval)
    thresholds, rates = _pair("threshold", threshold), _pair("noise", noise)
    if np.ndim(noise) == 0:
        rates = (rates[0] / 2, rates[1] / 2)
    for name, number, low in (
        ("threshold", min(thresholds), 1e-3), ("noise", min(rates), 0.0), ("dark", dark, 1e-6),
        ("mismatch", mismatch, 0.0), ("refractory", refractory, 0.0), ("leak", leak, 0.0),
    ):  # fmt: skip
        if not low <= number < np.inf:
            raise ValueError(f"{name}: expected a number of at least {low:g}, got {number!r}")
    if not cutoff >= 1e-3:
        raise ValueError(f"cutoff: expected a frequency of at least 0.001 Hz, or infinity, got {cutoff!r}")
    n, _, height, width = frames.shape
    duration = round((len(path) - 1) * interval * 1000)
    numbers = np.array([
        interval * 1000, *thresholds, mismatch, dark, refractory * 1000, leak / 1e6, rates[0] / 1e6, rates[1] / 1e6,
        2 * np.pi * cutoff / 1e6 / (1 + dark),
    ])  # fmt: skip
    channels, parts, sizes = 2 * height * width, [], []
    room = 8 * height * width
    for begin in progress_bar(range(0, n, CHUNK), "simulating the event camera", progress):
        chunk = frames[begin : begin + CHUNK]
        states = streams(seed, 0, np.arange(first + begin, first + begin + len(chunk)))
        while True:
            keys, counts = np.empty((len(chunk), room), np.int64), np.zeros(len(chunk), np.int64)
            spread(simulate, len(chunk), chunk, path, numbers, duration, states.copy(), keys, counts)
            if counts.max() <= room:
                break
            room = int(counts.max())
        parts.append(np.concatenate([keys[i, :count] for i, count in enumerate(counts)]))
        sizes.append(counts)
    keys = np.concatenate(parts)
    indptr = np.zeros(n + 1, np.int64)
    np.cumsum(np.concatenate(sizes), out=indptr[1:])
    return Film(keys % channels, keys // channels, indptr, duration, (width, height, 2))


def _pair(name: str, numbers: Any) -> tuple[float, float]:
    """By polarity."""
    pair = np.asarray(numbers)
    if pair.dtype.kind not in "iuf" or pair.shape not in ((), (2,)):
        raise ValueError(f"{name}: expected a number, or one for each polarity, got {numbers!r}")
    off, on = np.broadcast_to(pair, (2,)).tolist()
    return off, on


def _scene(images: Any, motion: str | Array | None, interval: float) -> tuple[Array, Array]:
    """Frames (n, 1 or frames, H, W) float32 and the path (frames, 2)."""
    if motion is not None and (isinstance(motion, str) and motion != "saccades"):
        raise ValueError(f"motion: expected 'saccades', a path or None, got {motion!r}")
    if not 1e-3 <= interval < np.inf:
        raise ValueError(f"interval: expected a time in ms of at least 0.001, got {interval!r}")
    frames = np.asarray(images)
    if frames.dtype.kind not in "iufb":
        raise ValueError(f"images: expected numbers, got {frames.dtype}")
    frames = frames.astype(np.float32) / np.float32(255 if frames.dtype == np.uint8 else 1)
    if motion is None:
        if frames.ndim != 4:
            raise ValueError(f"images: expected videos (n, frames, H, W) without motion, got {frames.shape}")
        if frames.shape[1] < 2:
            raise ValueError("images: expected videos of at least 2 frames, got 1; a still image needs motion")
        path = np.zeros((frames.shape[1], 2))
    else:
        if frames.ndim != 3:
            raise ValueError(f"images: expected (n, H, W) with a motion, got {frames.shape}")
        path = saccades(interval) if isinstance(motion, str) else np.asarray(motion, np.float64)
        if path.ndim != 2 or path.shape[1] != 2 or len(path) < 2 or not np.isfinite(path).all():
            raise ValueError(f"motion: expected a path of at least 2 places (x, y) in pixels, got {path.shape}")
        frames = frames[:, None]
    if not frames.size:
        raise ValueError(f"images: expected at least one image with pixels, got {frames.shape}")
    if not np.isfinite(frames).all():
        raise ValueError(f"images: number {_bad(~np.isfinite(frames))} contains NaN or infinite values")
    if frames.min() < 0:
        raise ValueError(f"images: number {_bad(frames < 0)} contains intensities below 0")
    return frames, path


def _bad(where: Array) -> int:
    return int(where.reshape(len(where), -1).any(1).argmax())
