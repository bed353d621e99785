"""y = x W event by event on CPUs, in Numba; op.py gives the equation.

Rows are cut into shares and columns into blocks by the sizes alone, so any number of threads gives the same bits. A
task of the weight gradient owns its block of columns; shares have gradients of their own, added up in a fixed order.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from torch import Tensor

from spiking.kernels.jit import LINE, jit, pointer, prefetch_read, prefetch_write, room, spread

BLOCK = 128
WIDTH = np.uint64(BLOCK)
TASKS = 8
AHEAD = 8  # rows between a prefetch and its use


def _gather(x, o, width, weight, base, stride, index, first, last):
    """x[o :][:width] += the sum of weight[base + index * stride :] over the events from first to last."""
    whole = first + (last - first) // 4 * 4
    for e in range(first, whole, 4):  # four rows a pass: x is read and written a quarter as often
        a, b = np.uint64(base + index[e] * stride), np.uint64(base + index[e + 1] * stride)
        c, d = np.uint64(base + index[e + 2] * stride), np.uint64(base + index[e + 3] * stride)
        for j in range(width):
            x[o + j] += (weight[a + j] + weight[b + j]) + (weight[c + j] + weight[d + j])
    for e in range(whole, last):
        a = np.uint64(base + index[e] * stride)
        for j in range(width):
            x[o + j] += weight[a + j]


def _gather_valued(x, o, width, weight, base, stride, index, value, first, last):
    """The same, each row times the event's value."""
    whole = first + (last - first) // 4 * 4
    for e in range(first, whole, 4):
        a, b = np.uint64(base + index[e] * stride), np.uint64(base + index[e + 1] * stride)
        c, d = np.uint64(base + index[e + 2] * stride), np.uint64(base + index[e + 3] * stride)
        p, q, r, s = value[e], value[e + 1], value[e + 2], value[e + 3]
        for j in range(width):
            x[o + j] += (p * weight[a + j] + q * weight[b + j]) + (r * weight[c + j] + s * weight[d + j])
    for e in range(whole, last):
        a, v = np.uint64(base + index[e] * stride), value[e]
        for j in range(width):
            x[o + j] += v * weight[a + j]


def _scatter(source, o, width, grad, base, stride, index, first, last):
    """grad[base + index * stride :] += source[o :][:width] for each event from first to last."""
    for e in range(first, last):
        q = np.uint64(base + index[e] * stride)
        for j in range(width):
            grad[q + j] += source[o + j]


def _scatter_valued(source, o, width, grad, base, stride, index, value, first, last):
    """The same, times the event's value."""
    for e in range(first, last):
        q, v = np.uint64(base + index[e] * stride), value[e]
        for j in range(width):
            grad[q + j] += v * source[o + j]


_gather, _gather_valued, _scatter, _scatter_valued = (
    jit(function, inline="always") for function in (_gather, _gather_valued, _scatter, _scatter_valued)
)
# Whole blocks, most of the work, get loops of constant length.


@jit
def gather(x, place, n, weight, base, stride, index, first, last):
    """x[place :][:n] += the sum of weight[base + index * stride :] over the events from first to last."""
    if n == BLOCK:
        _gather(x, np.uint64(place), WIDTH, weight, base, stride, index, first, last)
    else:
        _gather(x, np.uint64(place), np.uint64(n), weight, base, stride, index, first, last)


@jit
def gather_valued(x, place, n, weight, base, stride, index, value, first, last):
    """x[place :][:n] += the sum of value * weight[base + index * stride :] over the events from first to last."""
    if n == BLOCK:
        _gather_valued(x, np.uint64(place), WIDTH, weight, base, stride, index, value, first, last)
    else:
        _gather_valued(x, np.uint64(place), np.uint64(n), weight, base, stride, index, value, first, last)


@jit
def scatter(source, place, n, grad, base, stride, index, first, last):
    """grad[base + index * stride :] += source[place :][:n] for each event from first to last."""
    if n == BLOCK:
        _scatter(source, np.uint64(place), WIDTH, grad, base, stride, index, first, last)
    else:
        _scatter(source, np.uint64(place), np.uint64(n), grad, base, stride, index, first, last)


@jit
def scatter_valued(source, place, n, grad, base, stride, index, value, first, last):
    """grad[base + index * stride :] += value * source[place :][:n] for each event from first to last."""
    if n == BLOCK:
        _scatter_valued(source, np.uint64(place), WIDTH, grad, base, stride, index, value, first, last)
    else:
        _scatter_valued(source, np.uint64(place), np.uint64(n), grad, base, stride, index, value, first, last)


