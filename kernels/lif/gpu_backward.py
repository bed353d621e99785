"""The backward pass of the integrate-and-fire family in Triton.

With G the adjoint of what a step returned and g that of what it was given, from the last step to the first:

    u  = reset(u^, z)                g_u^ = G_u du/du^,  g_z = G_z + G_u du/dz unless the reset is detached
    z  = H(u^ - theta)               g_u^ += h(u^ - theta) g_z
    u^ = a u' + s drive              g_u' = a g_u^,      g_drive = s g_u^
    i  = c i' + k I                  g_i' = c (G_i + g_drive),  g_I = k (G_i + g_drive)
    w  = b w' + p u* + q z*          g_w' = b G_w + what the drive or the threshold took from w'
    I  = x W + z' V + bias           g_z' += V g_I, wherever h(u^ - theta) is not 0: elsewhere nothing reads it

and each parameter gets the sum over time of its factor times these. A chunk of EVERY steps is first run forward from
its checkpoint, with the spikes read from their bits and the state before each step left in a scratch of the program's
own, then backward. The scratch is written and read by the same program, with a barrier between.

Sending g_I back through the recurrent weights only where the surrogate is not 0 is exact; it is sparse where the
surrogate is bounded (Perez-Nieves & Goodman 2021, "Sparse spiking gradient descent").
"""

from __future__ import annotations

import triton
import triton.language as tl

from spiking.kernels.lif.gpu_forward import enlist, hear, parameters, read_input, rise, settle, store_state
from spiking.kernels.surrogate.gpu import derivative


@triton.jit
def load_state(at, plane, inside, flags: tl.constexpr):  # type: ignore[no-untyped-def]
    """The u, i, w, rest that `store_state` wrote; those not in use read as u and are never looked at."""
    W: tl.constexpr = 1 + (flags.synapse > 0)
    REST: tl.constexpr = W + (flags.adaptation > 0)
    u = tl.load(at, inside, 0.0)
    i = u
    w = u
    rest = u
    if flags.synapse:
        i = tl.load(at + plane, inside, 0.0)
    if flags.adaptation:
        w = tl.load(at + W * plane, inside, 0.0)
    if flags.refractory:
        rest = tl.load(at + REST * plane, inside, 0.0)
    return u, i, w, rest


