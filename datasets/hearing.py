"""A stretch of the cochlea of `spiking.datasets.cochlea`, compiled: filters, hair cells, nerve fibres, bushy cells."""

from __future__ import annotations

from typing import Any

import numpy as np

from spiking.datasets.rng import uniform
from spiking.kernels.jit import jit

Array = np.ndarray[Any, Any]

STRETCH = 100  # channels of one task, whose state stays in the first cache
# A channel's numbers are rows of STRETCH in one array: no two of them can overlap, so that the loop becomes vectors.
(
    Q, C, W, BUSY, HAZARD, GROWTH, NEXT, V,
    RE1, IM1, RE2, IM2, RE3, IM3, RE4, IM4,
) = (np.uint64(row * STRETCH) for row in range(16))  # fmt: skip
ROWS = 16
COS, SIN, GAIN = (np.uint64(row * STRETCH) for row in range(3))
ONE, HALF = np.float32(1), np.float32(0.5)


@jit
def _move(state: Array, place: Array, numbers: Array, pressure: float) -> None:
    """One step of every channel, up to the hazard of a spike among its fibres."""
    (
        gain, knee, offset, half, release, refill, replace, make, reuse, keep_c, lost, keep_w, back, rate, fibres,
        ready, leak,
    ) = numbers  # fmt: skip
    for c in range(np.uint64(STRETCH)):
        a, b, d = place[COS + c], place[SIN + c], place[GAIN + c]
        u, v = state[RE1 + c], state[IM1 + c]
        re, im = a * u - b * v + d * pressure, a * v + b * u
        state[RE1 + c], state[IM1 + c] = re, im
        u, v = state[RE2 + c], state[IM2 + c]
        re, im = a * u - b * v + d * re, a * v + b * u + d * im
        state[RE2 + c], state[IM2 + c] = re, im
        u, v = state[RE3 + c], state[IM3 + c]
        re, im = a * u - b * v + d * re, a * v + b * u + d * im
        state[RE3 + c], state[IM3 + c] = re, im
        u, v = state[RE4 + c], state[IM4 + c]
        re, im = a * u - b * v + d * re, a * v + b * u + d * im
        state[RE4 + c], state[IM4 + c] = re, im

        power = re * re + im * im
        root = np.sqrt(np.sqrt(ONE + power * knee))
        y = offset + gain * (np.sqrt(power) + re) / (root * np.sqrt(root))
        k = release * y / (y + half)
        q, cleft, w = state[Q + c], state[C + c], state[W + c]
        flow = k * q
        state[Q + c] = (q + refill + replace * w) / (make + reuse * k)
        state[C + c] = keep_c * cleft + lost * flow
        state[W + c] = keep_w * w + back * cleft

        busy = state[BUSY + c]
        growth = rate * (fibres - busy) * cleft
        state[BUSY + c] = busy * ready
        state[GROWTH + c] = growth
        state[HAZARD + c] += growth
        state[V + c] *= leak


@jit
def hear(
    task: int, stretches: int, channels: int, sound: Array, ends: Array, places: Array, numbers: Array, rest: Array,
    cell: Array, states: Array, keys: Array, counts: Array,
) -> None:  # fmt: skip
    """Write time * channels + channel of the events of one stretch in one recording; beyond `keys` they are counted."""
    i, s = task // stretches, task % stretches
    first, last = s * STRETCH, min(channels, (s + 1) * STRETCH)
    place, begin, count = places[s], ends[i], 0
    step, weight, refractory = cell
    state, awake = np.zeros(ROWS * STRETCH, np.float32), np.zeros(STRETCH)
    for c in range(STRETCH):
        state[Q + np.uint64(c)], state[C + np.uint64(c)], state[W + np.uint64(c)] = rest
    for c in range(first, last):
        state[NEXT + np.uint64(c - first)] = -np.log(1 - uniform(states[i, c]))
    for k in range(ends[i + 1] - begin):
        _move(state, place, numbers, sound[begin + k])
        for j in range(np.uint64(last - first)):
            while state[HAZARD + j] >= state[NEXT + j]:
                over = state[HAZARD + j] - state[NEXT + j]
                state[HAZARD + j] = over
                channel = first + np.int64(j)
                state[NEXT + j] = -np.log(1 - uniform(states[i, channel]))
                state[BUSY + j] += ONE
                at = (k + 1 - min(over / state[GROWTH + j], ONE)) * step
                if at >= awake[j]:
                    state[V + j] += weight
                    if state[V + j] >= 1:
                        if count < keys.shape[1]:
                            keys[task, count] = np.int64(at) * channels + channel
                        count += 1
                        state[V + j] = 0
                        awake[j] = at + refractory
    counts[task] = count
    if count <= keys.shape[1]:
        keys[task, :count].sort()
