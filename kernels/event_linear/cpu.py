"""y = x W event by event on CPUs, in Numba; op.py gives the equation.

Rows are cut into shares and columns into blocks by the sizes alone, so any number of threads gives the same bits. A
task of the weight gradient owns its block of columns; shares have gradients of their own, added up in a fixed order.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from torch import Tensor

from spiking.kernels.jit import jit, spread

BLOCK = 256
TASKS = 16


@jit
def gather(x, place, n, weight, base, stride, index, value, first, last):
    """x[place :][:n] += the sum of value * weight[base + index * stride :] over the events from first to last."""
    o = np.uint64(place)
    e = first
    while value.size and e < last:
        a, v = np.uint64(base + index[e] * stride), value[e]
        for j in range(n):
            x[o + j] += v * weight[a + j]
        e += 1
    while e + 4 <= last:  # four rows a pass: x is read and written a quarter as often
        a, b = np.uint64(base + index[e] * stride), np.uint64(base + index[e + 1] * stride)
        c, d = np.uint64(base + index[e + 2] * stride), np.uint64(base + index[e + 3] * stride)
        for j in range(n):
            x[o + j] += (weight[a + j] + weight[b + j]) + (weight[c + j] + weight[d + j])
        e += 4
    while e < last:
        a = np.uint64(base + index[e] * stride)
        for j in range(n):
            x[o + j] += weight[a + j]
        e += 1


@jit
def scatter(source, place, n, grad, index, value, first, last):
    """grad[index] += value * source[place :] for each event from first to last."""
    o = np.uint64(place)
    for e in range(first, last):
        row = np.uint64(index[e])
        if value.size:
            v = value[e]
            for j in range(n):
                grad[row, j] += v * source[o + j]
        else:
            for j in range(n):
                grad[row, j] += source[o + j]


@jit
def _forward_task(share, shares, indptr, index, value, weight, out):
    rows, N = out.shape
    flat, product = weight.ravel(), out.ravel()
    for row in range(share * rows // shares, (share + 1) * rows // shares):
        for j in range(N):
            product[row * N + j] = 0
        gather(product, row * N, np.uint64(N), flat, 0, N, index, value, indptr[row], indptr[row + 1])


@jit
def _backward_task(task, shares, indptr, index, value, grad, out):
    rows = indptr.size - 1
    _, inputs, N = out.shape
    flat = grad.ravel()
    share, lo = task % shares, task // shares * BLOCK
    n = min(BLOCK, N - lo)
    dw = np.zeros((inputs, n), out.dtype)
    for row in range(share * rows // shares, (share + 1) * rows // shares):
        scatter(flat, row * N + lo, np.uint64(n), dw, index, value, indptr[row], indptr[row + 1])
    product = out.ravel()
    for i in range(inputs):
        o = np.uint64((share * inputs + i) * N + lo)
        for j in range(np.uint64(n)):
            product[o + j] = dw[i, j]


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
    out = weight.new_empty(rows, weight.shape[1])
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
