"""The reservoir on CPUs, in Numba; op.py gives the equations.

A task is a recording. A large network with few recordings runs on all threads together, each of which owns a range of
neurons: it delivers every spike to its own targets only, so that a neuron receives its spikes in the same order however
many threads there are, and waits for the others once a step.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from spiking.kernels.jit import jit, meet, spread, together

MASK, BITS = (1 << 24) - 1, 24
GOLDEN, FIRST, SECOND = np.uint32(0x9E3779B9), np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
KINETICS, EACH = 6, 5  # rows of the parameters, see neuron.py
BLOCK = 64  # neurons of a range that threads share out
LARGE = 2048  # neurons that are worth several threads

inlined = partial(jit, inline="always")


@inlined
def mix(x):
    """The hash of synapses.py."""
    x = np.uint32(np.uint32(x ^ (x >> np.uint32(16))) * FIRST)
    x = np.uint32(np.uint32(x ^ (x >> np.uint32(15))) * SECOND)
    return np.uint32(x ^ (x >> np.uint32(16)))


@inlined
def deliver(pending, place, slot, slots, receptors, N, word, weight, first, last, strength):
    """Add strength * weight where and when each synapse from first to last says."""
    apart = np.uint64(receptors - 1)
    for e in range(np.uint64(first), np.uint64(last)):
        w = np.uint32(word[e])
        at = np.uint64(w >> np.uint32(BITS)) + np.uint64(slot)
        if at >= np.uint64(slots):
            at -= np.uint64(slots)
        p = strength * weight[e]
        at = at * np.uint64(receptors) + (apart & np.uint64(p < 0))
        pending[np.uint64(place) + at * np.uint64(N) + np.uint64(w & np.uint32(MASK))] += p


@inlined
def deliver_groups(pending, place, slot, slots, receptors, N, word, weight, first, last, strengths, here, group):
    """The same with a strength for each group of targets."""
    apart = np.uint64(receptors - 1)
    for e in range(np.uint64(first), np.uint64(last)):
        w = np.uint32(word[e])
        target = np.uint64(w & np.uint32(MASK))
        at = np.uint64(w >> np.uint32(BITS)) + np.uint64(slot)
        if at >= np.uint64(slots):
            at -= np.uint64(slots)
        p = strengths[np.uint64(here) + np.uint64(group[target])] * weight[e]
        at = at * np.uint64(receptors) + (apart & np.uint64(p < 0))
        pending[np.uint64(place) + at * np.uint64(N) + target] += p


@inlined
def deliver_drawn(pending, place, slot, slots, receptors, N, gen, source, lo, hi, strengths, here, group, groups):
    """The same for synapses that are drawn now, onto the targets from lo to hi."""
    K, excited = int(gen[1]), source < gen[6]
    low, span = np.float32(gen[2] if excited else gen[4]), np.float32(gen[3] if excited else gen[5])
    delay, delays, autapses = np.uint32(gen[7]), np.uint32(gen[8]), gen[9] != 0
    row = mix(np.uint32(source) ^ np.uint32(gen[0]))
    for k in range(lo * K // N, min(K, hi * K // N + 1)):
        g = mix(np.uint32(row + np.uint32(k) * GOLDEN))
        start = k * N // K
        target = start + int(g % np.uint32((k + 1) * N // K - start))
        if target < lo or target >= hi or (target == source and not autapses):
            continue
        weight = low + span * (np.float32(mix(g ^ np.uint32(1)) >> np.uint32(8)) * np.float32(2.0**-24))
        at = slot + int(delay + mix(g ^ np.uint32(2)) % delays)
        if at >= slots:
            at -= slots
        p = strengths[here + (group[target] if groups else 0)] * weight
        at = at * receptors + (1 if receptors > 1 and p < 0 else 0)
        pending[np.uint64(place + at * N + target)] += p


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
def exponential(params, row, N, current, i, pending, felt, drive, lo, hi, at_once):
    """The currents of one receptor, and what they add to V."""
    c, k, gain = np.uint64(row * N), np.uint64((row + 3) * N), np.uint64((row + 4) * N)
    p, q = np.uint64(i), np.uint64(felt)
    for j in range(np.uint64(lo), np.uint64(hi)):
        old = current[p + j]
        new = params[c + j] * old + params[gain + j] * pending[q + j]
        drive[j] += params[k + j] * (new if at_once else old)
        current[p + j] = new
        pending[q + j] = 0


@inlined
def alpha(params, row, N, current, h, pending, felt, drive, lo, hi):
    """The same of a current that rises first; h stands before i."""
    c, rise, hv = np.uint64(row * N), np.uint64((row + 1) * N), np.uint64((row + 2) * N)
    iv, gain = np.uint64((row + 3) * N), np.uint64((row + 4) * N)
    p, s, q = np.uint64(h), np.uint64(h + N), np.uint64(felt)
    for j in range(np.uint64(lo), np.uint64(hi)):
        x, i = current[p + j], current[s + j]
        drive[j] += params[hv + j] * x + params[iv + j] * i
        current[s + j] = params[rise + j] * x + params[c + j] * i
        current[p + j] = params[c + j] * x + params[gain + j] * pending[q + j]
        pending[q + j] = 0


@inlined
def integrate(params, hold, N, place, v, slow, refractory, drive, jump, into, fired, lo, hi, subtract):
    """A step of leaky neurons; which have fired, and whether any has."""
    o, q, any_ = np.uint64(place), np.uint64(into), 0
    b, th, reset = np.uint64(N), np.uint64(2 * N), np.uint64(3 * N)
    fall, rise = np.uint64(4 * N), np.uint64(5 * N)
    for j in range(np.uint64(lo), np.uint64(hi)):
        left, old, w = refractory[o + j], v[o + j], slow[o + j]
        u = params[j] * old + drive[j] + params[b + j] + jump[q + j]
        theta = params[th + j] + w
        z = (left == 0) & (u >= theta)
        after = u - theta if subtract else params[reset + j]
        v[o + j] = after if z else (u if left == 0 else old)
        slow[o + j] = params[fall + j] * w + (params[rise + j] if z else 0)
        refractory[o + j] = hold[j] if z else left - (left > 0)
        fired[j] = z
        jump[q + j] = 0
        drive[j] = 0
        any_ |= z
    return any_


@inlined
def izhikevich(params, hold, N, place, v, slow, refractory, drive, jump, into, fired, lo, hi, substeps, dt):
    """The same of Izhikevich's."""
    o, q, any_, h = np.uint64(place), np.uint64(into), 0, v.dtype.type(dt / substeps)
    b, c, d, bias, peak = (np.uint64(N), np.uint64(2 * N), np.uint64(3 * N), np.uint64(4 * N), np.uint64(5 * N))
    square, line, base = v.dtype.type(0.04), v.dtype.type(5), v.dtype.type(140)
    for j in range(np.uint64(lo), np.uint64(hi)):
        left, old, before = refractory[o + j], v[o + j], slow[o + j]
        x, u = old, before
        for _ in range(substeps):
            slope = square * x * x + line * x + base - u + drive[j] + params[bias + j]
            change = h * params[j] * (params[b + j] * x - u)
            x += h * slope
            u += change
        x += jump[q + j]
        z = (left == 0) & (x >= params[peak + j])
        v[o + j] = params[c + j] if z else (x if left == 0 else old)
        slow[o + j] = u + (params[d + j] if z else 0) if left == 0 else before
        refractory[o + j] = hold[j] if z else left - (left > 0)
        fired[j] = z
        jump[q + j] = 0
        drive[j] = 0
        any_ |= z
    return any_


