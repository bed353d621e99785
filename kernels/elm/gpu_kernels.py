"""The Triton kernels of ELM neurons: the filter, the memory over all steps, and its way back."""

from __future__ import annotations

import triton
import triton.language as tl

TOGETHER = 16  # samples of a program, the least rows of a product on tensor cores
BLOCK_H = 16  # hidden units of a block
PRECISION = tl.constexpr("ieee")  # no rounding to TF32
TOP, BEND = tl.constexpr(1.7159), tl.constexpr(2.0 / 3.0)  # as in rule.py


@triton.jit(do_not_specialize=["T", "B", "N16"])
def filtered(  # type: ignore[no-untyped-def]
    x, state, leak, steps, out, last, T, B, N16, dtype: tl.constexpr, reverse: tl.constexpr, BLOCK_N: tl.constexpr
):
    """out[t] = leak * out[t - 1] + x[t] within the valid steps, 0 beyond; or from the last step to the first."""
    N = N16 * 16
    b = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = column < N
    length = tl.load(steps + b) + tl.zeros_like(column)
    a = tl.load(leak).to(dtype)
    rows = b * 0 + B
    v = tl.load(state + b * N + column, inside, 0.0).to(dtype)
    for k in range(T):
        t = T - 1 - k if reverse else k
        place = (t * rows + b) * N + column
        new = tl.load(x + place, inside & (t < length), 0.0).to(dtype)
        if reverse:
            new += v
            tl.store(out + place, tl.where(t < length, new, 0.0), inside)
            v = tl.where(t < length, a * new, v)
        else:
            new += a * v
            tl.store(out + place, tl.where(t < length, new, 0.0), inside)
            v = tl.where(t < length, new, v)
    tl.store(last + b * N + column, v, inside)


@triton.jit
def _hidden(z, activation: tl.constexpr):  # type: ignore[no-untyped-def]
    if activation == 0:
        return tl.maximum(z, 0.0)
    return z / (1.0 + tl.exp(-z))


@triton.jit
def _preactivation(  # type: ignore[no-untyped-def]
    currents, b_h, w_m, kept, row, there, column, unit, H, dtype: tl.constexpr
):
    """z of a block of hidden units."""
    z = tl.load(currents + row[:, None] * H + column[None, :], there[:, None], 0.0).to(dtype)
    z += tl.load(b_h + column).to(dtype)[None, :]
    w = tl.load(w_m + unit[:, None] * H + column[None, :]).to(dtype)
    return tl.dot(kept, w, z, input_precision=PRECISION, out_dtype=dtype)


@triton.jit
def _tanh(x):
    return 1.0 - 2.0 / (tl.exp(2.0 * x) + 1.0)


@triton.jit(do_not_specialize=["T", "B", "parts"])
def remember(  # type: ignore[no-untyped-def]
    currents, memory, w_m, b_h, w_u, b_u, decay, gain, steps, out, last, T, B, parts,
    dtype: tl.constexpr, activation: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_H: tl.constexpr,
):  # fmt: skip
    """The memory of BLOCK_B samples at all steps."""
    H = parts * BLOCK_H
    b = tl.program_id(0).to(tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)
    there = b < B
    unit = tl.arange(0, BLOCK_D)
    length = tl.load(steps + b, there, 0)
    rows = b * 0 + B
    kappa = tl.load(decay + unit).to(dtype)[None, :]
    gamma = tl.load(gain + unit).to(dtype)[None, :] * TOP
    bias = tl.load(b_u + unit).to(dtype)[None, :]
    m = tl.load(memory + b[:, None] * BLOCK_D + unit[None, :], there[:, None], 0.0).to(dtype)
    for t in range(T):
        row = t * rows + b
        kept = kappa * m
        update = tl.zeros((BLOCK_B, BLOCK_D), dtype) + bias
        for part in range(parts):
            column = part * BLOCK_H + tl.arange(0, BLOCK_H)
            z = _preactivation(currents, b_h, w_m, kept, row, there, column, unit, H, dtype)
            w = tl.load(w_u + column[:, None] * BLOCK_D + unit[None, :]).to(dtype)
            update = tl.dot(_hidden(z, activation), w, update, input_precision=PRECISION, out_dtype=dtype)
        valid = (t < length)[:, None]
        new = kept + gamma * _tanh(update * BEND)
        m = tl.where(valid, new, m)
        tl.store(out + row[:, None] * BLOCK_D + unit[None, :], tl.where(valid, new, 0.0), there[:, None])
    tl.store(last + b[:, None] * BLOCK_D + unit[None, :], m, there[:, None])


