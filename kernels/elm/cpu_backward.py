"""One task of the backward pass: its share of the samples, from the last step to the first, in parts."""

from __future__ import annotations

import math

import numpy as np

from spiking.kernels.elm.cpu_forward import SPAN, activate, add, arrive, copy, fill, plus, scaled, times
from spiking.kernels.elm.cpu_product import product, quick, tanh
from spiking.kernels.elm.rule import SATURATION, SLOPE
from spiking.kernels.jit import jit


@jit
def _slope(z, i, error, e, n, activation):
    """z[i :][:n] = act'(z) * error[e :][:n]."""
    a, b = np.uint64(i), np.uint64(e)
    if activation == 0:
        for c in range(np.uint64(n)):
            z[a + c] = error[b + c] if z[a + c] > 0 else z.dtype.type(0)
    elif z.itemsize == 4:
        for c in range(np.uint64(n)):
            s = 0.5 + 0.5 * quick(0.5 * z[a + c])
            z[a + c] = error[b + c] * s * (1.0 + z[a + c] * (1.0 - s))
    else:
        for c in range(np.uint64(n)):
            s = 0.5 + 0.5 * math.tanh(0.5 * z[a + c])
            z[a + c] = error[b + c] * s * (1.0 + z[a + c] * (1.0 - s))


@jit
def _update_error(update, u, error, e, gain, d_gain, g, d_bias, b, n):
    """From the tanh of an update to the error of what it is taken of, in place; the gradients of gain and bias."""
    a, k = np.uint64(u), np.uint64(e)
    q, p = np.uint64(g), np.uint64(b)
    top = update.dtype.type(SATURATION)
    bend = update.dtype.type(SATURATION * SLOPE)
    for c in range(np.uint64(n)):
        x = update[a + c]
        d_gain[q + c] += error[k + c] * top * x
        x = error[k + c] * gain[c] * bend * (1 - x * x)
        update[a + c] = x
        d_bias[p + c] += x


@jit
def _memory_error(error, e, back, k, memory, m, decay, d_decay, g, n):
    """error = decay * (error + back), and what the decay's gradient gets, for n units."""
    a, b, i, q = np.uint64(e), np.uint64(k), np.uint64(m), np.uint64(g)
    for c in range(np.uint64(n)):
        x = error[a + c] + back[b + c]
        d_decay[q + c] += x * memory[i + c]
        error[a + c] = x * decay[c]


@jit
def _dot(x, i, y, j, n):
    a, b = np.uint64(i), np.uint64(j)
    total = x.dtype.type(0)
    for c in range(np.uint64(n)):
        total += x[a + c] * y[b + c]
    return total


