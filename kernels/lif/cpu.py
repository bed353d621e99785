"""The integrate-and-fire recurrence on CPUs, in Numba, forward and backward; op.py gives the equations.

Work is cut into tasks of BLOCK neurons and a share of the samples. Feed-forward neurons do not meet, so a task owns its
columns of W, which it copies together where that pays, and runs its samples one after the other, event by event. The
cut depends on the sizes alone: any number of threads gives the same bits.

Backward, a task computes CHECKPOINT steps again from a checkpoint, taking the spikes from the saved bits, and walks back
through them. Shares of the samples have weight and parameter gradients of their own, added up in a fixed order.

Working rows of a neuron block, in the symbols of op.py: x is I, drive is J - w', theta is theta, h is u^; old and new
are the state (rows of rule.py) before and after the step.
"""

from __future__ import annotations

from functools import reduce

import numba
import numpy as np
import torch
from torch import Tensor

from spiking.kernels.jit import jit, match_threads
from spiking.kernels.lif.rule import BIAS, REFRACTORY, ROWS, STATES, THETA, A, B, C, I, K, P, Q, R, S, U, W, Z
from spiking.kernels.surrogate.cpu import derivative

BLOCK = 64
TASKS = 16
CHECKPOINT = 16
_BYTES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(np.float32)


@jit()
def gather(x, weight, base, stride, index, value, first, last):  # type: ignore[no-untyped-def]
    """x += the sum of value * weight[base + index * stride :] over the events from first to last."""
    n = x.shape[0]
    e = first
    if value.size:
        while e < last:
            row, v = weight[base + index[e] * stride :][:n], value[e]
            for j in range(n):
                x[j] += v * row[j]
            e += 1
        return
    while e + 4 <= last:  # four rows a pass: x is read and written a quarter as often
        row0, row1 = weight[base + index[e] * stride :][:n], weight[base + index[e + 1] * stride :][:n]
        row2, row3 = weight[base + index[e + 2] * stride :][:n], weight[base + index[e + 3] * stride :][:n]
        for j in range(n):
            x[j] += (row0[j] + row1[j]) + (row2[j] + row3[j])
        e += 4
    while e < last:
        row = weight[base + index[e] * stride :][:n]
        for j in range(n):
            x[j] += row[j]
        e += 1


@jit()
def scatter(dx, grad, index, value, first, last):  # type: ignore[no-untyped-def]
    """grad[index] += value * dx for each event from first to last."""
    n = dx.shape[0]
    for e in range(first, last):
        row = grad[index[e]]
        if value.size:
            for j in range(n):
                row[j] += value[e] * dx[j]
        else:
            for j in range(n):
                row[j] += dx[j]


@jit()
def integrate(flags, p, old, new, x, drive, theta, h):  # type: ignore[no-untyped-def]
    """Up to u^: the synaptic current, the drive, the threshold, the membrane potential that meets it.

    Without a synapse `drive` holds I, without a threshold adaptation `theta` holds the threshold on entry.
    """
    synapse, adaptation, _, reset, reset_next, _, _, refractory, mute = flags
    n = h.shape[0]
    u, i, w, z, rest = old[U], old[I], old[W], old[Z], old[REFRACTORY]
    if synapse:
        c, k, i_new = p[C], p[K], new[I]
        for j in range(n):
            i_new[j] = c[j] * i[j] + k[j] * x[j]
        source = i_new if synapse == 1 else i
        for j in range(n):
            drive[j] = source[j]
    if adaptation == 1:
        for j in range(n):
            drive[j] -= w[j]
    elif adaptation == 2:
        base, r = p[THETA], p[R]
        for j in range(n):
            theta[j] = base[j] + r[j] * w[j]
    a, s = p[A], p[S]
    for j in range(n):
        h[j] = a[j] * u[j] + s[j] * drive[j]
    if reset_next and reset == 0:
        for j in range(n):
            h[j] -= theta[j] * z[j]
    elif reset_next and reset == 1:
        for j in range(n):
            h[j] -= h[j] * z[j]
    if refractory and not mute:
        for j in range(n):
            h[j] = u[j] if rest[j] > 0 else h[j]


