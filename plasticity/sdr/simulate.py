"""Simulated segments: patterns as Events, segments as sparse synapses, overlaps by `event_linear`.

Many patterns meet many segments at once, in chunks. Given the pattern, segments match independently and with the same
probability, whichever pattern it is, since all sets of cells are equally likely, and the other way round; so any two of
the pairs are independent, and the share of matches has exactly the binomial's variance, p (1 - p) / pairs. Unions
differ in size, so that SHARED patterns that meet the same one do have something in common: see `union_variance`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels import SparseWeight, event_linear
from spiking.neurons.connectome import draw
from spiking.plasticity.arguments import whole

CHUNK = 1 << 20  # pairs that meet at once
SHARED = 32  # patterns that meet the same union, or the same set of stored ones
WORK = 1 << 24  # cells of all unions of a chunk
Meeting = Callable[[torch.Generator], tuple[Events, SparseWeight]]


@dataclass(frozen=True)
class Overlaps:
    """How often patterns and segments shared how many cells.

    Attributes:
        counts: (most + 1,) int64, of each number of shared cells.
    """

    counts: Tensor

    @property
    def pairs(self) -> int:
        """Pairs that met."""
        return int(self.counts.sum())

    def matches(self, theta: int) -> int:
        """Pairs that shared at least theta cells, 0 or more."""
        theta = whole("theta", theta, 0)
        return int(self.counts[theta:].sum())

    def rate(self, theta: int) -> float:
        """Share of the pairs with at least theta shared cells."""
        return self.matches(theta) / self.pairs


def random_matches(n: int, a: int, s: int, pairs: int = 10**6, seed: int = 0, stored: int = 1) -> Overlaps:
    """Random patterns meet segments of other random patterns: false matches.

    Arguments:
        n: cells.
        a: active cells of a pattern.
        s: synapses of a segment.
        pairs: patterns times segments, at least.
        seed: of all that is drawn.
        stored: segments that are asked together; their largest overlap counts.

    Raises:
        ValueError: naming the argument outside its range.
    """
    n = whole("n", n, 1)
    a, s, stored = whole("a", a, 0, n, "n"), whole("s", s, 0, n, "n"), whole("stored", stored, 1)
    count, many = _sides(pairs * stored, a, s)
    if stored > 1:
        count, many = SHARED, stored * -(-min(CHUNK, pairs * stored) // (SHARED * stored))

    def meet(generator: torch.Generator) -> tuple[Events, SparseWeight]:
        return shown(draw(count, n, a, generator), n), segments(draw(many, n, s, generator), n)

    return _count(meet, min(a, s), pairs, seed, stored)


def noisy_matches(n: int, a: int, s: int, v: int, pairs: int = 10**6, seed: int = 0) -> Overlaps:
    """A pattern in noise meets its own segments: v of its active cells go silent, as many others become active.

    Arguments:
        n, a, s, pairs, seed: as in `random_matches`; the segments' synapses lie on the pattern.
        v: cells that are lost.

    Raises:
        ValueError: naming the argument outside its range.
    """
    n = whole("n", n, 1)
    a = whole("a", a, 0, n, "n")
    s, v = whole("s", s, 0, a, "a"), whole("v", v, 0, min(a, n - a), "min(a, n - a)")
    count, many = _sides(pairs, a, s)

    def meet(generator: torch.Generator) -> tuple[Events, SparseWeight]:  # the pattern is cells 0 to a - 1
        kept, others = draw(count, a, a - v, generator), draw(count, n - a, v, generator) + a
        return shown(torch.cat([kept, others], 1), n), segments(draw(many, a, s, generator), n)

    return _count(meet, s, pairs, seed)


def union_matches(n: int, a: int, patterns: int, pairs: int = 10**6, seed: int = 0) -> Overlaps:
    """Random patterns meet unions of random patterns.

    Arguments:
        n, a, pairs, seed: as in `random_matches`.
        patterns: in a union.

    Raises:
        ValueError: naming the argument outside its range.
    """
    n = whole("n", n, 1)
    a, patterns = whole("a", a, 0, n, "n"), whole("patterns", patterns, 1)
    unions = -(-min(CHUNK, whole("pairs", pairs, 1)) // SHARED)
    unions = max(1, min(unions, WORK // (n + a * patterns)))

    def meet(generator: torch.Generator) -> tuple[Events, SparseWeight]:
        stored = draw(unions * patterns, n, a, generator).view(unions, -1).long()
        together = torch.zeros(n * unions, dtype=torch.bool)
        together[(stored * unions + torch.arange(unions)[:, None]).flatten()] = True
        cell, union = together.view(n, unions).nonzero(as_tuple=True)
        return shown(draw(SHARED, n, a, generator), n), _synapses(cell, union, n, unions)

    return _count(meet, a, pairs, seed)


def _sides(pairs: int, a: int, s: int) -> tuple[int, int]:
    """How many patterns and segments of a chunk meet, so that about as many cells are drawn for both."""
    total = min(CHUNK, whole("pairs", pairs, 1))
    patterns = min(total, max(1, round(math.sqrt(total * max(s, 1) / max(a, 1)))))
    return patterns, -(-total // patterns)


def shown(active: Tensor, n: int) -> Events:
    """One step of as many samples as there are rows of active cells, (samples, a)."""
    count, a = active.shape
    return Events(torch.arange(count + 1) * a, active.flatten(), (1, count, n), 1.0, check=False)


def segments(cells: Tensor, n: int) -> SparseWeight:
    """(n, segments) synapses from the cells (segments, s) of each segment, no cell twice."""
    count, s = cells.shape
    cell, order = cells.flatten().long().sort(stable=True)
    return _synapses(cell, order // max(s, 1), n, count)


def _synapses(cell: Tensor, segment: Tensor, n: int, segments: int) -> SparseWeight:
    """(n, segments) synapses of strength 1, in the order of cells and, for each of these, of segments."""
    indptr = torch.zeros(n + 1, dtype=torch.int64)
    indptr[1:] = torch.bincount(cell, minlength=n).cumsum(0)
    return SparseWeight(indptr, segment, torch.ones(len(cell)), (n, segments), check=False)


def _count(meet: Meeting, most: int, pairs: int, seed: int, stored: int = 1) -> Overlaps:
    wanted = whole("pairs", pairs, 1)
    generator = torch.Generator().manual_seed(whole("seed", seed))
    counts, met = torch.zeros(most + 1, dtype=torch.int64), 0
    while met < wanted:
        overlap = event_linear(*meet(generator))
        if stored > 1:
            overlap = overlap.unflatten(2, (-1, stored)).amax(3)
        met += overlap.numel()
        counts += torch.bincount(overlap.flatten().int(), minlength=most + 1)
    return Overlaps(counts)
