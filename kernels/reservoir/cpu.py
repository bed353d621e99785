"""The reservoir on CPUs, in Numba; op.py gives the equations.

A task is a recording. A large network with few recordings runs on all threads together, each of which owns a range of
neurons: it delivers every spike to its own targets only, so that a neuron receives its spikes in the same order however
many threads there are, and waits for the others once a step.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor

from spiking.kernels.jit import jit, meet, pointer, spread, together
from spiking.kernels.reservoir.cpu_deliver import deliver, deliver_apart, deliver_drawn, deliver_grouped, inlined
from spiking.kernels.reservoir.cpu_step import (
    BLOCK,
    CURRENTS,
    HOLD,
    KINETICS,
    LEFT,
    PARAMS,
    PER_RECEPTOR,
    V,
    W,
    currents,
    fire,
    fire_izhikevich,
)  # fmt: skip

LARGE = 8192  # neurons that are worth several threads


@inlined
def bare(x):
    """The array without its counter of references, which calls inside branches count for all threads in one place."""
    return numba.carray(pointer(x, 0), x.size)


@jit
def turn(load, tape, low, high, width, params, hold, v, slow, current, refractory, b, receptors, synapse):
    """Bring the numbers of a recording's blocks onto the tape, or its state back."""
    N = hold.size
    for j in range(low * BLOCK, min(N, high * BLOCK)):
        at, here = (j // BLOCK - low) * width + j % BLOCK, b * N + j
        if load:
            for row in range(PARAMS):
                tape[at + row * BLOCK] = params[row * N + j]
            tape[at + HOLD * BLOCK], tape[at + LEFT * BLOCK] = hold[j], refractory[here]
            tape[at + V * BLOCK], tape[at + W * BLOCK] = v[here], slow[here]
        else:
            v[here], slow[here] = tape[at + V * BLOCK], tape[at + W * BLOCK]
            refractory[here] = np.int32(tape[at + LEFT * BLOCK])
        for r in range(receptors if synapse else 0):
            there = at + (CURRENTS + r * PER_RECEPTOR) * BLOCK
            for row in range(KINETICS if load else 0):
                tape[there + row * BLOCK] = params[(PARAMS + r * KINETICS + row) * N + j]
            for m in range(synapse):  # h and i, or i alone
                row, at_state = PER_RECEPTOR - synapse + m, ((b * receptors + r) * synapse + m) * N + j
                if load:
                    tape[there + row * BLOCK] = current[at_state]
                else:
                    current[at_state] = tape[there + row * BLOCK]


@jit
def _drawing(numbers, N):
    """Where the shares of the targets of drawn synapses begin, and room for a fan-out."""
    K = int(numbers[1]) if numbers.size else 0
    edges = np.zeros(K + 1, np.uint64)
    for k in range(K + 1):
        edges[k] = k * N // max(K, 1)
    return edges, np.empty(K, np.int32), np.empty(K, np.float32)


@jit
def strengthen(queue, start, count, now, groups, table, o, use, resources, last_spike, strengths):
    """u R of each spike and group of targets; shortterm.py has the equations."""
    N = table.size // max(3 * groups, 1)
    for m in range(start, start + count):
        j = queue[m]
        interval, first = table.dtype.type(now - last_spike[o + j]), last_spike[o + j] < 0
        for g in range(groups):
            at, U = (o + j) * groups + g, table[j * groups + g]
            fall = np.exp(-interval * table[(N + j) * groups + g])
            rest = np.exp(-interval * table[(2 * N + j) * groups + g])
            u, R = use[at], resources[at]
            use[at] = U if first else U + u * (1 - U) * rest
            resources[at] = 1 if first else 1 + (R - u * R - 1) * fall
            strengths[m * groups + g] = use[at] * resources[at]


@jit
def _run(
    b, k, n, barrier, queue, amount, strengths, indptr, index, value, lengths, in_indptr, in_word, in_weight, in_gen,
    re_indptr, re_word, re_weight, re_gen, params, hold, table, group, fade, clock, v, slow, current, refractory,
    pending, use, resources, last_spike, done, fill, buffer, spikes, total, final, counts, traces, flags, stop, budget,
    dt,
):  # fmt: skip
    """Bring recording b to step `stop`, for the targets of thread k of n; less far where the buffer is full."""
    indptr, index, value, group = bare(indptr), bare(index), bare(value), bare(group)
    in_indptr, in_word, in_weight, in_gen = bare(in_indptr), bare(in_word), bare(in_weight), bare(in_gen)
    re_indptr, re_word, re_weight, re_gen = bare(re_indptr), bare(re_word), bare(re_weight), bare(re_gen)
    pending, use, resources, table = bare(pending), bare(use), bare(resources), bare(table)
    last_spike = bare(last_spike)
    params, hold, v, slow, current, refractory = (
        bare(params), bare(hold), bare(v), bare(slow), bare(current), bare(refractory)
    )  # fmt: skip
    B, N = lengths.size, hold.size
    T, groups = spikes.size // B, table.size // (3 * N)
    kind, synapse, receptors, at_once = flags[0], flags[1], flags[2], flags[3] != 0
    subtract, substeps, slots = flags[4] != 0, flags[5], flags[6]
    blocks = (N + BLOCK - 1) // BLOCK
    low, high = k * blocks // n, (k + 1) * blocks // n
    lo, hi, width = low * BLOCK, min(N, high * BLOCK), (CURRENTS + receptors * PER_RECEPTOR) * BLOCK + 16
    nothing = np.empty(0, v.dtype)
    if n == 1:
        queue, amount = np.empty(2 * N + 1, np.int32), np.zeros(2, np.int64)
        strengths = np.empty(2 * N * groups, v.dtype)
    none = np.zeros(BLOCK if synapse else 0, v.dtype)
    jump, apart = (none, 0) if synapse else (pending, BLOCK)
    tape, fired = np.zeros((high - low) * width, v.dtype), np.zeros((high - low) * BLOCK, np.uint8)
    words = fired.view(np.uint64)
    turn(True, tape, low, high, width, params, hold, v, slow, current, refractory, b, receptors, synapse)
    t, now, written, seen, latest = done[b], clock[b], fill[b], total[b], final[b]
    size, bins, parts = buffer.size // B, counts.size // (B * N), traces.size // (B * N)
    end, o, ring = min(stop, lengths[b]), b * N, b * slots * receptors * N
    drawn, together = in_gen.size > 0, receptors == 1
    edges, drawn_words, weights = _drawing(in_gen, N)
    edges_re, words_re, weights_re = _drawing(re_gen, N)
    while t < end and seen <= budget and (size == 0 or written + N <= size):
        slot, parity, before = now % slots, t % 2, seen
        first, last = indptr[t * B + b], indptr[t * B + b + 1]
        if drawn:
            deliver_drawn(
                index, first, last, value, strengths, group, 0, pending, ring, slot, slots, receptors, N, in_gen,
                edges, drawn_words, weights, lo, hi,
            )
        elif together:
            deliver(
                index, first, last, value, pending, ring, slot, slots, N, in_indptr, in_word, in_weight, lo, hi
            )
        else:
            deliver_apart(
                index, first, last, value, pending, ring, slot, slots, N, in_indptr, in_word, in_weight, lo, hi
            )

        felt, start = ring + slot * receptors * N, parity * N + lo
        if synapse:
            currents(tape, low, high, width, N, pending, felt, synapse, receptors, at_once)
            felt = 0
        if kind == 2:
            mine = fire_izhikevich(
                tape, low, high, width, N, jump, felt, apart, fired, words, queue, start, substeps, dt
            )
        else:
            mine = fire(tape, low, high, width, N, jump, felt, apart, fired, words, queue, start, subtract)
        if groups:
            strengthen(queue, start, mine, now, groups, table, o, use, resources, last_spike, strengths)
        for m in range(start, start + mine):
            last_spike[o + queue[m]] = now
        place = (b * bins + t * bins // T) * N
        for m in range(start, start + mine if bins else start):
            counts[place + queue[m]] += 1
        part = t * parts // T
        place, stays = (b * parts + part) * N, min(-(-(part + 1) * T // max(parts, 1)), lengths[b]) - 1 - t
        for m in range(start, start + mine if parts else start):
            traces[place + queue[m]] += fade[stays]
        amount[parity * n + k] = mine
        if n > 1:
            meet(barrier)

        for other in range(n):
            start = parity * N + other * blocks // n * BLOCK
            finish, count = start + amount[parity * n + other], amount[parity * n + other]
            if re_gen.size:
                deliver_drawn(
                    queue, start, finish, nothing, strengths, group, groups, pending, ring, slot, slots, receptors, N,
                    re_gen, edges_re, words_re, weights_re, lo, hi,
                )
            elif groups:
                deliver_grouped(
                    queue, start, finish, strengths, group, groups, pending, ring, slot, slots, receptors, N, re_indptr,
                    re_word, re_weight, lo, hi,
                )
            elif together:
                deliver(
                    queue, start, finish, nothing, pending, ring, slot, slots, N, re_indptr, re_word, re_weight, lo, hi
                )
            else:
                deliver_apart(
                    queue, start, finish, nothing, pending, ring, slot, slots, N, re_indptr, re_word, re_weight, lo, hi
                )
            for m in range(count if size and k == 0 else 0):
                buffer[b * size + written + m] = queue[start + m]
            written += count if size else 0
            seen += count
            latest = t if count else latest
        if k == 0:
            spikes[t * B + b] = np.int32(seen - before)
        t += 1
        now += 1
    if n > 1:
        meet(barrier)  # nobody reads any more what thread 0 writes
    turn(False, tape, low, high, width, params, hold, v, slow, current, refractory, b, receptors, synapse)
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
    many = N >= LARGE and B < 2 * threads and threads > 1  # the result is the same either way
    room = 2 * use.size // max(B, 1)
    shared = [np.empty(2 * N + 1, np.int32), np.zeros(2 * threads, np.int64), np.empty(room, v.dtype)]
    numbers = (np.array(flags), stop, budget, dt)
    if many:
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
