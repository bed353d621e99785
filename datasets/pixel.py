"""The pixels of `spiking.datasets.camera`, compiled: photoreceptor, threshold crossings, noise."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from spiking.datasets.rng import normal, uniform
from spiking.kernels.jit import jit

Array = np.ndarray[Any, Any]


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


@partial(jit, inline="always")
def _follow(light: float, was: float, bright: float, steps: float) -> float:
    """A low-pass filter at `light` once its input has gone evenly from `was` to `bright` in `steps` time constants."""
    if steps > 1e9:
        return bright
    left = np.exp(-steps)
    return bright + (light - was) * left - (bright - was) * (1 - left) / steps


@jit
def simulate(
    i: int, frames: Array, path: Array, numbers: Array, duration: int, states: Array, keys: Array, counts: Array
) -> None:
    """Write time * channels + channel of recording i's events, sorted; where `keys` ends they are only counted."""
    interval, theta_off, theta_on, mismatch, dark, refractory, leak, noise_off, noise_on, speed = numbers
    threshold, noise = (theta_off + theta_on) / 2, noise_off + noise_on
    _, stills, height, width = frames.shape
    channels = 2 * height * width
    reach_y, reach_x = int(np.ceil(np.abs(path[:, 1]).max())), int(np.ceil(np.abs(path[:, 0]).max()))
    state, count = states[i], 0
    for y in range(height):
        for x in range(width):
            on = theta_on * max(0.2, 1 + mismatch * normal(state))
            off = theta_off * max(0.2, 1 + mismatch * normal(state))
            drift = leak * on
            seen = _intensity(frames[i, 0], y - path[0, 1], x - path[0, 0])
            light = np.log(seen + dark)
            before, bright = light, light
            memory = light + (uniform(state) - 0.5) * threshold
            awake = 0.0
            shot = -np.log(1 - uniform(state)) / noise if noise > 0 else np.inf
            # nothing ever changes here but the leaking memory, which is one straight line
            stride = len(path) - 1 if _still(frames[i], y, x, reach_y, reach_x) else 1
            for k in range(stride, len(path), stride):
                now = _intensity(frames[i, k if stills > 1 else 0], y - path[k, 1], x - path[k, 0])
                if now != seen or light != bright:
                    was, bright, seen = bright, np.log(now + dark), now
                    light = _follow(light, was, bright, speed * (now + dark) * interval)
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
                            channel = ((1 if uniform(state) * noise < noise_on else 0) * height + y) * width + x
                            keys[i, count] = min(int(e), duration - 1) * channels + channel
                        count += 1
                        memory, awake = level, e + refractory
                    shot -= np.log(1 - uniform(state)) / noise
                before = after
    counts[i] = count
    if count <= keys.shape[1]:
        keys[i, :count].sort()