@jit
def _run(
    b, k, n, barrier, queue, amount, strengths, indptr, index, value, lengths, in_indptr, in_word, in_weight, in_gen,
    re_indptr, re_word, re_weight, re_gen, params, hold, table, group, fade, clock, v, slow, current, refractory,
    pending, use, resources, last, done, fill, buffer, spikes, total, final, counts, traces, flags, stop, budget, dt,
):  # fmt: skip
    """Bring recording b to step `stop`, for the targets of thread k of n; less far where the buffer is full."""
    B, N = lengths.size, hold.size
    T, groups = spikes.size // B, table.size // (3 * N)
    kind, synapse, receptors, at_once = flags[0], flags[1], flags[2], flags[3] != 0
    subtract, substeps, slots = flags[4] != 0, flags[5], flags[6]
    blocks = (N + BLOCK - 1) // BLOCK
    lo, hi = k * blocks // n * BLOCK, min(N, (k + 1) * blocks // n * BLOCK)
    if n == 1:
        queue, amount = np.empty(2 * N, np.int32), np.zeros(2, np.int64)
        strengths = np.empty(2 * N * groups, v.dtype)
    one, none = np.ones(1, v.dtype), np.zeros(N if synapse else 0, v.dtype)
    drive, fired = np.zeros(blocks * BLOCK, v.dtype), np.zeros(blocks * BLOCK, np.uint8)
    eight = fired.view(np.uint64)
    t, now, written, seen, latest = done[b], clock[b], fill[b], total[b], final[b]
    size, bins, parts = buffer.size // B, counts.size // (B * N), traces.size // (B * N)
    end, o, ring = min(stop, lengths[b]), b * N, b * slots * receptors * N
    while t < end and seen <= budget and (size == 0 or written + N <= size):
        slot = now % slots
        for event in range(indptr[t * B + b], indptr[t * B + b + 1]):
            source = index[event]
            one[0] = value[event] if value.size else 1
            if in_gen.size:
                deliver_drawn(pending, ring, slot, slots, receptors, N, in_gen, source, lo, hi, one, 0, group, 0)
            else:
                i, j = in_indptr[source], in_indptr[source + 1]
                if n > 1:
                    i = reach(in_word, i, j, lo)
                    j = reach(in_word, i, j, hi)
                deliver(pending, ring, slot, slots, receptors, N, in_word, in_weight, i, j, one[0])

        felt = ring + slot * receptors * N
        for r in range(receptors if synapse else 0):
            row, i = KINETICS + r * EACH, (b * receptors + r) * synapse * N
            if synapse == 1:
                exponential(params, row, N, current, i, pending, felt + r * N, drive, lo, hi, at_once)
            else:
                alpha(params, row, N, current, i, pending, felt + r * N, drive, lo, hi)
        jump, into = (none, 0) if synapse else (pending, felt)
        if kind == 2:
            hits = izhikevich(
                params, hold, N, o, v, slow, refractory, drive, jump, into, fired, lo, hi, substeps, dt
            )
        else:
            hits = integrate(
                params, hold, N, o, v, slow, refractory, drive, jump, into, fired, lo, hi, subtract
            )

        parity, mine = t % 2, 0
        if hits:
            for w in range(lo // 8, (hi + 7) // 8):
                if eight[w]:
                    for j in range(8 * w, 8 * w + 8):
                        if fired[j]:
                            queue[parity * N + lo + mine] = j
                            mine += 1
        for m in range(mine):
            j = queue[parity * N + lo + m]
            if groups:
                interval, first = v.dtype.type(now - last[o + j]), last[o + j] < 0
                for g in range(groups):
                    at, U = (o + j) * groups + g, table[j * groups + g]
                    fall = np.exp(-interval * table[(N + j) * groups + g])
                    rest = np.exp(-interval * table[(2 * N + j) * groups + g])
                    u, R = use[at], resources[at]
                    use[at] = U if first else U + u * (1 - U) * rest
                    resources[at] = 1 if first else 1 + (R - u * R - 1) * fall
                    strengths[(parity * N + lo + m) * groups + g] = use[at] * resources[at]
            last[o + j] = now
            if size:
                buffer_place = b * size + written + m  # of one thread; several are moved below
                if n == 1:
                    buffer[buffer_place] = j
            if bins:
                counts[(b * bins + t * bins // T) * N + j] += 1
            if parts:
                part = t * parts // T
                stays = min(-(-(part + 1) * T // parts), lengths[b]) - 1 - t
                traces[(b * parts + part) * N + j] += fade[stays]
        amount[parity * n + k] = mine
        if n > 1:
            meet(barrier)
        one[0] = 1
        for other in range(n):
            start = parity * N + other * blocks // n * BLOCK
            for m in range(amount[parity * n + other]):
                j = queue[start + m]
                if re_gen.size:
                    given, here = (strengths, (start + m) * groups) if groups else (one, 0)
                    deliver_drawn(
                        pending, ring, slot, slots, receptors, N, re_gen, j, lo, hi, given, here, group, groups
                    )
                    continue
                i, stop_ = re_indptr[j], re_indptr[j + 1]
                if n > 1:
                    i = reach(re_word, i, stop_, lo)
                    stop_ = reach(re_word, i, stop_, hi)
                if groups:
                    here = (start + m) * groups
                    deliver_groups(
                        pending, ring, slot, slots, receptors, N, re_word, re_weight, i, stop_, strengths, here, group
                    )
                else:
                    deliver(pending, ring, slot, slots, receptors, N, re_word, re_weight, i, stop_, one[0])
            if size and n > 1 and k == 0:
                for m in range(amount[parity * n + other]):
                    buffer[b * size + written + m] = queue[start + m]
            written += amount[parity * n + other] if size else 0
            seen += amount[parity * n + other]
            if amount[parity * n + other]:
                latest = t
        if k == 0:
            spikes[t * B + b] = np.int32(0)
            for other in range(n):
                spikes[t * B + b] += np.int32(amount[parity * n + other])
        t += 1
        now += 1
    if n > 1:
        meet(barrier)  # nobody reads any more what thread 0 writes
    if k == 0:
        done[b], clock[b], fill[b], total[b], final[b] = t, now, written, seen, latest


@jit
def _gather(b, B, T, indptr, spikes, found, start, index):
    """Move the spikes of recording b from its own list to their places among those of all, ordered by step."""
    e = start[b]
    for t in range(T):
        to = indptr[t * B + b]
        for m in range(spikes[t * B + b]):
            index[to + m] = found[e + m]
        e += spikes[t * B + b]


def advance(
    given: list[Tensor], changing: list[Tensor], flags: list[int], stop: int, budget: int, dt: float
) -> None:
    """Bring all recordings to step `stop`, or as far as the buffers of their spikes reach; op.py names the tensors."""
    fixed = [x.detach().view(-1).numpy() for x in given]
    moving = [x.detach().view(-1).numpy() for x in changing]
    B, N, threads = fixed[3].size, fixed[13].size, torch.get_num_threads()
    v, use = moving[1], moving[6]
    together_ = N >= LARGE and B < 2 * threads and threads > 1
    shared = [np.empty(2 * N, np.int32), np.zeros(2 * threads, np.int64), np.empty(2 * use.size // max(B, 1), v.dtype)]
    numbers = (np.array(flags), stop, budget, dt)
    if together_:
        for b in range(B):
            together(lambda k, n, barrier, b=b: _run(b, k, n, barrier, *shared, *fixed, *moving, *numbers))
    else:
        spread(lambda b: _run(b, 0, 1, 0, *shared, *fixed, *moving, *numbers), B)


def gather(indptr: Tensor, spikes: Tensor, found: Tensor, start: Tensor) -> Tensor:
    """(nnz,) the spikes of all recordings by step, from those of each recording in a row."""
    T, B = spikes.shape
    index = np.empty(found.numel(), np.int32)
    arrays = [x.view(-1).numpy() for x in (indptr, spikes, found, start)]
    spread(_gather, B, B, T, *arrays, index)
    return torch.from_numpy(index)
