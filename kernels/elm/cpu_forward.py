"""One task of the forward pass: its share of the samples, through all steps."""

from __future__ import annotations

import math

import numpy as np

from spiking.kernels.elm.cpu_product import product, quick, tanh
from spiking.kernels.elm.rule import SATURATION, SLOPE
from spiking.kernels.jit import jit

SPAN = 16  # steps of a part of the backward pass, before each of which the current is kept


@jit
def scaled(out, o, leak, n):
    """out[o :][:n] *= leak."""
    a = np.uint64(o)
    for c in range(np.uint64(n)):
        out[a + c] *= leak


@jit
def add(out, o, x, i, n, v):
    """out[o :][:n] += v * x[i :][:n]."""
    a, b = np.uint64(o), np.uint64(i)
    for c in range(np.uint64(n)):
        out[a + c] += v * x[b + c]


@jit
def copy(out, o, x, i, n):
    """out[o :][:n] = x[i :][:n]."""
    a, b = np.uint64(o), np.uint64(i)
    for c in range(np.uint64(n)):
        out[a + c] = x[b + c]


@jit
def fill(out, o, n):
    """out[o :][:n] = 0."""
    a = np.uint64(o)
    for c in range(np.uint64(n)):
        out[a + c] = 0


@jit
def plus(out, o, x, i, y, j, n):
    """out[o :][:n] = x[i :][:n] + y[j :][:n]."""
    a, b, e = np.uint64(o), np.uint64(i), np.uint64(j)
    for c in range(np.uint64(n)):
        out[a + c] = x[b + c] + y[e + c]


@jit
def times(out, o, x, i, y, n):
    """out[o :][:n] = x[i :][:n] * y[:n]."""
    a, b = np.uint64(o), np.uint64(i)
    for c in range(np.uint64(n)):
        out[a + c] = x[b + c] * y[c]


@jit
def activate(out, o, z, i, n, activation):
    """out[o :][:n] = act(z[i :][:n])."""
    a, b = np.uint64(o), np.uint64(i)
    if activation == 0:
        for c in range(np.uint64(n)):
            out[a + c] = max(z[b + c], 0)
    elif z.itemsize == 4:
        for c in range(np.uint64(n)):  # silu(x) = x (1 + tanh(x/2)) / 2
            out[a + c] = 0.5 * z[b + c] * (1.0 + quick(0.5 * z[b + c]))
    else:
        for c in range(np.uint64(n)):
            out[a + c] = 0.5 * z[b + c] * (1.0 + math.tanh(0.5 * z[b + c]))


@jit
def remember(out, o, kept, k, update, u, gain, n):
    """out[o :][:n] = kept[k :][:n] + SATURATION * gain[:n] * update[u :][:n]."""
    a, b, e = np.uint64(o), np.uint64(k), np.uint64(u)
    for c in range(np.uint64(n)):
        out[a + c] = kept[b + c] + out.dtype.type(SATURATION) * gain[c] * update[e + c]


@jit
def arrive(current, o, row, h, leak, indptr, index, value, weight, drive):
    """current[o :][:h] = leak * current + what arrives in a row, t * B + b."""
    scaled(current, o, leak, h)
    one = current.dtype.type(1)
    for e in range(indptr[row] if indptr.size else 0, indptr[row + 1] if indptr.size else 0):
        add(current, o, weight, index[e] * h, h, value[e] if value.size else one)
    for _ in range(0 if indptr.size else 1):
        add(current, o, drive, row * h, h, one)


@jit
def forward_task(
    share, shares, group, T, activation, leak, indptr, index, value, weight, drive, current0, memory0, w_m, b_h, w_u,
    b_u, decay, gain, lengths, out, last_current, last_memory, saved, currents, memories, kept_rows, hiddens, updates,
):
    B = lengths.size
    H, D = b_h.size, b_u.size
    h, d = current0.size // max(B, 1), memory0.size // max(B, 1)
    current, memory, kept = currents[share].ravel(), memories[share].ravel(), kept_rows[share].ravel()
    hidden, update = hiddens[share].ravel(), updates[share].ravel()
    faded = current.dtype.type(leak)
    for first in range(share * group, B, shares * group):
        n = min(group, B - first)
        steps = 0
        for r in range(n):
            copy(current, r * H, current0, (first + r) * h, h)
            copy(memory, r * D, memory0, (first + r) * d, d)
            steps = max(steps, lengths[first + r])
        for t in range(T):
            for r in range(n if saved.size and t % SPAN == 0 else 0):
                copy(saved, (t // SPAN * B + first + r) * h, current, r * H, h)
            for r in range(n):
                if t < lengths[first + r]:
                    arrive(current, r * H, t * B + first + r, h, faded, indptr, index, value, weight, drive)
            for r in range(group if t < steps else 0):
                times(kept, r * D, memory, r * D, decay, D)
                plus(hidden, r * H, current, r * H, b_h, 0, H)
                copy(update, r * D, b_u, 0, D)
            if t < steps:
                product(kept, 0, D, 1, w_m, 0, H, hidden, 0, H, group, d, H)
                activate(hidden, 0, hidden, 0, group * H, activation)
                product(hidden, 0, H, 1, w_u, 0, D, update, 0, D, group, h, D)
                tanh(update, 0, group * D, SLOPE)
            for r in range(n):
                b = first + r
                if t < lengths[b]:
                    remember(memory, r * D, kept, r * D, update, r * D, gain, D)
                    copy(out, (t * B + b) * d, memory, r * D, d)
                else:
                    fill(out, (t * B + b) * d, d)
        for r in range(n):
            copy(last_current, (first + r) * h, current, r * H, h)
            copy(last_memory, (first + r) * d, memory, r * D, d)