@jit()
def fire(flags, rest, theta, h, z):  # type: ignore[no-untyped-def]
    """z = H(u^ - theta), 0 while refractory."""
    n = z.shape[0]
    if flags[6]:
        for j in range(n):
            z[j] = h[j] >= theta[j]
    else:
        for j in range(n):
            z[j] = h[j] > theta[j]
    if flags[7]:
        for j in range(n):
            z[j] = z[j] if rest[j] <= 0 else 0


@jit()
def settle(flags, p, old, new, theta, h):  # type: ignore[no-untyped-def]
    """After the spikes new[Z]: reset, adaptation, refractory counter."""
    _, adaptation, previous, reset, reset_next, _, _, refractory, _ = flags
    n = h.shape[0]
    u, z = new[U], new[Z]
    if reset_next or reset == 2:
        for j in range(n):
            u[j] = h[j]
    elif reset == 0:
        for j in range(n):
            u[j] = h[j] - theta[j] * z[j]
    else:
        for j in range(n):
            u[j] = h[j] - h[j] * z[j]
    if adaptation:
        b, pu, q, w, w_new = p[B], p[P], p[Q], old[W], new[W]
        source = old if previous else new
        u, z = source[U], source[Z]
        for j in range(n):
            w_new[j] = b[j] * w[j] + (pu[j] * u[j] + q[j] * z[j])
    if refractory:
        z, rest, rest_new = new[Z], old[REFRACTORY], new[REFRACTORY]
        for j in range(n):
            left = rest[j] - 1 if rest[j] > 1 else 0
            rest_new[j] = refractory if z[j] > 0 else left


@jit()
def pack(z, out):  # type: ignore[no-untyped-def]
    """Spikes to bits, the lowest first."""
    n = z.shape[0]
    for k in range(out.shape[0]):
        byte = 0
        for j in range(8 * k, min(8 * k + 8, n)):
            byte |= (1 if z[j] > 0 else 0) << (j - 8 * k)
        out[k] = byte


@jit()
def unpack(bits, z):  # type: ignore[no-untyped-def]
    """Bits to spikes."""
    n = z.shape[0]
    for k in range(bits.shape[0]):
        row = _BYTES[bits[k]]
        for j in range(8 * k, min(8 * k + 8, n)):
            z[j] = row[j - 8 * k]


@jit()
def save_rows(flags, source, out, b, lo, hi):  # type: ignore[no-untyped-def]
    """Rows of a state that are in use, to a checkpoint (rows, B, N)."""
    out[0, b, lo:hi] = source[U]
    row = 1
    if flags[0]:
        out[row, b, lo:hi] = source[I]
        row += 1
    if flags[1]:
        out[row, b, lo:hi] = source[W]
        row += 1
    if flags[7]:
        out[row, b, lo:hi] = source[REFRACTORY]


@jit()
def load_rows(flags, saved, out, b, lo, hi):  # type: ignore[no-untyped-def]
    """The inverse of `save_rows`."""
    out[U] = saved[0, b, lo:hi]
    row = 1
    if flags[0]:
        out[I] = saved[row, b, lo:hi]
        row += 1
    if flags[1]:
        out[W] = saved[row, b, lo:hi]
        row += 1
    if flags[7]:
        out[REFRACTORY] = saved[row, b, lo:hi]


@jit()
def columns(weight, lo, hi, rows):  # type: ignore[no-untyped-def]
    """Columns lo to hi of a matrix as (flat array, base, stride): together if its `rows` reads would pay the copy."""
    inputs, N = weight.shape
    if hi - lo < N and rows > 2 * inputs:
        block = np.empty((inputs, hi - lo), weight.dtype)
        block[:] = weight[:, lo:hi]
        return block.ravel(), 0, hi - lo
    return weight.ravel(), lo, N


