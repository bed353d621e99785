"""What recurrent weights V add to a step on CPUs: who spiked, and the adjoints that go back through V, for a group.

Samples that go through time together share each row of V that is read.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from spiking.kernels.jit import LINE, jit
from spiking.kernels.lif.cpu_step import BLOCK, NEURON, copy
from spiking.kernels.lif.rule import ROWS

SPARSE = 0.25  # share of neurons with a slope up to which their rows of V alone are faster, at N=256
GROUP = 16  # samples that go through time together
FAN = 4  # samples, and rows of V, that a pass of `push_back` takes at once

_BLOCK = np.uint64(BLOCK)


@jit
def aligned(n, dtype):
    """n zeros from the start of a cache line on: sixteen numbers that lie across two lines cost twice."""
    room = np.zeros(n + LINE, dtype)
    skip = (-room.ctypes.data % 64) // room.itemsize
    return room[skip : skip + n]


@jit
def neurons_of(params, N, b0, b1):
    """The parameters of some blocks of neurons, NEURON places each; the sums and the adjoints are 0."""
    neurons = aligned((b1 - b0) * NEURON, params.dtype)
    for b in range(b0, b1):
        for row in range(ROWS):
            copy(params, row * N + b * BLOCK, min(BLOCK, N - b * BLOCK), neurons, (b - b0) * NEURON + row * BLOCK)
    return neurons


@jit
def tally(tape, place, n):
    """In how many places a row of the tape is not 0."""
    o, count = np.uint64(place), 0
    for j in range(np.uint64(n)):
        count += tape[o + j] != 0
    return count


@jit
def choose(slots, count, lengths, first, group, low, high):
    """Append the samples of a group whose length is at least `low` and below `high`; returns how many there are."""
    for g in range(group):
        if low <= lengths[first + g] < high:
            slots[count] = g
            count += 1
    return count


@jit
def fired(tape, place, n, lo, index, value, count):
    """Append the neurons of a block where a row of the tape is not 0, and what it is; returns how many there are."""
    o = np.uint64(place)
    for j in range(n):
        z = tape[o + np.uint64(j)]
        index[count], value[count] = lo + j, z
        count += z != 0
    return count


@jit
def push_back(d, first, slots, count, width, panels, blocks, out):
    """out[i] += V d[first + slots[i]] for i < count.

    Arguments:
        d: flat rows of `width` numbers, 0 from N on.
        panels: flat (blocks, width, BLOCK), V transposed, columns in blocks, filled up with 0.
        out: flat (blocks, GROUP, BLOCK).
    """
    one, two, three = _BLOCK, _BLOCK + _BLOCK, _BLOCK + _BLOCK + _BLOCK
    for b in range(blocks):
        for m in range(0, width, FAN):
            r = np.uint64((b * width + m) * BLOCK)
            for i in range(0, count // FAN * FAN, FAN):
                q = np.uint64((b * GROUP + i) * BLOCK)
                e = np.uint64((first + slots[i]) * width + m)
                f = np.uint64((first + slots[i + 1]) * width + m)
                g = np.uint64((first + slots[i + 2]) * width + m)
                h = np.uint64((first + slots[i + 3]) * width + m)
                e0, e1, e2, e3 = d[e], d[e + np.uint64(1)], d[e + np.uint64(2)], d[e + np.uint64(3)]
                f0, f1, f2, f3 = d[f], d[f + np.uint64(1)], d[f + np.uint64(2)], d[f + np.uint64(3)]
                g0, g1, g2, g3 = d[g], d[g + np.uint64(1)], d[g + np.uint64(2)], d[g + np.uint64(3)]
                h0, h1, h2, h3 = d[h], d[h + np.uint64(1)], d[h + np.uint64(2)], d[h + np.uint64(3)]
                for j in range(_BLOCK):
                    v0, v1 = panels[r + j], panels[r + one + j]
                    v2, v3 = panels[r + two + j], panels[r + three + j]
                    out[q + j] += (e0 * v0 + e1 * v1) + (e2 * v2 + e3 * v3)
                    out[q + one + j] += (f0 * v0 + f1 * v1) + (f2 * v2 + f3 * v3)
                    out[q + two + j] += (g0 * v0 + g1 * v1) + (g2 * v2 + g3 * v3)
                    out[q + three + j] += (h0 * v0 + h1 * v1) + (h2 * v2 + h3 * v3)
            for i in range(count // FAN * FAN, count):
                q = np.uint64((b * GROUP + i) * BLOCK)
                e = np.uint64((first + slots[i]) * width + m)
                e0, e1, e2, e3 = d[e], d[e + np.uint64(1)], d[e + np.uint64(2)], d[e + np.uint64(3)]
                for j in range(_BLOCK):
                    v0, v1 = panels[r + j], panels[r + one + j]
                    v2, v3 = panels[r + two + j], panels[r + three + j]
                    out[q + j] += (e0 * v0 + e1 * v1) + (e2 * v2 + e3 * v3)


@partial(jit, reassociate=True)
def push_to(d, place, N, recurrent, who, first, last, sample, out):
    """out[sample] += V d for the neurons `who`[first:last] only, with the arguments of `push_back`."""
    q, whole = np.uint64(place), first + (last - first) // FAN * FAN
    for e in range(first, whole, FAN):
        v0, v1 = np.uint64(who[e] * N), np.uint64(who[e + 1] * N)
        v2, v3 = np.uint64(who[e + 2] * N), np.uint64(who[e + 3] * N)
        s0 = s1 = s2 = s3 = d.dtype.type(0)
        for j in range(np.uint64(N)):
            x = d[q + j]
            s0 += recurrent[v0 + j] * x
            s1 += recurrent[v1 + j] * x
            s2 += recurrent[v2 + j] * x
            s3 += recurrent[v3 + j] * x
        out[(who[e] // BLOCK * GROUP + sample) * BLOCK + who[e] % BLOCK] += s0
        out[(who[e + 1] // BLOCK * GROUP + sample) * BLOCK + who[e + 1] % BLOCK] += s1
        out[(who[e + 2] // BLOCK * GROUP + sample) * BLOCK + who[e + 2] % BLOCK] += s2
        out[(who[e + 3] // BLOCK * GROUP + sample) * BLOCK + who[e + 3] % BLOCK] += s3
    for e in range(whole, last):
        v0, s0 = np.uint64(who[e] * N), d.dtype.type(0)
        for j in range(np.uint64(N)):
            s0 += recurrent[v0 + j] * d[q + j]
        out[(who[e] // BLOCK * GROUP + sample) * BLOCK + who[e] % BLOCK] += s0
