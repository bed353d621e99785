"""Delayed events on CPUs, in Numba; op.py gives the equation.

A task owns a block of columns, in the forward pass of a share of the samples, so that no two write the same place and
any number of threads gives the same bits. It runs sample by sample, in a buffer (T + P, columns) of its own: what an
event reaches lies close together there.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from spiking.kernels.jit import jit, room, spread

BLOCK = 128  # columns of a task forward
NARROW = 32  # and backward, where only columns part the work
SHARES = 8


@jit
def _add_rows(buffer, place, K, n, taps, base, N, v):
    """buffer[place + j * n :][:n] += v * taps[base + j * N :][:n] for each j below K."""
    for j in range(K):
        o, a = np.uint64(place + j * n), np.uint64(base + j * N)
        for c in range(np.uint64(n)):
            buffer[o + c] += v * taps[a + c]


@jit
def _add_apart(buffer, place, K, n, taps, base, N, first, row, v):
    """The same where each column c starts first[row + c] steps later."""
    for j in range(K):
        o, a, f = np.uint64(place + j * n), np.uint64(base + j * N), np.uint64(row)
        for c in range(np.uint64(n)):
            buffer[o + np.uint64(first[f + c]) * np.uint64(n) + c] += v * taps[a + c]


@jit
def _take_rows(buffer, place, K, n, taps, base, N, v):
    """taps[base + j * N :][:n] += v * buffer[place + j * n :][:n] for each j below K."""
    for j in range(K):
        o, a = np.uint64(place + j * n), np.uint64(base + j * N)
        for c in range(np.uint64(n)):
            taps[a + c] += v * buffer[o + c]


@jit
def _take_apart(buffer, place, K, n, taps, base, N, first, row, v):
    """The same where each column c starts first[row + c] steps later."""
    for j in range(K):
        o, a, f = np.uint64(place + j * n), np.uint64(base + j * N), np.uint64(row)
        for c in range(np.uint64(n)):
            taps[a + c] += v * buffer[o + np.uint64(first[f + c]) * np.uint64(n) + c]


@jit
def _forward_task(task, shares, T, indptr, index, value, taps, first, out):
    steps, B, N = out.shape
    K, columns = taps.shape[1], first.shape[1]
    kernels, firsts, arriving = taps.ravel(), first.ravel(), out.ravel()
    share, lo = task % shares, task // shares * BLOCK
    n = min(BLOCK, N - lo)
    buffer = np.zeros(steps * n, out.dtype)
    for b in range(share * B // shares, (share + 1) * B // shares):
        for t in range(T):
            for e in range(indptr[t * B + b], indptr[t * B + b + 1]):
                i, v = index[e], value[e] if value.size else value.dtype.type(1)
                if columns == 1:
                    _add_rows(buffer, (t + firsts[i]) * n, K, n, kernels, i * K * N + lo, N, v)
                else:
                    _add_apart(buffer, t * n, K, n, kernels, i * K * N + lo, N, firsts, i * N + lo, v)
        for t in range(steps):
            o, q = np.uint64((t * B + b) * N + lo), np.uint64(t * n)
            for c in range(np.uint64(n)):
                arriving[o + c] = buffer[q + c]
                buffer[q + c] = 0


@jit
def _backward_task(task, T, indptr, index, value, first, grad, out):
    steps, B, N = grad.shape
    K, columns = out.shape[1], first.shape[1]
    slopes, firsts, arriving = out.ravel(), first.ravel(), grad.ravel()
    lo = task * NARROW
    n = min(NARROW, N - lo)
    buffer = np.zeros(steps * n, grad.dtype)
    for row in range(out.shape[0] * K):
        o = np.uint64(row * N + lo)
        for c in range(np.uint64(n)):
            slopes[o + c] = 0
    for b in range(B):
        for t in range(steps):
            o, q = np.uint64((t * B + b) * N + lo), np.uint64(t * n)
            for c in range(np.uint64(n)):
                buffer[q + c] = arriving[o + c]
        for t in range(T):
            for e in range(indptr[t * B + b], indptr[t * B + b + 1]):
                i, v = index[e], value[e] if value.size else value.dtype.type(1)
                if columns == 1:
                    _take_rows(buffer, (t + firsts[i]) * n, K, n, slopes, i * K * N + lo, N, v)
                else:
                    _take_apart(buffer, t * n, K, n, slopes, i * K * N + lo, N, firsts, i * N + lo, v)


def forward(
    indptr: Tensor, index: Tensor, value: Tensor | None, taps: Tensor, first: Tensor, T: int, B: int, last: int
) -> Tensor:
    """What T steps of B samples bring, at the step where it arrives: (T + last, B, out).

    Arguments:
        indptr, index, value: the events, row t * B + b; `None` means that each counts 1.
        taps: (in, K, out), a weight times its kernel.
        first: (in, out or 1) int32, the position at which the kernel starts.
        last: P, the longest delay.
    """
    N = taps.shape[2]
    out = room(taps, T + last, B, N)
    shares = max(1, min(B, SHARES))
    given = indptr.numpy(), index.numpy(), _value(value, taps), taps.contiguous().numpy(), first.contiguous().numpy()
    spread(_forward_task, shares * -(-N // BLOCK), shares, T, *given, out.numpy())
    return out


def backward(
    indptr: Tensor, index: Tensor, value: Tensor | None, grad: Tensor, first: Tensor, T: int, K: int
) -> Tensor:
    """The gradient of the taps, (in, K, out), from that of `forward`, (T + P, B, out)."""
    N = grad.shape[2]
    out = room(grad, first.shape[0], K, N)
    given = indptr.numpy(), index.numpy(), _value(value, grad), first.contiguous().numpy()
    spread(_backward_task, -(-N // NARROW), T, *given, grad.contiguous().numpy(), out.numpy())
    return out


def _value(value: Tensor | None, like: Tensor) -> np.ndarray:
    return (like.new_empty(0) if value is None else value.to(like.dtype)).numpy()
