"""The published figures as curves: exact theory, and simulated segments wherever enough matches are to be expected.

Ahmad & Hawkins 2016: false matches against cells and against synapses, false negatives against noise, unions, medians
against the threshold; 2015: one of many stored vectors. A point is simulated where theory expects at least `SEEN`
matches among the pairs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from itertools import product

from spiking.plasticity.curve import Curve
from spiking.plasticity.sdr import simulate
from spiking.plasticity.sdr.match import false_match, mixed, set_bound, set_match
from spiking.plasticity.sdr.noise import false_negative
from spiking.plasticity.sdr.sequence import prediction_jaccard
from spiking.plasticity.sdr.threshold import CELLS, PER_MILLE, SYNAPSES, grid_errors, median_error
from spiking.plasticity.sdr.transitions import predictions
from spiking.plasticity.sdr.union import union_match, union_match_exact, union_variance

SEEN = 10
ASKED = 32  # patterns that a memory of sequences is asked


def cells(pairs: int, seed: int) -> list[Curve]:
    """False matches against n, for three numbers of active cells; 24 synapses, threshold 12."""

    def curve(a: int) -> Curve:
        sizes = [n for n in range(300, 4301, 200) if n >= a]
        theory = [false_match(n, a, 24, 12) for n in sizes]

        def measure(k: int) -> tuple[float, int]:
            found = simulate.random_matches(sizes[k], a, 24, pairs, seed + k)
            return found.rate(12), found.pairs

        return _curve(f"a = {a}", sizes, theory, measure, pairs)

    return [curve(a) for a in (64, 128, 256)]


def synapses(pairs: int, seed: int) -> list[Curve]:
    """False matches against s, the threshold half of it, for five populations."""

    def curve(a: int, n: int) -> Curve:
        sizes = list(range(2, 31, 2))
        theory = [false_match(n, a, s, s // 2) for s in sizes]

        def measure(k: int) -> tuple[float, int]:
            found = simulate.random_matches(n, a, sizes[k], pairs, seed + k)
            return found.rate(sizes[k] // 2), found.pairs

        return _curve(f"a = {a}, n = {n}", sizes, theory, measure, pairs)

    return [curve(*given) for given in ((32, 4000), (32, 2000), (128, 4000), (200, 4000), (4000, 16000))]


def noise(pairs: int, seed: int) -> list[Curve]:
    """False negatives against the share of 128 active cells that is lost; 30 synapses."""
    lost = list(range(10, 123))
    found: dict[int, simulate.Overlaps] = {}

    def curve(theta: int) -> Curve:
        theory = [false_negative(128, 30, v, theta) for v in lost]

        def measure(k: int) -> tuple[float, int]:
            if k % 6 != 4:
                return math.nan, 0
            if k not in found:
                found[k] = simulate.noisy_matches(2000, 128, 30, lost[k], pairs, seed + k)
            return 1 - found[k].rate(theta), found[k].pairs

        return _curve(f"threshold {theta}", [v / 128 for v in lost], theory, measure, pairs)

    return [curve(theta) for theta in (8, 12, 16)]


def union(pairs: int, seed: int) -> list[Curve]:
    """False matches against the number of patterns in a union; 40 of 4000 cells."""
    sizes = list(range(1, 51))
    found: dict[int, simulate.Overlaps] = {}

    def curve(theta: int) -> Curve:
        theory = [union_match_exact(4000, 40, theta, M) for M in sizes]

        def measure(k: int) -> tuple[float, int]:
            if k % 7 != 4:  # 5, 12, ..., 47 patterns
                return math.nan, 0
            if k not in found:
                found[k] = simulate.union_matches(4000, 40, sizes[k], pairs, seed + k)
            return found[k].rate(theta), found[k].pairs

        published = [union_match(4000, 40, theta, M) for M in sizes]
        curve = _curve(f"threshold {theta}", sizes, theory, measure, pairs, published)
        for k, error in enumerate(curve.error):  # patterns that meet the same union share its size
            if math.isfinite(error):
                shared = (simulate.SHARED - 1) * union_variance(4000, 40, theta, sizes[k])
                curve.error[k] = math.hypot(error, math.sqrt(shared / found[k].pairs))
        return curve

    return [curve(theta) for theta in (10, 15, 20)]


def stored(pairs: int, seed: int) -> list[Curve]:
    """One of M stored vectors of 7 of 100 cells matches a random one, against the threshold."""

    def curve(patterns: int) -> Curve:
        thresholds = list(range(1, 8))
        theory = [set_match(100, 7, 7, theta, patterns) for theta in thresholds]
        published = [set_bound(100, 7, 7, theta, patterns) for theta in thresholds]
        asked = max(1, pairs // patterns)
        found = simulate.random_matches(100, 7, 7, asked, seed, stored=patterns)

        def measure(k: int) -> tuple[float, int]:
            return found.rate(thresholds[k]), found.pairs

        return _curve(f"{patterns} stored", thresholds, theory, measure, asked, published)

    return [curve(patterns) for patterns in (10, 100, 500)]


def threshold(pairs: int, seed: int) -> list[Curve]:
    """False matches of 210 populations and segments against the threshold: quartiles, and the median simulated."""
    thresholds = list(range(1, 21))
    grid = list(product(CELLS, PER_MILLE, SYNAPSES))
    each = max(1, pairs // 10)
    found = [
        simulate.random_matches(n, n * part // 1000, s, each, seed + k) for k, (n, part, s) in enumerate(grid)
    ]

    def measure(k: int) -> tuple[float, int]:
        return statistics.median(overlaps.rate(thresholds[k]) for overlaps in found), 0

    spread = [statistics.quantiles(grid_errors(theta), n=4) for theta in thresholds]
    median = _curve("median", thresholds, [median_error(theta) for theta in thresholds], measure, each)
    nothing = [math.nan] * len(thresholds)
    upper = Curve("upper quartile", median.x, [high for _, _, high in spread], nothing, nothing)
    lower = Curve("lower quartile", median.x, [low for low, _, _ in spread], nothing, nothing)
    return [upper, median, lower]


def shared(pairs: int, seed: int) -> list[Curve]:
    """False matches against the patterns on one segment, 20 synapses each, threshold 10, for three sparsities."""

    def curve(a: int) -> Curve:
        patterns = list(range(1, 17))
        theory = [mixed(2000, a, 20, 10, m) for m in patterns]

        def measure(k: int) -> tuple[float, int]:
            if k % 3:
                return math.nan, 0
            found = simulate.random_matches(2000, a, 20 * patterns[k], pairs, seed + k)
            return found.rate(10), found.pairs

        return _curve(f"a = {a}, n = 2000", patterns, theory, measure, pairs)

    return [curve(a) for a in (20, 40, 80)]


def sequence(pairs: int, seed: int) -> list[Curve]:
    """The next pattern's cells over all that are predicted, against n; as many transitions as `pairs` allow."""

    def curve(a: int) -> Curve:
        transitions = max(ASKED, min(20_000, pairs // (a * ASKED)))
        sizes = list(range(160, 1001, 20))
        theory = [prediction_jaccard(n, a, 20, 10, transitions) for n in sizes]
        asked = range(2, len(sizes), 4)
        found = {k: predictions(sizes[k], a, 20, 10, transitions, ASKED, seed + k)[1] for k in asked}
        x, measured = [float(n) for n in sizes], [found.get(k, math.nan) for k in range(len(sizes))]
        return Curve(f"a = {a}, {transitions} transitions", x, theory, measured, [math.nan] * len(sizes))

    return [curve(a) for a in (32, 64, 96)]


FIGURES = {
    "cells": cells, "synapses": synapses, "shared": shared, "union": union, "noise": noise, "stored": stored,
    "threshold": threshold, "sequence": sequence,
}  # fmt: skip


def _curve(
    name: str, x: list[int] | list[float], theory: list[float], measure: Callable[[int], tuple[float, int]],
    pairs: int, published: list[float] | None = None,
) -> Curve:  # fmt: skip
    """A curve whose points are measured where enough matches, and enough misses, are to be expected."""
    measured, error = [], []
    for k, p in enumerate(theory):
        rate, met = measure(k) if pairs * p >= SEEN else (math.nan, 0)
        measured.append(rate)
        error.append(math.sqrt(p * (1 - p) / met) if met and met * (1 - p) >= SEEN else math.nan)
    return Curve(name, [float(value) for value in x], theory, measured, error, published or [])
