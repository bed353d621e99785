"""Unions: many patterns of a cells in one vector, and how often a random pattern passes for one of them.

    density            p = 1 - (1 - a/n)^M
    wholly inside      p^w                                                  the published approximation
    match              sum_{b=theta}^a C(A, b) C(n - A, a - b) / C(n, a),   A = n p       the published approximation
    match, exactly     1 - sum_{j=k}^a (-1)^(j-k) C(j-1, k-1) C(a, j) [C(n-j, a) / C(n, a)]^M,   k = a - theta + 1

A, the mean size of the union, is no whole number, so the binomials are those of real numbers. The last line is ours, by
inclusion and exclusion over the j cells of the pattern that all M leave out; it counts that unions differ in size, as
the published line does not. Sizes are a Markov chain: a pattern adds its cells that the union does not have yet, a
hypergeometric number. Ahmad & Hawkins 2016.
"""

from __future__ import annotations

import math
from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
from scipy.special import gammaln

from spiking.plasticity.arguments import whole
from spiking.plasticity.sdr.counting import given

Array = np.ndarray[Any, Any]


def union_density(n: int, a: int, patterns: int) -> float:
    """The expected share of active cells in the union of M random patterns.

    Arguments:
        n: cells.
        a: active cells of a pattern.
        patterns: M.

    Raises:
        ValueError: naming the argument outside its range.
    """
    n = whole("n", n, 1)
    a, patterns = whole("a", a, 0, n, "n"), whole("patterns", patterns, 0)
    if a == n:
        return float(patterns > 0)
    return -math.expm1(patterns * math.log1p(-a / n))


def union_contains(n: int, w: int, patterns: int) -> float:
    """The probability that a random pattern lies wholly in the union of M random ones; arguments as `union_density`."""
    n = whole("n", n, 1)
    return union_density(n, whole("w", w, 0, n, "n"), patterns) ** w


def union_match(n: int, a: int, theta: int, patterns: int) -> float:
    """The probability that a random pattern shares at least theta cells with a union of mean size.

    Arguments:
        n: cells.
        a: active cells of each pattern.
        theta: cells that must be shared.
        patterns: M.

    Raises:
        ValueError: naming the argument outside its range.
    """
    theta = _checked(n, a, theta)
    A = n * union_density(n, a, patterns)
    high = min(a, math.floor(A + 1e-9))
    low = max(theta, math.ceil(a - (n - A) - 1e-9))  # fewer are impossible where less is off than a pattern needs
    total = 0.0
    for b in range(high, low - 1, -1):  # from the least up, which loses no digit
        shared = (math.log((A - i) / (b - i)) for i in range(b))
        rest = (math.log((n - A - i) / (a - b - i)) for i in range(a - b))
        every = (math.log((n - i) / (a - i)) for i in range(a))
        total += math.exp(math.fsum((*shared, *rest, *(-term for term in every))))
    return min(total, 1.0)


def union_match_exact(n: int, a: int, theta: int, patterns: int, form: str = "float") -> Any:
    """The probability that a random pattern shares at least theta cells with the union of M random ones.

    Arguments:
        n, a, theta, patterns: as in `union_match`.
        form: "float", "log10", or "fraction".

    Raises:
        ValueError: naming the argument outside its range.
    """
    theta = _checked(n, a, theta)
    patterns = whole("patterns", patterns, 0)
    k = a - theta + 1  # so many cells left out are too many
    whole_set = comb(n, a) ** patterns
    fail = sum(
        (-1) ** (j - k) * comb(j - 1, k - 1) * comb(a, j) * comb(n - j, a) ** patterns for j in range(k, a + 1)
    )
    return given(1 - Fraction(fail, whole_set), form)


def union_sizes(n: int, a: int, patterns: int) -> Array:
    """(n + 1,) the probabilities of 0 to n active cells in a union; arguments as in `union_density`.

    Raises:
        ValueError: naming the argument outside its range.
    """
    n = whole("n", n, 1)
    a, patterns = whole("a", a, 0, n, "n"), whole("patterns", patterns, 0)
    new = _new(n, a)
    chances = np.zeros(n + 1)
    chances[0] = 1.0
    for _ in range(patterns):
        grown = np.zeros(n + 1)
        for k, share in enumerate(new):
            grown[k:] += (chances * share)[: n + 1 - k]
        chances = grown
    return chances


def union_variance(n: int, a: int, theta: int, patterns: int) -> float:
    """The variance, from one union to another, of the probability that a random pattern matches it.

    Arguments:
        n, a, theta, patterns: as in `union_match`.

    Raises:
        ValueError: naming the argument outside its range.
    """
    theta = _checked(n, a, theta)
    chances = union_sizes(n, a, patterns)
    match = _new(n, a)[: a - theta + 1].sum(0)  # few enough of the pattern's cells are not in the union
    mean = float(chances @ match)
    return float(chances @ (match - mean) ** 2)


def _new(n: int, a: int) -> Array:
    """(a + 1, n + 1) the probability that k cells of a pattern are new to a union of each size."""
    k, off = np.arange(a + 1)[:, None], n - np.arange(n + 1)  # cells that the union lacks
    possible = (k <= off) & (a - k <= n - off)
    part = np.where(possible, k, 0), np.where(possible, a - k, 0)
    log = _log_comb(off, part[0]) + _log_comb(n - off, part[1]) - _log_comb(np.array(n), np.array(a))
    return np.where(possible, np.exp(np.where(possible, log, 0.0)), 0.0)


def _log_comb(n: Array, k: Array) -> Array:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def _checked(n: int, a: int, theta: int) -> int:
    a = whole("a", a, 0, whole("n", n, 1), "n")
    return whole("theta", theta, 0, a, "a")