@jit
def backward_task(
    share, shares, group, T, activation, leak, indptr, index, value, weight, drive, current0, memory0, w_m, b_h, w_u,
    b_u, back_u, back_m, decay, gain, lengths, out, saved, d_out, d_y, back_y, d_last_current, d_last_memory, sums,
    d_weights, d_drive, d_current, d_memory, currents, errors, current_rows, hidden_rows, z_rows, kept_rows,
    update_rows, d_hiddens, d_kepts, d_ys,
):
    B = lengths.size
    H, D = b_h.size, b_u.size
    h, d = current0.size // max(B, 1), memory0.size // max(B, 1)
    size = sums.size // shares
    base = share * size
    at_b, at_u = base + D * H, base + D * H + H
    at_c, at_decay, at_gain = at_u + H * D, at_u + H * D + D, at_u + H * D + 2 * D
    at_leak = at_gain + D
    own = share * (d_weights.size // shares)
    carried, error = currents[share].ravel(), errors[share].ravel()
    current, hidden, z = current_rows[share].ravel(), hidden_rows[share].ravel(), z_rows[share].ravel()
    kept, update = kept_rows[share].ravel(), update_rows[share].ravel()
    d_hidden, d_kept = d_hiddens[share].ravel(), d_kepts[share].ravel()
    read, o = d_ys[share].ravel(), d_ys.shape[2]
    faded, one = current.dtype.type(leak), current.dtype.type(1)
    for first in range(share * group, B, shares * group):
        n = min(group, B - first)
        steps = 0
        for r in range(n):
            copy(carried, r * H, d_last_current, (first + r) * h, h)
            copy(error, r * D, d_last_memory, (first + r) * d, d)
            steps = max(steps, lengths[first + r])
        for t in range(steps if d_drive.size else T, T):
            for r in range(n):
                fill(d_drive, (t * B + first + r) * h, h)
        for part in range((steps + SPAN - 1) // SPAN - 1, -1, -1):
            start, stop = part * SPAN, min(part * SPAN + SPAN, steps)
            rows = (stop - start) * group
            for t in range(start, stop):
                for r in range(n, group):
                    row = (t - start) * group + r
                    fill(kept, row * D, D)
                    fill(z, row * H, H)
                    fill(update, row * D, D)
                for r in range(n):
                    b, row = first + r, (t - start) * group + r
                    if t == start:
                        copy(current, row * H, saved, (part * B + b) * h, h)
                    else:
                        copy(current, row * H, current, (row - group) * H, H)
                    if t < lengths[b]:
                        arrive(current, row * H, t * B + b, h, faded, indptr, index, value, weight, drive)
                    if t >= lengths[b]:
                        fill(kept, row * D, D)
                    elif t == 0:
                        times(kept, row * D, memory0, b * d, decay, d)
                    else:
                        times(kept, row * D, out, ((t - 1) * B + b) * d, decay, d)
                    plus(z, row * H, current, row * H, b_h, 0, H)
                    copy(update, row * D, b_u, 0, D)
            product(kept, 0, D, 1, w_m, 0, H, z, 0, H, rows, d, H)
            activate(hidden, 0, z, 0, rows * H, activation)
            product(hidden, 0, H, 1, w_u, 0, D, update, 0, D, rows, h, D)
            tanh(update, 0, rows * D, SLOPE)

            for t in range(stop - 1, start - 1, -1):
                place = (t - start) * group
                if d_y.size:
                    for r in range(n):
                        if t < lengths[first + r]:
                            copy(read, r * o, d_y, (t * B + first + r) * o, o)
                        else:
                            fill(read, r * o, o)
                    product(read, 0, o, 1, back_y, 0, D, error, 0, D, group, o, D)
                for r in range(n):
                    b, row = first + r, place + r
                    if t < lengths[b]:
                        if d_out.size:
                            add(error, r * D, d_out, (t * B + b) * d, d, one)
                        _update_error(update, row * D, error, r * D, gain, sums, at_gain, sums, at_c, D)
                    else:
                        fill(update, row * D, D)
                fill(d_hidden, 0, group * H)
                product(update, place * D, D, 1, back_u, 0, H, d_hidden, 0, H, group, d, H)
                _slope(z, place * H, d_hidden, 0, group * H, activation)
                fill(d_kept, 0, group * D)
                product(z, place * H, H, 1, back_m, 0, D, d_kept, 0, D, group, h, D)
                for r in range(n):
                    b = first + r
                    add(sums, at_b, z, (place + r) * H, H, one)
                    if t < lengths[b] and t == 0:
                        _memory_error(error, r * D, d_kept, r * D, memory0, b * d, decay, sums, at_decay, d)
                    elif t < lengths[b]:
                        before = ((t - 1) * B + b) * d
                        _memory_error(error, r * D, d_kept, r * D, out, before, decay, sums, at_decay, d)

            product(kept, 0, 1, D, z, 0, H, sums, base, H, D, rows, H)
            product(hidden, 0, 1, H, update, 0, D, sums, at_u, D, H, rows, D)
            for t in range(stop - 1, start - 1, -1):
                for r in range(n):
                    b, row = first + r, (t - start) * group + r
                    if t < lengths[b]:
                        add(carried, r * H, z, row * H, h, one)
                        before = (row - group) * H
                        if t == start:
                            sums[at_leak] += _dot(carried, r * H, saved, (part * B + b) * h, h)
                        else:
                            sums[at_leak] += _dot(carried, r * H, current, before, h)
                        here = t * B + b
                        for e in range(indptr[here] if indptr.size else 0, indptr[here + 1] if indptr.size else 0):
                            v = value[e] if value.size else one
                            add(d_weights, own + index[e] * h, carried, r * H, h, v)
                    if d_drive.size:
                        if t < lengths[b]:
                            copy(d_drive, (t * B + b) * h, carried, r * H, h)
                        else:
                            fill(d_drive, (t * B + b) * h, h)
                    if t < lengths[b]:
                        scaled(carried, r * H, faded, h)
        for r in range(n):
            copy(d_current, (first + r) * h, carried, r * H, h)
            copy(d_memory, (first + r) * d, error, r * D, d)