@triton.jit
def spikes_of(bits, row, first, N, column, inside, dtype: tl.constexpr):  # type: ignore[no-untyped-def]
    """The spikes of the rows t*B + b of a tile, from their bits; `first`, the initial ones, for rows below 0."""
    ran = (row >= 0)[:, None]
    octet = tl.load(bits + row[:, None] * (N // 8) + (column // 8)[None, :], inside & ran, 0)
    return tl.where(ran, ((octet.to(tl.int32) >> (column % 8)[None, :]) & 1).to(dtype), first)


@triton.jit
def send_back(  # type: ignore[no-untyped-def]
    recurrent, grad, listed, returned, chosen, column, N,
    dtype: tl.constexpr, K: tl.constexpr, BLOCK_N: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The products of the rows of the chosen neurons with `grad`, a row (N,) in memory; 0 for the other neurons.

    WIDE columns are what one warp reads at once, so that a row is summed inside a warp.
    """
    count = enlist(listed, chosen, column, BLOCK_N)
    for first in range(0, count, K):
        place = first + tl.arange(0, K)
        there = place < count
        neuron = tl.load(listed + place, there, 0)
        products = tl.zeros((K, WIDE), dtype)
        for left in tl.static_range(0, BLOCK_N, WIDE):
            part = left + tl.arange(0, WIDE)
            g = tl.load(grad + part, part < N, 0.0)
            cell = neuron.to(tl.int64)[:, None] * N + part[None, :]
            v = tl.load(recurrent + cell, there[:, None] & (part < N)[None, :], 0.0).to(dtype)
            products += v * g[None, :]
        tl.store(returned + neuron, tl.sum(products, 1), there)
    tl.debug_barrier()
    return tl.load(returned + column[None, :], chosen, 0.0)


@triton.jit(
    do_not_specialize=["T", "B", "N16", "steps"],
    do_not_specialize_on_alignment=["indptr", "index", "value", "lengths"],
)
def backward(  # type: ignore[no-untyped-def]
    grad_spikes, grad_membrane, grad_last, current, indptr, index, value, weight, recurrent, carried, listed, returned,
    neuron, state, lengths, bits, checkpoints, scratch, grad_current, grad_params, grad_state,
    T, B, N16, steps, n0: tl.float64, n1: tl.float64, n2: tl.float64, n3: tl.float64,
    kind: tl.constexpr, flags: tl.constexpr, EVERY: tl.constexpr, K: tl.constexpr, BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Gradients of currents and initial state of a tile, and its share (10, N) of those of the parameters."""
    dtype: tl.constexpr = neuron.dtype.element_ty
    SAVED: tl.constexpr = 1 + (flags.synapse > 0) + (flags.adaptation > 0) + (flags.refractory > 0)
    KEEPS: tl.constexpr = current is None or recurrent is not None  # the input of a step is a sum: it is kept
    SLOTS: tl.constexpr = SAVED + KEEPS
    LOOKS_BACK: tl.constexpr = flags.reset_next or flags.adapt_previous
    N = N16 * 16
    sample = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B).to(tl.int64)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = (sample < B)[:, None] & (column < N)[None, :]
    length = tl.load(lengths + sample, sample < B, 0)[:, None]
    a, s, theta, c, k, b, p, q, r, bias = parameters(neuron, column, N)
    h0 = tl.full((), n0, dtype)
    h1 = tl.full((), n1, dtype)
    h2 = tl.full((), n2, dtype)
    h3 = tl.full((), n3, dtype)

    plane = B.to(tl.int64) * N
    home = sample[:, None] * N + column[None, :]
    first = tl.load(state + 3 * plane + home, inside, 0.0)
    gu = tl.load(grad_last + home, inside, 0.0)
    gi = tl.load(grad_last + plane + home, inside, 0.0)
    gw = tl.load(grad_last + 2 * plane + home, inside, 0.0)
    gz = tl.load(grad_last + 3 * plane + home, inside, 0.0)
    da = tl.zeros((BLOCK_B, BLOCK_N), dtype)
    ds = da
    dtheta = da
    dc = da
    dk = da
    db = da
    dp = da
    dq = da
    dr = da
    dbias = da

    chunks = (T + EVERY - 1) // EVERY
    for back in range(0, chunks):
        chunk = chunks - 1 - back
        start = chunk * EVERY
        stop = tl.minimum(start + EVERY, T)

        u, i, w, rest = load_state(checkpoints + chunk * SAVED * plane + home, plane, inside, flags)
        z = spikes_of(bits, sample + (start - 1) * B, first, N, column, inside, dtype)
        for t in range(start, stop):
            live = inside & (t < length)
            at = scratch + (t - start) * SLOTS * plane + home
            store_state(at, u, i, w, rest, plane, inside, flags)
            x = read_input(current, indptr, index, value, weight, t, B, N, sample, column, live, dtype, K, BLOCK_N)
            if recurrent is not None:
                x += hear(recurrent, carried, listed, z, t, t < length, home, column, N, dtype, K, BLOCK_N)
            if KEEPS:
                tl.store(at + SAVED * plane, x, inside)
            i, _, theta_t, _, u_hat = rise(u, i, w, z, rest, x + bias, a, s, theta, c, k, r, flags)
            z_new = spikes_of(bits, sample + t * B, first, N, column, inside, dtype)
            u, w, rest = settle(u, w, z, rest, u_hat, z_new, theta_t, b, p, q, steps, flags)
            z = z_new
        tl.debug_barrier()

        for ago in range(0, stop - start):
            t = stop - 1 - ago
            live = inside & (t < length)
            at = scratch + (t - start) * SLOTS * plane + home
            u, i, w, rest = load_state(at, plane, inside, flags)
            if KEEPS:
                x = tl.load(at + SAVED * plane, inside, 0.0)
            else:
                x = tl.load(current + t * plane + home, live, 0.0).to(dtype)
            x += bias
            z = first
            if LOOKS_BACK:
                z = spikes_of(bits, sample + (t - 1) * B, first, N, column, inside, dtype)
            z_new = spikes_of(bits, sample + t * B, first, N, column, inside, dtype)
            _, drive, theta_t, free, u_hat = rise(u, i, w, z, rest, x, a, s, theta, c, k, r, flags)
            u_new, _, _ = settle(u, w, z, rest, u_hat, z_new, theta_t, b, p, q, steps, flags)

            # Outside the recording every adjoint that enters is 0, and what left the last valid step passes by.
            cell = t * plane + home
            g_new = tl.where(live, gu, 0.0)
            g_z = tl.where(live, gz, 0.0) + tl.load(grad_spikes + cell, live, 0.0).to(dtype)
            g_i = tl.where(live, gi, 0.0)
            g_w = tl.where(live, gw, 0.0)
            g_u = tl.zeros_like(u)
            g_before = tl.zeros_like(u)  # of the spikes of the step before
            g_theta = tl.zeros_like(u)
            g_w_old = g_w
            if flags.adaptation:
                db += g_w * w
                g_w_old = b * g_w
                if flags.adapt_previous:
                    dp += g_w * u
                    dq += g_w * z
                    g_u += p * g_w
                    g_before += q * g_w
                else:
                    dp += g_w * u_new
                    dq += g_w * z_new
                    g_new += p * g_w
                    g_z += q * g_w

            g_hat = g_new
            if not flags.reset_next:
                if flags.reset == 0:
                    g_theta -= g_new * z_new
                    if not flags.detach_reset:
                        g_z -= g_new * theta_t
                elif flags.reset == 1:
                    g_hat = g_new * (1 - z_new)
                    if not flags.detach_reset:
                        g_z -= g_new * u_hat
            if grad_membrane is not None:
                g_hat += tl.load(grad_membrane + cell, live, 0.0).to(dtype)
            slope = derivative(u_hat - theta_t, kind, h0, h1, h2, h3)
            if recurrent is not None:
                heard = live & (t + 1 < length) & (slope != 0)
                if flags.refractory:
                    heard = heard & (rest <= 0)
                row = grad_current + ((t + 1) * B + tl.program_id(0)).to(tl.int64) * N
                mine = tl.program_id(0).to(tl.int64) * N
                g_z += send_back(
                    recurrent, row, listed + mine, returned + mine, heard, column, N, dtype, K, BLOCK_N, WIDE
                )
            if flags.refractory:
                g_z = tl.where(rest > 0, 0.0, g_z)
            g_above = g_z * slope
            g_hat += g_above
            g_theta -= g_above
            if flags.refractory and not flags.mute:
                g_u += tl.where(rest > 0, g_hat, 0.0)
                g_hat = tl.where(rest > 0, 0.0, g_hat)
            if flags.reset_next:
                if flags.reset == 0:
                    g_theta -= g_hat * z
                    if not flags.detach_reset:
                        g_before -= g_hat * theta_t
                elif flags.reset == 1:
                    if not flags.detach_reset:
                        g_before -= g_hat * free
                    g_hat = g_hat * (1 - z)

            da += g_hat * u
            ds += g_hat * drive
            dtheta += g_theta
            g_u += a * g_hat
            g_drive = s * g_hat
            if flags.adaptation == 1:
                g_w_old -= g_drive
            if flags.adaptation == 2:
                dr += g_theta * w
                g_w_old += r * g_theta
            g_x = g_drive
            g_i_old = g_i
            if flags.synapse:
                g_current = g_i + g_drive if flags.synapse == 1 else g_i
                dc += g_current * i
                dk += g_current * x
                g_x = k * g_current
                g_i_old = c * g_current if flags.synapse == 1 else c * g_current + g_drive
            dbias += g_x
            tl.store(grad_current + cell, g_x.to(grad_current.dtype.element_ty), inside)
            gu = tl.where(live, g_u, gu)
            gi = tl.where(live, g_i_old, gi)
            gw = tl.where(live, g_w_old, gw)
            gz = tl.where(live, g_before, gz)
        tl.debug_barrier()

    tl.store(grad_state + home, gu, inside)
    tl.store(grad_state + plane + home, gi, inside)
    tl.store(grad_state + 2 * plane + home, gw, inside)
    tl.store(grad_state + 3 * plane + home, gz, inside)
    share = grad_params + tl.program_id(0).to(tl.int64) * 10 * N + column
    tl.store(share, tl.sum(da, 0), column < N)
    tl.store(share + N, tl.sum(ds, 0), column < N)
    tl.store(share + 2 * N, tl.sum(dtheta, 0), column < N)
    tl.store(share + 3 * N, tl.sum(dc, 0), column < N)
    tl.store(share + 4 * N, tl.sum(dk, 0), column < N)
    tl.store(share + 5 * N, tl.sum(db, 0), column < N)
    tl.store(share + 6 * N, tl.sum(dp, 0), column < N)
    tl.store(share + 7 * N, tl.sum(dq, 0), column < N)
    tl.store(share + 8 * N, tl.sum(dr, 0), column < N)
    tl.store(share + 9 * N, tl.sum(dbias, 0), column < N)
