"""What sparse recurrent weights V add to a step on CPUs: spikes to their targets, adjoints back, and V's gradient."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from spiking.kernels.event_linear.cpu import compress
from spiking.kernels.jit import jit, spread
from spiking.kernels.sparse_linear.cpu import LANES, add_up, backward, bisect, deliver, side_by_side

TASKS = 8
GROUP = LANES  # samples that go through time together
# Share of neurons with a slope up to which each sample's alone are faster: times of both ways met at 0.1 for 256 and
# 1024 neurons with fan-outs of 25 and 50.
FEW = 0.1


@jit
def feel(x, place, bits, byte, width, indptr, index, values, lo, hi, whole):
    """x[place + target] += the fan-out of each neuron whose bit is set, to the targets from lo to hi."""
    o = np.uint64(place)
    for k in range(width):
        word = bits[byte + k]
        if word:
            for j in range(8):
                if (word >> j) & 1:
                    first, last = indptr[8 * k + j], indptr[8 * k + j + 1]
                    if not whole:
                        first = bisect(index, first, last, lo)
                        last = bisect(index, first, last, hi)
                    for e in range(np.uint64(first), np.uint64(last)):
                        x[o + np.uint64(index[e])] += values[e]


@jit
def feel_first(x, place, state, there, N, indptr, index, values, lo, hi):
    """The same for the state's spikes before the first step, which may be any numbers."""
    for n in range(N):
        z = state[there + n]
        if z != 0:
            first = bisect(index, indptr[n], indptr[n + 1], lo)
            deliver(x, place, index, values, first, bisect(index, first, indptr[n + 1], hi), z)


@partial(jit, reassociate=True)
def push(pushed, slope, place, n, lo, indptr, index, values, d, there):
    """pushed[j] += the sum over the fan-out of neuron lo + j of V d, where its slope is not 0."""
    o, q = np.uint64(there), np.uint64(place)
    for j in range(n):
        if slope[q + np.uint64(j)] != 0:
            total = d.dtype.type(0)
            for e in range(np.uint64(indptr[lo + j]), np.uint64(indptr[lo + j + 1])):
                total += values[e] * d[o + np.uint64(index[e])]
            pushed[j] += total


@jit
def push_all(tile, d, place, apart, lanes, N, indptr, index, values, out):
    """out[n, lane] = V d for all neurons and the samples of a group, whose rows of d lie `apart`; tile is scratch."""
    side_by_side(d, place, apart, lanes, N, tile)
    for n in range(N):
        add_up(out, n * LANES, tile, index, values, indptr[n], indptr[n + 1])


@jit
def take(pushed, n, lo, lane, felt):
    """pushed[j] += felt[lo + j, lane]."""
    o = np.uint64(lo * LANES + lane)
    for j in range(np.uint64(n)):
        pushed[j] += felt[o + j * np.uint64(LANES)]


@jit
def _count_task(share, shares, bits, count):
    rows, width = bits.shape
    for row in range(share * rows // shares, (share + 1) * rows // shares):
        n = 0
        for k in range(width):
            for j in range(8 if bits[row, k] else 0):
                n += (bits[row, k] >> j) & 1
        count[row] = n


@jit
def _fill_task(share, shares, bits, indptr, index):
    rows, width = bits.shape
    for row in range(share * rows // shares, (share + 1) * rows // shares):
        e = indptr[row]
        for k in range(width):
            for j in range(8 if bits[row, k] else 0):
                if (bits[row, k] >> j) & 1:
                    index[e] = 8 * k + j
                    e += 1


def gradient(indptr: Tensor, index: Tensor, bits: Tensor, first: Tensor, d: Tensor) -> Tensor:
    """z' d^T at the synapses: the spikes of all steps but the last, and those before the first, `first` (B, N)."""
    T, samples, N = d.shape
    rows, width = max(T - 1, 0) * samples, bits.shape[2]
    packed, shares = bits[: max(T - 1, 0)].reshape(rows, width).numpy(), max(1, min(TASKS, rows))
    places = torch.zeros(rows + 1, dtype=torch.int64)
    spread(_count_task, shares, shares, packed, places[1:].numpy())
    torch.cumsum(places, 0, out=places)
    spikes = torch.empty(int(places[-1]), dtype=torch.int32)
    spread(_fill_task, shares, shares, packed, places.numpy(), spikes.numpy())
    grad = backward(places, spikes, None, indptr, index, d[1:].reshape(rows, N))
    events = compress(first, 1.0)
    assert events is not None
    if T and events[1].numel():
        before, fired, value = events
        grad += backward(before, fired, value if value.numel() else None, indptr, index, d[0])
    return grad