@jit(parallel=True)
def run(  # type: ignore[no-untyped-def]
    current, indptr, index, value, weight, params, state, lengths, flags, chunks, spikes, membrane, last, bits,
    checkpoints,
):
    """All steps of all samples; arrays that are not wanted or not given have size 0."""
    T, samples, N = spikes.shape
    blocks = (N + BLOCK - 1) // BLOCK
    for task in numba.prange(blocks * chunks):
        block, chunk = task // chunks, task % chunks
        lo, hi = block * BLOCK, min(N, block * BLOCK + BLOCK)
        begin, end = chunk * samples // chunks, (chunk + 1) * samples // chunks
        flat, base, stride = columns(weight, lo, hi, index.size // chunks)
        p = np.empty((ROWS, hi - lo), params.dtype)
        p[:] = params[:, lo:hi]
        past = np.empty((2, STATES, hi - lo), params.dtype)
        x, theta, h = np.empty_like(p[0]), p[THETA].copy(), np.empty_like(p[0])
        drive = np.empty_like(x) if flags[0] else x
        for b in range(begin, end):
            past[:] = state[:, b, lo:hi]
            length = lengths[b]
            for t in range(T):
                old, new = past[t & 1], past[1 - (t & 1)]
                if checkpoints.size and t % CHECKPOINT == 0:
                    save_rows(flags, past[min(t, length) & 1], checkpoints[t // CHECKPOINT], b, lo, hi)
                if t >= length:
                    spikes[t, b, lo:hi] = 0
                    if membrane.size:
                        membrane[t, b, lo:hi] = 0
                    if bits.size:
                        bits[t, b, lo // 8 : (hi + 7) // 8] = 0
                    continue
                if current.size:
                    fed, bias = current[t, b, lo:hi], p[BIAS]
                    for j in range(hi - lo):
                        x[j] = fed[j] + bias[j]
                else:
                    x[:] = p[BIAS]
                    row = t * samples + b
                    gather(x, flat, base, stride, index, value, indptr[row], indptr[row + 1])
                integrate(flags, p, old, new, x, drive, theta, h)
                fire(flags, old[REFRACTORY], theta, h, new[Z])
                settle(flags, p, old, new, theta, h)
                spikes[t, b, lo:hi] = new[Z]
                if membrane.size:
                    membrane[t, b, lo:hi] = h
                if bits.size:
                    pack(new[Z], bits[t, b, lo // 8 : (hi + 7) // 8])
            last[:, b, lo:hi] = past[length & 1]


@jit()
def adjoint(flags, p, old, new, x, drive, theta, h, slope, grad_z, grad_h, after, before, acc, dx):  # type: ignore[no-untyped-def]
    """One step back: from the adjoint of the state after it to the one before it, of I (dx), and of the parameters.

    `slope` is the surrogate derivative, `grad_z` and `grad_h` the gradients of this step's outputs (`grad_h` may be
    empty); `after` is used up; rows of `before` for parts that are off are left alone.
    """
    synapse, adaptation, previous, reset, reset_next, detach, _, refractory, mute = flags
    n = h.shape[0]
    u, i, w, z, rest = old[U], old[I], old[W], old[Z], old[REFRACTORY]
    z_new = new[Z]
    gu, gi, gz = after[U], after[I], after[Z]
    fu, fi, fw, fz = before[U], before[I], before[W], before[Z]
    for j in range(n):
        gz[j] += grad_z[j]
        fu[j] = 0
        fz[j] = 0
    if adaptation:
        b, pu, q, gw = p[B], p[P], p[Q], after[W]
        source, to_u, to_z = (old, fu, fz) if previous else (new, gu, gz)
        read_u, read_z = source[U], source[Z]
        acc_b, acc_p, acc_q = acc[B], acc[P], acc[Q]
        for j in range(n):
            to_u[j] += pu[j] * gw[j]
            to_z[j] += q[j] * gw[j]
            acc_b[j] += gw[j] * w[j]
            acc_p[j] += gw[j] * read_u[j]
            acc_q[j] += gw[j] * read_z[j]
            fw[j] = b[j] * gw[j]
    # From here gu becomes the adjoint of u^, and dx the adjoint of theta until it is needed for I.
    for j in range(n):
        dx[j] = 0
    if not reset_next and reset == 0:
        for j in range(n):
            dx[j] -= z_new[j] * gu[j]
        if not detach:
            for j in range(n):
                gz[j] -= theta[j] * gu[j]
    elif not reset_next and reset == 1:
        if not detach:
            for j in range(n):
                gz[j] -= h[j] * gu[j]
        for j in range(n):
            gu[j] -= gu[j] * z_new[j]
    if grad_h.size:
        for j in range(n):
            gu[j] += grad_h[j]
    if refractory:
        for j in range(n):
            gz[j] = gz[j] if rest[j] <= 0 else 0
    for j in range(n):
        e = slope[j] * gz[j]
        gu[j] += e
        dx[j] -= e
    if refractory and not mute:
        for j in range(n):
            held = gu[j] if rest[j] > 0 else 0
            fu[j] += held
            gu[j] -= held
    a, s = p[A], p[S]
    if reset_next and reset == 0:
        for j in range(n):
            dx[j] -= z[j] * gu[j]
        if not detach:
            for j in range(n):
                fz[j] -= theta[j] * gu[j]
    elif reset_next and reset == 1:
        if not detach:
            for j in range(n):
                fz[j] -= (a[j] * u[j] + s[j] * drive[j]) * gu[j]
        for j in range(n):
            gu[j] -= gu[j] * z[j]
    acc_theta = acc[THETA]
    if adaptation == 2:
        r, acc_r = p[R], acc[R]
        for j in range(n):
            acc_r[j] += dx[j] * w[j]
            fw[j] += r[j] * dx[j]
    acc_a, acc_s = acc[A], acc[S]
    for j in range(n):
        acc_theta[j] += dx[j]
        acc_a[j] += gu[j] * u[j]
        acc_s[j] += gu[j] * drive[j]
        fu[j] += a[j] * gu[j]
        dx[j] = s[j] * gu[j]
    if adaptation == 1:
        for j in range(n):
            fw[j] -= dx[j]
    if synapse:
        c, k, acc_c, acc_k = p[C], p[K], acc[C], acc[K]
        for j in range(n):
            late = dx[j] if synapse == 2 else 0
            gi[j] += dx[j] - late
            fi[j] = c[j] * gi[j] + late
            acc_c[j] += gi[j] * i[j]
            acc_k[j] += gi[j] * x[j]
            dx[j] = k[j] * gi[j]
    acc_bias = acc[BIAS]
    for j in range(n):
        acc_bias[j] += dx[j]


@jit(parallel=True)
def walk_back(  # type: ignore[no-untyped-def]
    grad_spikes, grad_membrane, grad_last, current, indptr, index, value, weight, params, state, lengths, bits,
    checkpoints, flags, kind, numbers, chunks, grad_current, grad_weight, grad_params, grad_state,
):
    """Gradients of all steps of all samples; those of weight and parameters apart for each share of the samples."""
    T, samples, N = grad_spikes.shape
    blocks = (N + BLOCK - 1) // BLOCK
    inputs = weight.shape[0]
    for task in numba.prange(blocks * chunks):
        block, chunk = task // chunks, task % chunks
        lo, hi = block * BLOCK, min(N, block * BLOCK + BLOCK)
        begin, end = chunk * samples // chunks, (chunk + 1) * samples // chunks
        n = hi - lo
        flat, base, stride = columns(weight, lo, hi, index.size // chunks)
        p = np.empty((ROWS, n), params.dtype)
        p[:] = params[:, lo:hi]
        past = np.empty((CHECKPOINT + 1, STATES, n), p.dtype)
        tape = np.empty((CHECKPOINT, 4, n), p.dtype)
        adjoints = np.empty((2, STATES, n), p.dtype)
        slope, dx, acc, total = np.empty_like(p[0]), np.empty_like(p[0]), np.empty_like(p), np.zeros((ROWS, n))
        dw = np.zeros((inputs, n), p.dtype)
        for b in range(begin, end):
            adjoints[:] = grad_last[:, b, lo:hi]
            acc[:] = 0
            length = lengths[b]
            if current.size:
                for t in range(length, T):
                    grad_current[t, b, lo:hi] = 0
            for segment in range((length + CHECKPOINT - 1) // CHECKPOINT - 1, -1, -1):
                start, stop = segment * CHECKPOINT, min(length, segment * CHECKPOINT + CHECKPOINT)
                load_rows(flags, checkpoints[segment], past[0], b, lo, hi)
                if start:
                    unpack(bits[start - 1, b, lo // 8 : (hi + 7) // 8], past[0, Z])
                else:
                    past[0, Z] = state[Z, b, lo:hi]
                for t in range(start, stop):
                    old, new = past[t - start], past[t - start + 1]
                    x, h = tape[t - start, 0], tape[t - start, 1]
                    drive = tape[t - start, 2] if flags[0] else x
                    theta = tape[t - start, 3] if flags[1] == 2 else p[THETA]
                    if current.size:
                        fed, bias = current[t, b, lo:hi], p[BIAS]
                        for j in range(n):
                            x[j] = fed[j] + bias[j]
                    else:
                        x[:] = p[BIAS]
                        row = t * samples + b
                        gather(x, flat, base, stride, index, value, indptr[row], indptr[row + 1])
                    integrate(flags, p, old, new, x, drive, theta, h)
                    unpack(bits[t, b, lo // 8 : (hi + 7) // 8], new[Z])
                    settle(flags, p, old, new, theta, h)
                for t in range(stop - 1, start - 1, -1):
                    old, new = past[t - start], past[t - start + 1]
                    x, h = tape[t - start, 0], tape[t - start, 1]
                    drive = tape[t - start, 2] if flags[0] else x
                    theta = tape[t - start, 3] if flags[1] == 2 else p[THETA]
                    after, before = adjoints[t & 1], adjoints[1 - (t & 1)]
                    derivative(kind, numbers, h, theta, slope)
                    grad_h = grad_membrane[t, b, lo:hi] if grad_membrane.size else slope[:0]
                    grad_z = grad_spikes[t, b, lo:hi]
                    adjoint(
                        flags, p, old, new, x, drive, theta, h, slope, grad_z, grad_h, after, before, acc, dx
                    )
                    if current.size:
                        grad_current[t, b, lo:hi] = dx
                    else:
                        row = t * samples + b
                        scatter(dx, dw, index, value, indptr[row], indptr[row + 1])
            grad_state[:, b, lo:hi] = adjoints[1]
            grad_state[REFRACTORY, b, lo:hi] = 0
            for row in range(ROWS):
                for j in range(n):
                    total[row, j] += acc[row, j]
        grad_params[chunk, :, lo:hi] = total
        if inputs:
            grad_weight[chunk, :, lo:hi] = dw


def _shares(samples: int, N: int, inputs: int, events: int) -> int:
    """Into how many shares the samples are cut: enough tasks to go round, none with more columns of W than events."""
    blocks = max(1, -(-N // BLOCK))
    wanted = max(1, TASKS // blocks)
    if inputs:
        wanted = min(wanted, 1 + events // (4 * inputs))
    return max(1, min(wanted, samples))


def _arrays(
    like: Tensor, current: Tensor | None, indptr: Tensor | None, index: Tensor | None, value: Tensor | None,
    weight: Tensor | None,
) -> list[np.ndarray]:
    """The inputs as C-ordered arrays of one dtype, empty for those not given."""
    dtype = like.dtype
    return [
        _array(current if current is not None else like.new_empty(0, 0, 0), dtype),
        _array(indptr if indptr is not None else torch.empty(0, dtype=torch.int64), torch.int64),
        _array(index if index is not None else torch.empty(0, dtype=torch.int32), torch.int32),
        _array(value if value is not None else like.new_empty(0), dtype),
        _array(weight if weight is not None else like.new_empty(0, 0), dtype),
    ]


def _array(x: Tensor, dtype: torch.dtype | None = None) -> np.ndarray:
    return x.detach().to(dtype or x.dtype).contiguous().numpy()


def forward(
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    params: Tensor,
    state: Tensor,
    lengths: Tensor,
    steps: int,
    flags: list[int],
    trace: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Spikes, membrane, last state, bits and checkpoints; arguments and shapes as in op.py."""
    _, B, N = state.shape
    inputs = _arrays(params, current, indptr, index, value, weight)
    spikes = params.new_empty(steps, B, N)
    membrane = params.new_empty((steps, B, N) if trace else (0, 0, 0))
    last = torch.empty_like(state, memory_format=torch.contiguous_format)
    bits = params.new_empty((steps, B, -(-N // 8)) if save else (0, 0, 0), dtype=torch.uint8)
    rows = 1 + (flags[0] > 0) + (flags[1] > 0) + (flags[7] > 0)
    checkpoints = params.new_empty((-(-steps // CHECKPOINT), rows, B, N) if save else (0, 0, 0, 0))
    match_threads()
    run(
        *inputs, _array(params), _array(state), _array(lengths), tuple(flags),
        _shares(B, N, inputs[4].shape[0], inputs[2].size), spikes.numpy(), membrane.numpy(), last.numpy(),
        bits.numpy(), checkpoints.numpy(),
    )  # fmt: skip
    if not trace:
        membrane = membrane.view(0)
    if not save:
        bits, checkpoints = bits.view(0), checkpoints.view(0)
    return spikes, membrane, last, bits, checkpoints


def backward(
    grad_spikes: Tensor,
    grad_membrane: Tensor | None,
    grad_last: Tensor,
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    params: Tensor,
    state: Tensor,
    lengths: Tensor,
    bits: Tensor,
    checkpoints: Tensor,
    steps: int,
    flags: list[int],
    surrogate: list[float],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the currents or of the weight, of the parameters and of the initial state, as in op.py."""
    _, B, N = state.shape
    inputs = _arrays(params, current, indptr, index, value, weight)
    shares = _shares(B, N, inputs[4].shape[0], inputs[2].size)
    numbers = np.array(surrogate[1:], dtype=inputs[0].dtype)
    grad_current = params.new_empty((steps, B, N) if weight is None else (0, 0, 0))
    grad_weight = params.new_empty((0, 0, 0) if weight is None else (shares, *weight.shape))
    grad_params = params.new_empty(shares, ROWS, N, dtype=torch.float64)
    grad_state = torch.empty_like(state, memory_format=torch.contiguous_format)
    match_threads()
    walk_back(
        _array(grad_spikes), _array(params.new_empty(0, 0, 0) if grad_membrane is None else grad_membrane),
        _array(grad_last), *inputs, _array(params), _array(state), _array(lengths), _array(bits),
        _array(checkpoints), tuple(flags), int(surrogate[0]), numbers, shares, grad_current.numpy(),
        grad_weight.numpy(), grad_params.numpy(), grad_state.numpy(),
    )  # fmt: skip
    grad_input = grad_current if weight is None else _sum(grad_weight)
    return grad_input, _sum(grad_params).to(params.dtype), grad_state


def _sum(shares: Tensor) -> Tensor:
    """The sum over the first axis, in its order."""
    return reduce(torch.add, shares.unbind(0))
