"""y = x W for sparse synapses on CPUs, in Numba; op.py gives the equations.

Scattering a spike to its targets is commonly left to one thread, since two spikes may reach the same neuron. Here a
task owns what it writes. Many rows (steps and samples) are cut into shares; few rows into tiles of targets, in which a
task finds its part of each fan-out by bisection. So a target receives its events in the order in which they stand,
whatever the cut. Gradients of the values are cut by inputs, into parts of equally many synapses, and where the events
are many also by rows, each share with gradients of its own, added up in a fixed order. All cuts depend on sizes alone.
"""

from __future__ import annotations

from functools import partial, reduce

import numpy as np
import torch
from torch import Tensor

from spiking.kernels.jit import jit, room, spread

TASKS = 8
TILE = 1024  # targets that are worth a task of their own
LANES = 16  # rows that go back through the synapses together


@jit
def deliver(out, place, index, values, first, last, strength):
    """out[place + index] += strength * values over the synapses from first to last."""
    o = np.uint64(place)
    for e in range(np.uint64(first), np.uint64(last)):
        out[o + np.uint64(index[e])] += strength * values[e]


@jit
def receive(grad, place, index, out, to, first, last, strength):
    """out[to + synapse] += strength * grad[place + index] over the synapses from first to last."""
    o, q = np.uint64(place), np.uint64(to)
    for e in range(np.uint64(first), np.uint64(last)):
        out[q + e] += strength * grad[o + np.uint64(index[e])]


@partial(jit, inline="always")
def bisect(index, first, last, target):
    """Where the synapses from first to last reach `target` or beyond."""
    while first < last:
        middle = (first + last) // 2
        if index[middle] < target:
            first = middle + 1
        else:
            last = middle
    return first


