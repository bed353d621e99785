"""Surrogate derivatives in Numba; reference.py gives the equations and the meaning of the numbers."""

from __future__ import annotations

import math

from spiking.kernels.jit import jit

_FAST_SIGMOID, _ARCTAN, _TRIANGLE, _BOXCAR, _SLAYER, _MULTI_GAUSSIAN = range(1, 7)


@jit()
def derivative(kind, numbers, u, theta, out):  # type: ignore[no-untyped-def]
    """Write h(u - theta) to out.

    Arguments:
        kind: which surrogate, as `Surrogate.kind`.
        numbers: (4,) its numbers.
        u, theta, out: (n,), of the dtype of `numbers`.
    """
    n = out.shape[0]
    number = numbers.dtype.type
    a, b, c, d = numbers[0], numbers[1], numbers[2], numbers[3]
    zero, one, half = number(0), number(1), number(0.5)
    if kind == _FAST_SIGMOID:
        for j in range(n):
            y = one + a * abs(u[j] - theta[j])
            out[j] = one / (y * y)
    elif kind == _ARCTAN:
        height, scale = half * a, number(math.pi / 2) * a
        for j in range(n):
            y = scale * (u[j] - theta[j])
            out[j] = height / (one + y * y)
    elif kind == _TRIANGLE:
        slope = one / a
        for j in range(n):
            y = one - slope * abs(u[j] - theta[j])
            out[j] = b * y if y > zero else zero
    elif kind == _BOXCAR:
        edge = half * a
        for j in range(n):
            x = u[j] - theta[j]
            out[j] = b if (x > -edge) & (x <= edge) else zero
    elif kind == _SLAYER:
        height = half * b * a
        for j in range(n):
            out[j] = height * math.exp(-a * abs(u[j] - theta[j]))
    elif kind == _MULTI_GAUSSIAN:
        narrow, wide = half / (a * a), half / (c * a * c * a)
        norm = number(1 / math.sqrt(2 * math.pi)) / a
        centre, side = d * (one + b) * norm, d * b * norm / c
        for j in range(n):
            x = u[j] - theta[j]
            lobes = math.exp(-wide * (x - a) * (x - a)) + math.exp(-wide * (x + a) * (x + a))
            out[j] = centre * math.exp(-narrow * x * x) - side * lobes
    else:
        for j in range(n):
            out[j] = zero
