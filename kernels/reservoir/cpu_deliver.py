"""How spikes reach their targets: loops over a list of spikes and their fan-outs; synapses.py has layout and hash.

Arrivals of a recording stand in `pending` from `ring` on, as (slots, receptors, N); what comes after d steps stands
`slot + d` slots on, modulo their number, a power of two. Of the neurons a thread serves those from `low` to `high`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from spiking.kernels.jit import jit

MASK, BITS = (1 << 24) - 1, 24
GOLDEN, FIRST, SECOND = np.uint32(0x9E3779B9), np.uint32(0x7FEB352D), np.uint32(0x846CA68B)

inlined = partial(jit, inline="always")


@inlined
def mix(x):
    """The hash."""
    x = np.uint32(np.uint32(x ^ (x >> np.uint32(16))) * FIRST)
    x = np.uint32(np.uint32(x ^ (x >> np.uint32(15))) * SECOND)
    return np.uint32(x ^ (x >> np.uint32(16)))


@inlined
def reach(word, first, last, target):
    """Where the synapses from first to last reach `target` or beyond."""
    while first < last:
        middle = (first + last) // 2
        if (word[middle] & MASK) < target:
            first = middle + 1
        else:
            last = middle
    return first


@inlined
def fan(indptr, word, source, low, high, N):
    """The synapses of a source onto the neurons from low to high."""
    first, last = indptr[source], indptr[source + 1]
    if low > 0:
        first = reach(word, first, last, low)
    if high < N:
        last = reach(word, first, last, high)
    return np.uint64(first), np.uint64(last)


@jit
def deliver(sources, begin, end, value, pending, ring, slot, slots, N, indptr, word, weight, low, high):
    """Spikes begin to end of a list, through stored synapses."""
    o, s, mask, n = np.uint64(ring), np.uint64(slot), np.uint64(slots - 1), np.uint64(N)
    for m in range(begin, end):
        first, last = fan(indptr, word, sources[m], low, high, N)
        strength = value[m] if value.size else pending.dtype.type(1)
        for e in range(first, last):
            w = np.uint32(word[e])
            at = (np.uint64(w >> np.uint32(BITS)) + s) & mask
            pending[o + at * n + np.uint64(w & np.uint32(MASK))] += strength * weight[e]


@jit
def deliver_apart(sources, begin, end, value, pending, ring, slot, slots, N, indptr, word, weight, low, high):
    """The same where currents below 0 have a receptor of their own."""
    o, s, mask, n = np.uint64(ring), np.uint64(slot), np.uint64(slots - 1), np.uint64(N)
    for m in range(begin, end):
        first, last = fan(indptr, word, sources[m], low, high, N)
        strength = value[m] if value.size else pending.dtype.type(1)
        for e in range(first, last):
            w, p = np.uint32(word[e]), strength * weight[e]
            at = ((np.uint64(w >> np.uint32(BITS)) + s) & mask) * np.uint64(2) + np.uint64(p < 0)
            pending[o + at * n + np.uint64(w & np.uint32(MASK))] += p


@jit
def deliver_grouped(
    sources, begin, end, strengths, group, groups, pending, ring, slot, slots, receptors, N, indptr, word, weight, low,
    high,
):  # fmt: skip
    """The same with a strength of each spike for each group of targets."""
    o, s, mask, n = np.uint64(ring), np.uint64(slot), np.uint64(slots - 1), np.uint64(N)
    both, apart = np.uint64(receptors), np.uint64(receptors - 1)
    for m in range(begin, end):
        first, last = fan(indptr, word, sources[m], low, high, N)
        here = np.uint64(m * groups)
        for e in range(first, last):
            w = np.uint32(word[e])
            target = np.uint64(w & np.uint32(MASK))
            p = strengths[here + np.uint64(group[target])] * weight[e]
            at = ((np.uint64(w >> np.uint32(BITS)) + s) & mask) * both + (apart & np.uint64(p < 0))
            pending[o + at * n + target] += p


@jit
def draw(numbers, source, edges, words, weights, start, stop):
    """Targets, delays and weights of synapses start to stop of a source."""
    excites, delay, delays = source < numbers[6], np.uint32(numbers[7]), np.uint64(numbers[8])
    base, span = (numbers[2], numbers[3]) if excites else (numbers[4], numbers[5])
    weakest, width, scale = np.float32(base), np.float32(span), np.float32(2.0**-24)
    row, skipped = mix(np.uint32(source) ^ np.uint32(numbers[0])), -1 if numbers[9] else source
    for k in range(np.uint64(start), np.uint64(stop)):
        g = mix(np.uint32(row + np.uint32(np.uint32(k) * GOLDEN)))
        left = edges[k]
        target = left + ((np.uint64(g) * (edges[k + np.uint64(1)] - left)) >> np.uint64(32))
        weight = weakest + width * (np.float32(np.int32(mix(g ^ np.uint32(1)) >> np.uint32(8))) * scale)
        late = np.uint32((np.uint64(mix(g ^ np.uint32(2))) * delays) >> np.uint64(32))
        words[k] = np.int32(np.uint32(np.uint32(delay + late) << np.uint32(BITS)) | np.uint32(target))
        weights[k] = np.float32(0) if np.int64(target) == skipped else weight


@jit
def deliver_drawn(
    sources, begin, end, value, strengths, group, groups, pending, ring, slot, slots, receptors, N, numbers, edges,
    words, weights, low, high,
):  # fmt: skip
    """The same through synapses that are drawn now, into `words` and `weights`."""
    o, s, mask, n = np.uint64(ring), np.uint64(slot), np.uint64(slots - 1), np.uint64(N)
    both, apart, K = np.uint64(receptors), np.uint64(receptors - 1), words.size
    for m in range(begin, end):
        start, stop = low * K // N, min(K, high * K // N + 1)
        draw(numbers, sources[m], edges, words, weights, start, stop)
        while start < stop and (words[start] & MASK) < low:
            start += 1
        while start < stop and (words[stop - 1] & MASK) >= high:
            stop -= 1
        strength = value[m] if value.size else pending.dtype.type(1)
        for k in range(np.uint64(start), np.uint64(stop)):
            w = np.uint32(words[k])
            target = np.uint64(w & np.uint32(MASK))
            p = (strengths[m * groups + group[target]] if groups else strength) * weights[k]
            at = ((np.uint64(w >> np.uint32(BITS)) + s) & mask) * both + (apart & np.uint64(p < 0))
            pending[o + at * n + target] += p
