"""A simulated event camera: threshold crossings of log intensity, at microsecond times.

A pixel watches L(t) = log(I(t) + dark), linear in time between frames. Its memory M is the level at its last event:

    L(t) - M >= theta_on   ->  event of polarity 1 at t        M <- L(t)
    M - L(t) >= theta_off  ->  event of polarity 0 at t        M <- L(t)

After an event the pixel is blind for the refractory time and then remembers the level it wakes up to. Thresholds differ
from pixel to pixel (normal, relative spread `mismatch`). The memory leaks, which makes events of polarity 1 where
nothing moves, and shot noise makes events of either polarity at Poisson times. The model is that of Lichtsteiner, Posch
& Delbruck (2008) and of Hu, Liu & Delbruck (2021, v2e) without the latter's photoreceptor filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from spiking.datasets.progress import progress_bar
from spiking.datasets.rng import normal, streams, uniform
from spiking.datasets.store import EventStore
from spiking.events import Sensor
from spiking.kernels.jit import jit, spread

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
    motion: str | None = None,
    interval: float = 2.0,
    threshold: float = 0.28,
    mismatch: float = 0.05,
    dark: float = 0.1,
    refractory: float = 1.0,
    leak: float = 0.1,
    noise: float = 0.5,
    seed: int = 0,
    progress: bool = False,
) -> Film:
    """Show still images, moved, or videos to a simulated event camera.

    Arguments:
        images: (n, H, W) with `motion="saccades"`, or videos (n, frames, H, W); intensities of at least 0, bytes are
            divided by 255.
        motion: "saccades" moves still images as N-MNIST's camera moved; `None` for videos.
        interval: ms from frame to frame of a video, or between samples of the moved image.
        threshold: mean of theta_on and theta_off, in units of log intensity.
        mismatch: relative standard deviation of thresholds over pixels.
        dark: added to intensities before the logarithm.
        refractory: ms.
        leak: events of polarity 1 per second and pixel from the leaking memory.
        noise: shot noise events per second and pixel.
        seed: recording i is the same for the same (seed, i), whatever is recorded with it.
        progress: show a bar.

    Returns:
        Film, whose `store(labels)` makes an EventStore.

    Raises:
        ValueError: naming the argument that doesn't fit.
    """
    frames, path = _scene(images, motion, interval)
    for name, number, low in (
        ("threshold", threshold, 1e-3), ("dark", dark, 1e-6), ("mismatch", mismatch, 0.0),
        ("refractory", refractory, 0.0), ("leak", leak, 0.0), ("noise", noise, 0.0),
    ):  # fmt: skip
        if not low <= number < np.inf:
            raise ValueError(f"{name}: expected a number of at least {low:g}, got {number!r}")
    n, _, height, width = frames.shape
    duration = round((len(path) - 1) * interval * 1000)
    scale = (interval * 1000, threshold, mismatch, dark, refractory * 1000, leak / 1e6, noise / 1e6)
    channels, parts, sizes = 2 * height * width, [], []
    room = 8 * height * width
    for first in progress_bar(range(0, n, CHUNK), "simulating the event camera", progress):
        chunk = frames[first : first + CHUNK]
        states = streams(seed, 0, np.arange(first, first + len(chunk)))
        while True:
            keys, counts = np.empty((len(chunk), room), np.int64), np.zeros(len(chunk), np.int64)
            spread(_simulate, len(chunk), chunk, path, np.array(scale), duration, states.copy(), keys, counts)
            if counts.max() <= room:
                break
            room = int(counts.max())
        parts.append(np.concatenate([keys[i, :count] for i, count in enumerate(counts)]))
        sizes.append(counts)
    keys = np.concatenate(parts)
    indptr = np.zeros(n + 1, np.int64)
    np.cumsum(np.concatenate(sizes), out=indptr[1:])
    return Film(keys % channels, keys // channels, indptr, duration, (width, height, 2))


def _scene(images: Any, motion: str | None, interval: float) -> tuple[Array, Array]:
    """Frames (n, 1 or frames, H, W) float32 and the path (frames, 2)."""
    if motion not in (None, "saccades"):
        raise ValueError(f"motion: expected 'saccades' or None, got {motion!r}")
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
            raise ValueError(f"images: expected (n, H, W) with motion={motion!r}, got {frames.shape}")
        path, frames = saccades(interval), frames[:, None]
    if not frames.size:
        raise ValueError(f"images: expected at least one image with pixels, got {frames.shape}")
    if not np.isfinite(frames).all():
        raise ValueError(f"images: number {_bad(~np.isfinite(frames))} contains NaN or infinite values")
    if frames.min() < 0:
        raise ValueError(f"images: number {_bad(frames < 0)} contains intensities below 0")
    return frames, path


def _bad(where: Array) -> int:
    return int(where.reshape(len(where), -1).any(1).argmax())


@partial(jit, inline="always")
def _intensity(image: Array, y: float, x: float) -> float:
    """Bilinear between pixels; beyond the edge the image goes on as at the edge."""
    height, width = image.shape
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    fy, fx = y - y0, x - x0
    upper = image[y0, x0] + fx * (image[y0, x1] - image[y0, x0])
    lower = image[y1, x0] + fx * (image[y1, x1] - image[y1, x0])
    return upper + fy * (lower - upper)


@jit
def _still(stills: Array, y: int, x: int, reach_y: int, reach_x: int) -> bool:
    """Whether a pixel sees one intensity in all frames and wherever the path takes it."""
    frames, height, width = stills.shape
    for k in range(frames):
        for v in range(max(0, y - reach_y), min(height, y + reach_y + 1)):
            for u in range(max(0, x - reach_x), min(width, x + reach_x + 1)):
                if stills[k, v, u] != stills[0, y, x]:
                    return False
    return True


@jit
def _simulate(
    i: int, frames: Array, path: Array, numbers: Array, duration: int, states: Array, keys: Array, counts: Array
) -> None:
    """Write time * channels + channel of recording i's events, sorted; where `keys` ends they are only counted."""
    interval, threshold, mismatch, dark, refractory, leak, noise = numbers
    _, stills, height, width = frames.shape
    channels = 2 * height * width
    reach_y, reach_x = int(np.ceil(np.abs(path[:, 1]).max())), int(np.ceil(np.abs(path[:, 0]).max()))
    state, count = states[i], 0
    for y in range(height):
        for x in range(width):
            on = threshold * max(0.2, 1 + mismatch * normal(state))
            off = threshold * max(0.2, 1 + mismatch * normal(state))
            drift = leak * on
            seen = _intensity(frames[i, 0], y - path[0, 1], x - path[0, 0])
            light = np.log(seen + dark)
            before = light
            memory = light + (uniform(state) - 0.5) * threshold
            awake = 0.0
            shot = -np.log(1 - uniform(state)) / noise if noise > 0 else np.inf
            # nothing ever changes here but the leaking memory, which is one straight line
            stride = len(path) - 1 if _still(frames[i], y, x, reach_y, reach_x) else 1
            for k in range(stride, len(path), stride):
                now = _intensity(frames[i, k if stills > 1 else 0], y - path[k, 1], x - path[k, 0])
                if now != seen:
                    seen = now
                    light = np.log(seen + dark)
                s, end = (k - stride) * interval, k * interval
                level, after = before, light + drift * end
                slope = (after - before) / (end - s)
                while True:
                    e = min(end, shot)
                    target = level + slope * (e - s)
                    while True:
                        if awake > s:
                            if awake >= e:
                                break
                            level += slope * (awake - s)
                            s, memory = awake, level
                        if target - memory >= on:
                            polarity, gap = 1, memory + on - level
                        elif memory - target >= off:
                            polarity, gap = 0, memory - off - level
                        else:
                            break
                        at = min(max(s + gap / slope, s), e) if slope != 0 else s
                        level += slope * (at - s)
                        s, memory, awake = at, level, at + refractory
                        if count < keys.shape[1]:
                            channel = (polarity * height + y) * width + x
                            keys[i, count] = min(int(at), duration - 1) * channels + channel
                        count += 1
                    if shot >= end:
                        break
                    s, level = e, target
                    if e >= awake:
                        if count < keys.shape[1]:
                            channel = ((1 if uniform(state) < 0.5 else 0) * height + y) * width + x
                            keys[i, count] = min(int(e), duration - 1) * channels + channel
                        count += 1
                        memory, awake = level, e + refractory
                    shot -= np.log(1 - uniform(state)) / noise
                before = after
    counts[i] = count
    if count <= keys.shape[1]:
        keys[i, :count].sort()
