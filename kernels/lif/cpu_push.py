"""What recurrent weights V add to a step on CPUs: who spiked, and the adjoints that go back through V, for a group.

Samples that go through time together share each row of V that is read.
"""

from __future__ import annotations

import numpy as np

from spiking.kernels.jit import LINE, jit
from spiking.kernels.lif.cpu_step import BLOCK

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
def choose(slots, count, lengths, first, group, low, high):
    """Append the samples of a group whose length is at least `low` and below `high`; returns how many there are."""
    for g in range(group):
        if low <= lengths[first + g] < high:
            slots[count] = g
            count += 1
    return count


@jit
def fired(tape, place, n, lo, index, value, count):
    """Append the neurons of a block whose z is not 0, and z; returns how many there are then."""
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
