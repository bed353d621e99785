"""Surrogate derivatives h(x) inside Triton kernels; surrogate/reference.py gives the formulas."""

from __future__ import annotations

import math

import triton
import triton.language as tl

PI = tl.constexpr(math.pi)
ROOT = tl.constexpr(math.sqrt(2 * math.pi))


@triton.jit
def _gauss(x, mean, sigma):
    away = x - mean
    return tl.exp(-(away * away) / (2 * sigma * sigma)) / (sigma * ROOT)


@triton.jit
def derivative(x, kind: tl.constexpr, a, b, c, d):  # type: ignore[no-untyped-def]
    """h(x) of the surrogate called `kind`, with its four numbers in the type of x."""
    if kind == "fast_sigmoid":
        grown = 1 + a * tl.abs(x)
        return 1 / (grown * grown)
    elif kind == "arctan":
        angle = PI / 2 * a * x
        return a / 2 / (1 + angle * angle)
    elif kind == "triangle":
        return b * tl.maximum(1 - tl.abs(x) / a, 0.0)
    elif kind == "boxcar":
        return tl.where((x > -a / 2) & (x <= a / 2), b, 0.0)
    elif kind == "slayer":
        return b * a / 2 * tl.exp(-a * tl.abs(x))
    elif kind == "multi_gaussian":
        flanks = _gauss(x, a, c * a) + _gauss(x, -a, c * a)
        return d * ((1 + b) * _gauss(x, 0.0, a) - b * flanks)
    elif kind == "sigmoid":
        rest = tl.exp(-a * tl.abs(x))
        return a * rest / ((1 + rest) * (1 + rest))
    else:
        return tl.zeros_like(x)
