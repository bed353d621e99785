"""The backward pass of the integrate-and-fire family in Triton.

gpu_step.py gives the adjoints of one step, from the last to the first; with g_I that of the input
I = x W + z' V + bias,

    g_z' += V g_I    wherever h(u^ - theta) is not 0: elsewhere nothing reads it

and each parameter gets the sum over time of its factor times these. A chunk of EVERY steps is first run forward from
its checkpoint, with the spikes read from their bits and the state before each step left in a scratch of the program's
own, then backward. The scratch is written and read by the same program, with a barrier between.

Sending g_I back through the recurrent weights only where the surrogate is not 0 is exact; it is sparse where the
surrogate is bounded (Perez-Nieves & Goodman 2021, "Sparse spiking gradient descent").
"""

from __future__ import annotations

import triton
import triton.language as tl

from spiking.kernels.lif.gpu_forward import enlist, hear, read_input
from spiking.kernels.lif.gpu_step import (
    load_state,
    parameters,
    rise,
    settle,
    spikes_of,
    store_state,
    unrise,
    unsettle,
)
from spiking.kernels.surrogate.gpu import derivative


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
            g_z = tl.where(live, gz, 0.0) + tl.load(grad_spikes + cell, live, 0.0).to(dtype)
            g_i = tl.where(live, gi, 0.0)
            g_w = tl.where(live, gw, 0.0)
            g_hat, g_z, g_u, g_before, g_theta, g_w_old, read_u, read_z = unsettle(
                tl.where(live, gu, 0.0), g_z, g_w, u, z, u_hat, u_new, z_new, theta_t, b, p, q, flags
            )
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
            g_hat, g_u, g_i_old, g_w_old, g_before, g_theta, g_current, g_x = unrise(
                g_hat, g_z, g_u, g_i, g_w_old, g_before, g_theta, slope, z, rest, theta_t, free, a, s, c, k, r, flags
            )

            da += g_hat * u
            ds += g_hat * drive
            dtheta += g_theta
            dbias += g_x
            if flags.synapse:
                dc += g_current * i
                dk += g_current * x
            if flags.adaptation:
                db += g_w * w
                dp += g_w * read_u
                dq += g_w * read_z
            if flags.adaptation == 2:
                dr += g_theta * w
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
