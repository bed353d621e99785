"""The forward pass of the integrate-and-fire family in Triton; op.py gives the equations.

One program owns a block of neurons of one sample (events) or of a few samples (currents) and walks through time with
their state in registers: neurons without recurrent weights never wait for each other. With recurrent weights a program
owns all neurons of one sample: its threads write a list of those that spiked, wait for each other, and sum the listed
rows of the matrix.
"""

from __future__ import annotations

import triton
import triton.language as tl

from spiking.kernels.event_linear.gpu import gather
from spiking.kernels.lif.gpu_step import parameters, rise, settle, store_state


@triton.jit
def read_input(  # type: ignore[no-untyped-def]
    current, indptr, index, value, weight, t, B, N, sample, column, live,
    dtype: tl.constexpr, K: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The input of step t to a tile: its currents, or the summed weights of its one sample's events."""
    if current is not None:
        cell = (t * B + sample)[:, None] * N + column[None, :]
        return tl.load(current + cell, live, 0.0).to(dtype)
    else:
        row = indptr + t * B + tl.program_id(0)
        return gather(
            weight, index, value, tl.load(row), tl.load(row + 1), column, column < N, N, dtype, K, BLOCK_N
        )[None, :]


@triton.jit
def enlist(listed, chosen, column, BLOCK_N: tl.constexpr):  # type: ignore[no-untyped-def]
    """Write the neurons chosen from a tile of one sample to a list, in rising order; returns how many they are."""
    one = tl.reshape(chosen, (BLOCK_N,)).to(tl.int32)
    tl.store(listed + tl.cumsum(one, 0) - 1, column, one > 0)
    tl.debug_barrier()
    return tl.sum(one, 0)


@triton.jit
def hear(  # type: ignore[no-untyped-def]
    recurrent, carried, listed, z, t, valid, home, column, N,
    dtype: tl.constexpr, K: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """What the spikes z of the step before add to the input of step t; what led to the first step is in `carried`."""
    inside = column < N
    listed += tl.program_id(0).to(tl.int64) * N
    count = enlist(listed, (z != 0) & valid & (t > 0), column, BLOCK_N)
    total = gather(recurrent, listed, None, 0, count, column, inside, N, dtype, K, BLOCK_N)
    tl.debug_barrier()  # the next step writes its list over this one
    return total[None, :] + tl.load(carried + home, inside[None, :] & valid & (t == 0), 0.0)


@triton.jit(
    do_not_specialize=["T", "B", "N16", "steps"],
    do_not_specialize_on_alignment=["indptr", "index", "value", "lengths"],
)
def forward(  # type: ignore[no-untyped-def]
    current, indptr, index, value, weight, recurrent, carried, listed, neuron, state, lengths, spikes, membrane, last,
    bits, checkpoints, T, B, N16, steps,
    flags: tl.constexpr, EVERY: tl.constexpr, K: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Spikes, membrane trace, last state, bits and checkpoints of a tile; outputs that are None are left out."""
    dtype: tl.constexpr = neuron.dtype.element_ty
    SAVED: tl.constexpr = 1 + (flags.synapse > 0) + (flags.adaptation > 0) + (flags.refractory > 0)
    N = N16 * 16
    sample = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B).to(tl.int64)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = (sample < B)[:, None] & (column < N)[None, :]
    length = tl.load(lengths + sample, sample < B, 0)[:, None]
    a, s, theta, c, k, b, p, q, r, bias = parameters(neuron, column, N)

    plane = B.to(tl.int64) * N
    home = sample[:, None] * N + column[None, :]
    u = tl.load(state + home, inside, 0.0)
    i = tl.load(state + plane + home, inside, 0.0)
    w = tl.load(state + 2 * plane + home, inside, 0.0)
    z = tl.load(state + 3 * plane + home, inside, 0.0)
    rest = tl.load(state + 4 * plane + home, inside, 0.0)

    for t in range(0, T):
        valid = t < length
        if checkpoints is not None:
            if t % EVERY == 0:
                store_state(checkpoints + t // EVERY * SAVED * plane + home, u, i, w, rest, plane, inside, flags)
        x = bias + read_input(
            current, indptr, index, value, weight, t, B, N, sample, column, inside & valid, dtype, K, BLOCK_N
        )
        if recurrent is not None:
            x += hear(recurrent, carried, listed, z, t, valid, home, column, N, dtype, K, BLOCK_N)
        i_new, _, theta_t, _, u_hat = rise(u, i, w, z, rest, x, a, s, theta, c, k, r, flags)
        above = u_hat - theta_t
        hit = valid & ((above >= 0) if flags.inclusive else (above > 0))
        if flags.refractory:
            hit = hit & (rest <= 0)
        z_new = hit.to(dtype)
        u_new, w_new, rest_new = settle(u, w, z, rest, u_hat, z_new, theta_t, b, p, q, steps, flags)

        cell = t * plane + home
        tl.store(spikes + cell, z_new.to(spikes.dtype.element_ty), inside)
        if membrane is not None:
            tl.store(membrane + cell, tl.where(valid, u_hat, 0.0), inside)
        if bits is not None:
            octet = tl.program_id(1) * (BLOCK_N // 8) + tl.arange(0, BLOCK_N // 8)
            eight = tl.reshape(hit.to(tl.int32), (BLOCK_B, BLOCK_N // 8, 8)) << tl.arange(0, 8)[None, None, :]
            tl.store(
                bits + (t * B + sample)[:, None] * (N // 8) + octet[None, :],
                tl.sum(eight, 2).to(tl.uint8),
                (sample < B)[:, None] & (octet < N // 8)[None, :],
            )
        u = tl.where(valid, u_new, u)
        i = tl.where(valid, i_new, i)
        w = tl.where(valid, w_new, w)
        z = tl.where(valid, z_new, z)
        rest = tl.where(valid, rest_new, rest)

    tl.store(last + home, u, inside)
    tl.store(last + plane + home, i, inside)
    tl.store(last + 2 * plane + home, w, inside)
    tl.store(last + 3 * plane + home, z, inside)
    tl.store(last + 4 * plane + home, rest, inside)