@triton.jit(do_not_specialize=["T", "B", "parts"])
def back(  # type: ignore[no-untyped-def]
    currents, memory, out, w_m, b_h, w_u, b_u, back_u, back_m, decay, gain, steps, d_out, d_last, d_hidden, d_update,
    d_memory, sums, T, B, parts,
    dtype: tl.constexpr, activation: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_H: tl.constexpr,
):  # fmt: skip
    """The errors of hidden layer and update at all steps, of the first memory, and sums for decay and gain."""
    H = parts * BLOCK_H
    b = tl.program_id(0).to(tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)
    there = b < B
    unit = tl.arange(0, BLOCK_D)
    length = tl.load(steps + b, there, 0)
    rows = b * 0 + B
    kappa = tl.load(decay + unit).to(dtype)[None, :]
    gamma = tl.load(gain + unit).to(dtype)[None, :]
    bias = tl.load(b_u + unit).to(dtype)[None, :]
    cell = b[:, None] * BLOCK_D + unit[None, :]
    error = tl.load(d_last + cell, there[:, None], 0.0).to(dtype)
    d_decay = tl.zeros((BLOCK_D,), dtype)
    d_gain = tl.zeros((BLOCK_D,), dtype)
    for k in range(T):
        t = T - 1 - k
        row = t * rows + b
        valid = (t < length)[:, None]
        here = row[:, None] * BLOCK_D + unit[None, :]
        begin = (there & (t * rows == 0))[:, None]
        later = (there & (t * rows > 0))[:, None]
        before = tl.load(memory + cell, begin, 0.0).to(dtype)
        before += tl.load(out + here - rows[:, None] * BLOCK_D, later, 0.0).to(dtype)
        kept = kappa * before
        update = tl.zeros((BLOCK_B, BLOCK_D), dtype) + bias
        for part in range(parts):
            column = part * BLOCK_H + tl.arange(0, BLOCK_H)
            z = _preactivation(currents, b_h, w_m, kept, row, there, column, unit, H, dtype)
            w = tl.load(w_u + column[:, None] * BLOCK_D + unit[None, :]).to(dtype)
            update = tl.dot(_hidden(z, activation), w, update, input_precision=PRECISION, out_dtype=dtype)
        x = _tanh(update * BEND)
        error += tl.load(d_out + here, there[:, None] & valid, 0.0).to(dtype)
        d_gain += tl.sum(tl.where(valid, error * x * TOP, 0.0), 0)
        p = tl.where(valid, error * gamma * (TOP * BEND) * (1.0 - x * x), 0.0)
        tl.store(d_update + here, p, there[:, None])
        passed = tl.zeros((BLOCK_B, BLOCK_D), dtype)
        for part in range(parts):
            column = part * BLOCK_H + tl.arange(0, BLOCK_H)
            z = _preactivation(currents, b_h, w_m, kept, row, there, column, unit, H, dtype)
            w = tl.load(back_u + unit[:, None] * H + column[None, :]).to(dtype)
            e = tl.dot(p, w, input_precision=PRECISION, out_dtype=dtype)
            if activation == 0:
                e = tl.where(z > 0, e, 0.0)
            else:
                s = 1.0 / (1.0 + tl.exp(-z))
                e = e * s * (1.0 + z * (1.0 - s))
            tl.store(d_hidden + row[:, None] * H + column[None, :], e, there[:, None])
            w = tl.load(back_m + column[:, None] * BLOCK_D + unit[None, :]).to(dtype)
            passed = tl.dot(e, w, passed, input_precision=PRECISION, out_dtype=dtype)
        passed += error
        d_decay += tl.sum(tl.where(valid, passed * before, 0.0), 0)
        error = tl.where(valid, kappa * passed, error)
    tl.store(d_memory + cell, error, there[:, None])
    place = tl.program_id(0) * 2 * BLOCK_D + unit
    tl.store(sums + place, d_decay)
    tl.store(sums + place + BLOCK_D, d_gain)