@jit
def _forward_task(task, shares, tiles, indptr, index, value, fan_indptr, fan_index, values, out):
    rows, N = out.shape
    share, tile = task % shares, task // shares
    lo, hi = tile * N // tiles, (tile + 1) * N // tiles
    flat = out.ravel()
    for row in range(share * rows // shares, (share + 1) * rows // shares):
        for j in range(lo, hi):
            flat[row * N + j] = 0
        for k in range(indptr[row], indptr[row + 1]):
            n = index[k]
            first, last = fan_indptr[n], fan_indptr[n + 1]
            if tiles > 1:
                first = bisect(fan_index, first, last, lo)
                last = bisect(fan_index, first, last, hi)
            strength = value[k] if value.size else values.dtype.type(1)
            deliver(flat, row * N, fan_index, values, first, last, strength)


@jit
def _backward_task(task, shares, edges, indptr, index, value, fan_indptr, fan_index, grad, out):
    rows, N = grad.shape
    share, part = task % shares, task // shares
    lo, hi, flat, nnz = edges[part], edges[part + 1], grad.ravel(), fan_index.size
    for e in range(fan_indptr[lo], fan_indptr[hi]):
        out[share * nnz + e] = 0
    for row in range(share * rows // shares, (share + 1) * rows // shares):
        for k in range(indptr[row], indptr[row + 1]):
            n = index[k]
            if lo <= n < hi:
                strength = value[k] if value.size else grad.dtype.type(1)
                receive(flat, row * N, fan_index, out, share * nnz, fan_indptr[n], fan_indptr[n + 1], strength)


@jit
def add_up(out, place, tile, index, values, first, last):
    """out[place + lane] = the sum of values * tile[index, lane] over the synapses from first to last, LANES lanes."""
    o, lanes, whole = np.uint64(place), np.uint64(LANES), first + (last - first) // 4 * 4
    for j in range(lanes):
        out[o + j] = 0
    for e in range(np.uint64(first), np.uint64(whole), np.uint64(4)):
        f, g, h = e + np.uint64(1), e + np.uint64(2), e + np.uint64(3)
        p, q, r, s = (np.uint64(index[e]), np.uint64(index[f]), np.uint64(index[g]), np.uint64(index[h]))
        for j in range(lanes):
            out[o + j] += (values[e] * tile[p * lanes + j] + values[f] * tile[q * lanes + j]) + (
                values[g] * tile[r * lanes + j] + values[h] * tile[s * lanes + j]
            )
    for e in range(np.uint64(whole), np.uint64(last)):
        p = np.uint64(index[e])
        for j in range(lanes):
            out[o + j] += values[e] * tile[p * lanes + j]


@jit
def side_by_side(flat, place, apart, rows, N, tile):
    """tile[m, lane] = flat[place + lane * apart + m] for `rows` lanes."""
    for k in range(rows):
        o = np.uint64(place + k * apart)
        for m in range(np.uint64(N)):
            tile[m * np.uint64(LANES) + np.uint64(k)] = flat[o + m]


@jit
def _inputs_task(task, groups, edges, fan_indptr, fan_index, values, grad, out):
    rows, N = grad.shape
    group, part, flat = task % groups, task // groups, grad.ravel()
    tile, total = np.zeros(N * LANES, grad.dtype), np.zeros(LANES, grad.dtype)
    blocks = (rows + LANES - 1) // LANES
    for block in range(group * blocks // groups, (group + 1) * blocks // groups):
        row = block * LANES
        lanes = min(LANES, rows - row)
        side_by_side(flat, row * N, N, lanes, N, tile)
        for n in range(edges[part], edges[part + 1]):
            add_up(total, 0, tile, fan_index, values, fan_indptr[n], fan_indptr[n + 1])
            for k in range(lanes):
                out[row + k, n] = total[k]


def forward(
    indptr: Tensor, index: Tensor, value: Tensor | None, fan_indptr: Tensor, fan_index: Tensor, values: Tensor,
    rows: int, columns: int,
) -> Tensor:  # fmt: skip
    """The product of `rows` rows of events with synapses: (rows, columns)."""
    out = room(values, rows, columns)
    shares = min(rows, TASKS)
    tiles = max(1, min(TASKS // max(shares, 1), columns // TILE))
    spread(
        _forward_task, shares * tiles, shares, tiles, *_numpy(indptr, index, _given(value, values)),
        *_numpy(fan_indptr, fan_index, values, out),
    )  # fmt: skip
    return out


def backward(
    indptr: Tensor, index: Tensor, value: Tensor | None, fan_indptr: Tensor, fan_index: Tensor, grad: Tensor
) -> Tensor:
    """The gradient of the values, (nnz,), from that of the product, (rows, columns)."""
    nnz, inputs = fan_index.numel(), fan_indptr.numel() - 1
    reached = index.numel() * nnz // max(inputs, 1)  # synapses that events reach, for inputs of equal rate
    shares = max(1, min(TASKS, indptr.numel() - 1, reached // (4 * max(nnz, 1))))
    edges = _parts(fan_indptr, TASKS // shares)
    out = room(grad, shares, nnz)
    spread(
        _backward_task, shares * (len(edges) - 1), shares, edges, *_numpy(indptr, index, _given(value, grad)),
        *_numpy(fan_indptr, fan_index, grad), out.view(-1).numpy(),
    )  # fmt: skip
    return reduce(torch.add, out.unbind(0))


def inputs(grad: Tensor, fan_indptr: Tensor, fan_index: Tensor, values: Tensor) -> Tensor:
    """The gradient of a dense input, (rows, in), from that of the product, (rows, columns)."""
    rows = grad.shape[0]
    out = room(grad, rows, fan_indptr.numel() - 1)
    groups = max(1, min(TASKS, -(-rows // LANES)))
    edges = _parts(fan_indptr, TASKS // groups)
    given = _numpy(fan_indptr, fan_index, values, grad, out)
    spread(_inputs_task, groups * (len(edges) - 1), groups, edges, *given)
    return out


def _parts(fan_indptr: Tensor, parts: int) -> np.ndarray:
    """Inputs at which to cut into at most `parts` pieces of about equally many synapses."""
    places = fan_indptr.numpy()
    cuts = np.searchsorted(places, np.linspace(0, places[-1], parts + 1)[1:-1])
    return np.unique([0, *cuts, len(places) - 1])


def _given(value: Tensor | None, like: Tensor) -> Tensor:
    return like.new_empty(0) if value is None else value.to(like.dtype)


def _numpy(*tensors: Tensor) -> list[np.ndarray]:
    return [x.detach().contiguous().numpy() for x in tensors]
