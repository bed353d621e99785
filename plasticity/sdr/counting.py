"""Counting in whole numbers: the hypergeometric tail, exact, and how a probability is given back.

    tail(n, a, s, low) = sum_{b=low}^{min(s, a)} C(s, b) C(n - s, a - b) / C(n, a)

of n cells a are active, s are marked; at least `low` are both. One binomial is computed, each further term follows from
the one before it by the ratio (s - b)(a - b) / ((b + 1)(n - s - a + b + 1)), so that no digit is lost however small the
sum is.
"""

from __future__ import annotations

import math
from fractions import Fraction
from math import comb
from typing import Any

FORMS = ("float", "log10", "fraction")


def tail(n: int, a: int, s: int, low: int) -> Fraction:
    """The exact probability that a random active cells of n include at least `low` of s marked ones."""
    first, high = max(low, a + s - n, 0), min(s, a)
    if first > high:
        return Fraction(0)
    term = total = comb(s, first) * comb(n - s, a - first)
    for b in range(first, high):
        term = term * ((s - b) * (a - b)) // ((b + 1) * (n - s - a + b + 1))
        total += term
    return Fraction(total, comb(n, a))


def given(value: Fraction, form: str) -> Any:
    """A probability as a float, as its decimal logarithm, which no exponent is too small for, or as it is.

    Raises:
        ValueError: if the form is none of "float", "log10", "fraction".
    """
    if form == "float":
        return float(value)
    if form == "fraction":
        return value
    if form != "log10":
        raise ValueError(f"form: expected one of {', '.join(FORMS)}, got {form!r}")
    if not value:
        return -math.inf
    if value > Fraction(1, 2):
        return math.log1p(float(value - 1)) / math.log(10)
    return math.log10(value.numerator) - math.log10(value.denominator)