@jit
def _forward_task(share, shares, indptr, index, value, weight, out):
    rows, N = out.shape
    flat, product = weight.ravel(), out.ravel()
    for row in range(share * rows // shares, (share + 1) * rows // shares):
        e, stop, there = indptr[row], indptr[row + 1], np.uint64(row * N)
        for j in range(0, N if row + AHEAD < rows else 0, LINE):
            prefetch_write(pointer(product, (row + AHEAD) * N + j))
        for j in range(np.uint64(N)):
            product[there + j] = 0
        if value.size:
            gather_valued(product, row * N, N, flat, 0, N, index, value, e, stop)
        else:
            gather(product, row * N, N, flat, 0, N, index, e, stop)


@jit
def _backward_task(task, shares, indptr, index, value, grad, out):
    rows = indptr.size - 1
    _, inputs, N = out.shape
    flat = grad.ravel()
    share, lo = task % shares, task // shares * BLOCK
    n = min(BLOCK, N - lo)
    dw = np.zeros(inputs * n, out.dtype)
    for row in range(share * rows // shares, (share + 1) * rows // shares):
        e, stop = indptr[row], indptr[row + 1]
        for j in range(0, n if row + AHEAD < rows else 0, LINE):
            prefetch_read(pointer(flat, (row + AHEAD) * N + lo + j))
        if value.size:
            scatter_valued(flat, row * N + lo, n, dw, 0, n, index, value, e, stop)
        else:
            scatter(flat, row * N + lo, n, dw, 0, n, index, e, stop)
    product = out.ravel()
    for i in range(inputs):
        o, q = np.uint64((share * inputs + i) * N + lo), np.uint64(i * n)
        for j in range(np.uint64(n)):
            product[o + j] = dw[q + j]


@jit
def _count_task(share, shares, x, count, others):
    rows, channels = x.shape
    other = 0
    for row in range(share * rows // shares, (share + 1) * rows // shares):
        n = 0
        for j in range(channels):
            n += x[row, j] != 0
            other += (x[row, j] != 0) & (x[row, j] != 1)
        count[row] = n
    others[share] = other


@jit
def _fill_task(share, shares, x, indptr, index, value):
    rows, channels = x.shape
    for row in range(share * rows // shares, (share + 1) * rows // shares):
        e = indptr[row]
        for first in range(0, channels, 16):
            last = min(first + 16, channels)
            hits = 0
            for j in range(first, last):
                hits += x[row, j] != 0
            if hits:
                for j in range(first, last):
                    if x[row, j] != 0:
                        index[e] = j
                        if value.size:
                            value[e] = x[row, j]
                        e += 1


def compress(x: Tensor, limit: float) -> tuple[Tensor, Tensor, Tensor] | None:
    """The events of a dense (rows, in), in the order of the channels, or None if more than `limit` of it is not 0.

    Returns:
        indptr (rows + 1,), index (nnz,), value (nnz,), or (0,) where every event counts 1.
    """
    rows = x.shape[0]
    shares = min(rows, TASKS)
    dense = x.detach().contiguous().numpy()
    indptr = torch.zeros(rows + 1, dtype=torch.int64)
    others = np.zeros(shares, np.int64)
    spread(_count_task, shares, shares, dense, indptr[1:].numpy(), others)
    torch.cumsum(indptr, 0, out=indptr)
    nnz = int(indptr[-1])
    if nnz > limit * x.numel():
        return None
    index = torch.empty(nnz, dtype=torch.int32)
    value = x.new_empty(nnz if others.any() else 0)
    spread(_fill_task, shares, shares, dense, indptr.numpy(), index.numpy(), value.numpy())
    return indptr, index, value


def forward(indptr: Tensor, index: Tensor, value: Tensor | None, weight: Tensor, rows: int) -> Tensor:
    """The product of `rows` rows of events with a matrix (in, out): (rows, out)."""
    out = room(weight, rows, weight.shape[1])
    shares = min(rows, TASKS)
    given = indptr.numpy(), index.numpy(), _value(value, weight), weight.detach().contiguous().numpy()
    spread(_forward_task, shares, shares, *given, out.numpy())
    return out


def backward(indptr: Tensor, index: Tensor, value: Tensor | None, grad: Tensor, inputs: int) -> Tensor:
    """The gradient of the matrix, (inputs, out), from that of the product, (rows, out)."""
    N = grad.shape[1]
    blocks = -(-N // BLOCK)
    shares = max(1, min(TASKS // max(blocks, 1), 1 + index.numel() // (4 * max(inputs, 1))))
    out = grad.new_empty(shares, inputs, N)
    given = indptr.numpy(), index.numpy(), _value(value, grad), grad.contiguous().numpy()
    spread(_backward_task, shares * blocks, shares, *given, out.numpy())
    return reduce(torch.add, out.unbind(0))


def _value(value: Tensor | None, like: Tensor) -> np.ndarray:
    return (like.new_empty(0) if value is None else value.to(like.dtype)).numpy()
