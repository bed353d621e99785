"""Surrogate derivatives in Numba; reference.py gives the equations and the meaning of the numbers."""

from __future__ import annotations

import math

import numpy as np

from spiking.kernels.jit import jit

_FAST_SIGMOID, _ARCTAN, _TRIANGLE, _BOXCAR, _SLAYER, _MULTI_GAUSSIAN, _SIGMOID = range(1, 8)


@jit
def derivative(kind, numbers, x, place, n):
    """Write h(x) over x[place :][:n].

    Arguments:
        kind: which surrogate, as `Surrogate.kind`.
        numbers: (4,) its numbers.
        x: flat, membrane potential minus threshold, in the dtype of `numbers`.
        place: where the n numbers start.
        n: how many.
    """
    o = np.uint64(place)
    number = numbers.dtype.type
    a, b, c, d = numbers[0], numbers[1], numbers[2], numbers[3]
    zero, one, half = number(0), number(1), number(0.5)
    if kind == _FAST_SIGMOID:
        for j in range(o, o + np.uint64(n)):
            y = one + a * abs(x[j])
            x[j] = one / (y * y)
    elif kind == _ARCTAN:
        height, scale = half * a, number(math.pi / 2) * a
        for j in range(o, o + np.uint64(n)):
            y = scale * x[j]
            x[j] = height / (one + y * y)
    elif kind == _TRIANGLE:
        slope = one / a
        for j in range(o, o + np.uint64(n)):
            y = one - slope * abs(x[j])
            x[j] = b * y if y > zero else zero
    elif kind == _BOXCAR:
        edge = half * a
        for j in range(o, o + np.uint64(n)):
            x[j] = b if (x[j] > -edge) & (x[j] <= edge) else zero
    elif kind == _SLAYER:
        height = half * b * a
        for j in range(o, o + np.uint64(n)):
            x[j] = height * math.exp(-a * abs(x[j]))
    elif kind == _MULTI_GAUSSIAN:
        narrow, wide = half / (a * a), half / (c * a * c * a)
        norm = number(1 / math.sqrt(2 * math.pi)) / a
        centre, side = d * (one + b) * norm, d * b * norm / c
        for j in range(o, o + np.uint64(n)):
            y = x[j]
            lobes = math.exp(-wide * (y - a) * (y - a)) + math.exp(-wide * (y + a) * (y + a))
            x[j] = centre * math.exp(-narrow * y * y) - side * lobes
    elif kind == _SIGMOID:
        for j in range(o, o + np.uint64(n)):
            y = math.exp(-a * abs(x[j]))
            x[j] = a * y / ((one + y) * (one + y))
    else:
        for j in range(o, o + np.uint64(n)):
            x[j] = zero
