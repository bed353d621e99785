"""False matches: how often a random pattern passes for one that was stored.

n cells, a of them active in a pattern, s synapses of a segment on them, theta of which must be active.

    uniqueness            1 / C(n, w)
    overlap set           |Omega_x(n, w, b)| = C(|x|, b) C(n - |x|, w - b)
    false match           fp(n, a, s, theta) = sum_{b=theta}^{min(s, a)} C(s, b) C(n - s, a - b) / C(n, a)
    one of M stored       1 - (1 - fp)^M  <=  M fp
    mixed synapses        fp(n, a, m s, theta): one segment with s synapses on each of m patterns

A whole stored vector is the segment s = a. Ahmad & Hawkins 2016, "How do neurons operate on sparse distributed
representations?", and 2015, "Properties of sparse distributed representations".
"""

from __future__ import annotations

import math
from fractions import Fraction
from math import comb
from typing import Any

from spiking.plasticity.arguments import whole
from spiking.plasticity.sdr.counting import given, tail


def uniqueness(n: int, w: int, form: str = "float") -> Any:
    """The probability that two random patterns are the same.

    Arguments:
        n: cells.
        w: active cells of a pattern.
        form: "float", "log10", or "fraction", which is exact.

    Raises:
        ValueError: naming the argument outside its range.
    """
    n = whole("n", n, 1)
    return given(Fraction(1, comb(n, whole("w", w, 0, n, "n"))), form)


def overlap_set(n: int, w: int, b: int, x: int | None = None) -> int:
    """How many patterns of w active cells share exactly b of them with a given pattern.

    Arguments:
        n: cells.
        w: active cells of the patterns that are counted.
        b: shared cells.
        x: active cells of the given pattern; `None` means w.

    Raises:
        ValueError: naming the argument outside its range.
    """
    n = whole("n", n, 1)
    w = whole("w", w, 0, n, "n")
    x = w if x is None else whole("x", x, 0, n, "n")
    b = whole("b", b, 0, min(w, x), "min(w, x)")
    return comb(x, b) * comb(n - x, w - b)


def false_match(n: int, a: int, s: int, theta: int, form: str = "float") -> Any:
    """The probability that a random pattern activates a segment.

    Arguments:
        n: cells.
        a: active cells of the pattern.
        s: synapses of the segment, on cells of their own; s = a is a whole stored pattern.
        theta: active synapses that activate it.
        form: "float", "log10", or "fraction", which is exact.

    Raises:
        ValueError: naming the argument outside its range.
    """
    n = whole("n", n, 1)
    a, s = whole("a", a, 0, n, "n"), whole("s", s, 0, n, "n")
    return given(tail(n, a, s, whole("theta", theta, 0, s, "s")), form)


def set_match(n: int, a: int, s: int, theta: int, patterns: int) -> float:
    """The probability that a random pattern activates at least one of M segments, each of another random pattern.

    Arguments:
        n, a, s, theta: as in `false_match`.
        patterns: M.

    Raises:
        ValueError: naming the argument outside its range.
    """
    one = float(false_match(n, a, s, theta))
    patterns = whole("patterns", patterns, 0)
    return float(patterns > 0) if one == 1 else -math.expm1(patterns * math.log1p(-one))


def set_bound(n: int, a: int, s: int, theta: int, patterns: int) -> float:
    """M fp, the published bound of `set_match`, above 1 where it says nothing; arguments as there."""
    return float(whole("patterns", patterns, 0) * false_match(n, a, s, theta, "fraction"))


def mixed(n: int, a: int, s: int, theta: int, patterns: int, form: str = "float") -> Any:
    """The probability that a random pattern activates a segment which has synapses of several patterns.

    Arguments:
        n, a, theta, form: as in `false_match`.
        s: synapses for each pattern.
        patterns: how many, m; their synapses are m s different cells.

    Raises:
        ValueError: naming the argument outside its range.
    """
    n = whole("n", n, 1)
    s = whole("s", s, 0, n, "n")
    if s:
        patterns = whole("patterns", patterns, 1, n // s, "n // s")
    return false_match(n, a, s * patterns, theta, form)
