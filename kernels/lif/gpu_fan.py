"""The recurrence with sparse recurrent weights V in Triton, forward and backward, for any number of neurons.

One program owns a sample. Its neurons may be more than registers hold, so their state lies in memory and it walks
through them BLOCK_N at a time in each step; between steps its threads wait for each other.

Forward, the neurons that spiked stand in a list. A step adds their fan-outs to what their targets `felt`, one spike
after the other with a barrier between: the targets of one spike differ, so no two threads meet, and a target adds its
senders in rising order. `felt` is two rows taken in turn, of which a step reads one and clears the other.

Backward, what each neuron received is known for all steps (gpu_sparse.py has it from the bits): a segment of EVERY
steps is run again from its checkpoint, each neuron by itself, then backward. A neuron whose surrogate is not 0 sums
its fan-out of the adjoints of the step after, which stand where the received input stood. gpu_step.py gives one step.
"""

from __future__ import annotations

import triton
import triton.language as tl

from spiking.kernels.lif.gpu_forward import enlist
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
def scatter(  # type: ignore[no-untyped-def]
    fan_indptr, fan_index, values, listed, count, sent, felt, SYNAPSES: tl.constexpr
):
    """Add the fan-outs of `count` listed neurons to `felt`, each times what the neuron `sent`."""
    for place in range(0, count):
        n = tl.load(listed + place).to(tl.int64)
        z = tl.load(sent + n)
        last = tl.load(fan_indptr + n + 1)
        for first in range(tl.load(fan_indptr + n), last, SYNAPSES):
            synapse = first + tl.arange(0, SYNAPSES)
            there = synapse < last
            at = felt + tl.load(fan_index + synapse, there, 0)
            tl.store(at, tl.load(at, there, 0.0) + z * tl.load(values + synapse, there, 0.0), there)
        tl.debug_barrier()  # the next spike may reach the same targets through other threads


@triton.jit
def collect(  # type: ignore[no-untyped-def]
    fan_indptr, fan_index, values, grad, listed, returned, chosen, column,
    dtype: tl.constexpr, K: tl.constexpr, SYNAPSES: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The sums of values * grad[target] over the fan-outs of the chosen neurons of a tile; 0 for the others."""
    count = enlist(listed, chosen, column, BLOCK_N)
    for first in range(0, count, K):
        place = first + tl.arange(0, K)
        there = place < count
        neuron = tl.load(listed + place, there, 0)
        start = tl.load(fan_indptr + neuron, there, 0)
        size = tl.load(fan_indptr + neuron + 1, there, 0) - start
        products = tl.zeros((K, SYNAPSES), dtype)
        for done in range(0, tl.max(size, 0), SYNAPSES):
            part = done + tl.arange(0, SYNAPSES)
            exists = part[None, :] < size[:, None]
            synapse = start[:, None] + part[None, :]
            target = tl.load(fan_index + synapse, exists, 0)
            products += tl.load(values + synapse, exists, 0.0) * tl.load(grad + target, exists, 0.0)
        tl.store(returned + neuron, tl.sum(products, 1), there)
    tl.debug_barrier()
    return tl.load(returned + column[None, :], chosen, 0.0)


@triton.jit
def increase(at, x, inside):
    """Add x to what is in memory."""
    tl.store(at, tl.load(at, inside, 0.0) + x, inside)


_LOOSE = ["fan_indptr", "fan_index", "values", "lengths"]


@triton.jit(do_not_specialize=["T", "B", "N16", "steps"], do_not_specialize_on_alignment=_LOOSE)
def forward(  # type: ignore[no-untyped-def]
    current, fan_indptr, fan_index, values, listed, felt, neuron, state, lengths, spikes, membrane, bits, checkpoints,
    T, B, N16, steps, flags: tl.constexpr, EVERY: tl.constexpr, SYNAPSES: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Spikes, membrane trace, bits and checkpoints of a sample, and its state from the first to the last."""
    dtype: tl.constexpr = neuron.dtype.element_ty
    SAVED: tl.constexpr = 1 + (flags.synapse > 0) + (flags.adaptation > 0) + (flags.refractory > 0)
    N = N16 * 16
    sample = tl.program_id(0) + tl.arange(0, 1).to(tl.int64)
    own = tl.program_id(0).to(tl.int64) * N
    plane = B.to(tl.int64) * N
    length = tl.load(lengths + sample)[:, None]

    ends = tl.load(lengths + tl.program_id(0))
    count = tl.full((), 0, tl.int32)
    for left in range(0, N, BLOCK_N):
        column = left + tl.arange(0, BLOCK_N)
        z = tl.load(state + 3 * plane + own + column, column < N, 0.0)
        count += enlist(listed + own + count, z != 0, column, BLOCK_N)

    for t in range(0, T):
        valid = t < length
        row = felt + 2 * own + (t % 2) * N
        other = felt + 2 * own + (1 - t % 2) * N
        scatter(
            fan_indptr, fan_index, values, listed + own, tl.where(t < ends, count, 0), state + 3 * plane + own, row,
            SYNAPSES,
        )  # fmt: skip
        count = tl.full((), 0, tl.int32)
        for left in range(0, N, BLOCK_N):
            column = left + tl.arange(0, BLOCK_N)
            inside = (column < N)[None, :]
            live = inside & valid
            home = sample[:, None] * N + column[None, :]
            a, s, theta, c, k, b, p, q, r, bias = parameters(neuron, column, N)
            u = tl.load(state + home, inside, 0.0)
            i = tl.load(state + plane + home, inside, 0.0)
            w = tl.load(state + 2 * plane + home, inside, 0.0)
            z = tl.load(state + 3 * plane + home, inside, 0.0)
            rest = tl.load(state + 4 * plane + home, inside, 0.0)
            if checkpoints is not None:
                if t % EVERY == 0:
                    store_state(checkpoints + t // EVERY * SAVED * plane + home, u, i, w, rest, plane, inside, flags)
            cell = t * plane + home
            x = tl.load(current + cell, live, 0.0) + tl.load(row + column[None, :], live, 0.0)
            tl.store(other + column[None, :], tl.zeros_like(x), inside)

            i_new, _, theta_t, _, u_hat = rise(u, i, w, z, rest, x + bias, a, s, theta, c, k, r, flags)
            above = u_hat - theta_t
            hit = live & ((above >= 0) if flags.inclusive else (above > 0))
            if flags.refractory:
                hit = hit & (rest <= 0)
            z_new = hit.to(dtype)
            u_new, w_new, rest_new = settle(u, w, z, rest, u_hat, z_new, theta_t, b, p, q, steps, flags)

            tl.store(spikes + cell, z_new, inside)
            if membrane is not None:
                tl.store(membrane + cell, tl.where(valid, u_hat, 0.0), inside)
            if bits is not None:
                octet = left // 8 + tl.arange(0, BLOCK_N // 8)
                eight = tl.reshape(hit.to(tl.int32), (BLOCK_N // 8, 8)) << tl.arange(0, 8)[None, :]
                at = bits + (t * B + tl.program_id(0)).to(tl.int64) * (N // 8) + octet
                tl.store(at, tl.sum(eight, 1).to(tl.uint8), octet < N // 8)
            tl.store(state + home, u_new, live)
            if flags.synapse:
                tl.store(state + plane + home, i_new, live)
            if flags.adaptation:
                tl.store(state + 2 * plane + home, w_new, live)
            tl.store(state + 3 * plane + home, z_new, live)
            if flags.refractory:
                tl.store(state + 4 * plane + home, rest_new, live)
            count += enlist(listed + own + count, hit, column, BLOCK_N)


@triton.jit(do_not_specialize=["T", "B", "N16", "steps"], do_not_specialize_on_alignment=_LOOSE)
def backward(  # type: ignore[no-untyped-def]
    grad_spikes, grad_membrane, received, fan_indptr, fan_index, values, listed, returned, neuron, state, lengths, bits,
    checkpoints, scratch, grad_params, grad_state,
    T, B, N16, steps, n0: tl.float64, n1: tl.float64, n2: tl.float64, n3: tl.float64,
    kind: tl.constexpr, flags: tl.constexpr, learn: tl.constexpr, EVERY: tl.constexpr, K: tl.constexpr,
    SYNAPSES: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Gradients of a sample's currents, in `received`, of its state, and its share (10, N) of the parameters'."""
    dtype: tl.constexpr = neuron.dtype.element_ty
    SAVED: tl.constexpr = 1 + (flags.synapse > 0) + (flags.adaptation > 0) + (flags.refractory > 0)
    N = N16 * 16
    sample = tl.program_id(0) + tl.arange(0, 1).to(tl.int64)
    own = tl.program_id(0).to(tl.int64) * N
    plane = B.to(tl.int64) * N
    length = tl.load(lengths + sample)[:, None]
    h0 = tl.full((), n0, dtype)
    h1 = tl.full((), n1, dtype)
    h2 = tl.full((), n2, dtype)
    h3 = tl.full((), n3, dtype)

    chunks = (T + EVERY - 1) // EVERY
    for back in range(0, chunks):
        chunk = chunks - 1 - back
        start = chunk * EVERY
        stop = tl.minimum(start + EVERY, T)

        for left in range(0, N, BLOCK_N):
            column = left + tl.arange(0, BLOCK_N)
            inside = (column < N)[None, :]
            home = sample[:, None] * N + column[None, :]
            a, s, theta, c, k, b, p, q, r, bias = parameters(neuron, column, N)
            first = tl.load(state + 3 * plane + home, inside, 0.0)
            u, i, w, rest = load_state(checkpoints + chunk * SAVED * plane + home, plane, inside, flags)
            z = spikes_of(bits, sample + (start - 1) * B, first, N, column, inside, dtype)
            for t in range(start, stop):
                store_state(scratch + (t - start) * SAVED * plane + home, u, i, w, rest, plane, inside, flags)
                x = tl.load(received + t * plane + home, inside & (t < length), 0.0)
                i, _, theta_t, _, u_hat = rise(u, i, w, z, rest, x + bias, a, s, theta, c, k, r, flags)
                z_new = spikes_of(bits, sample + t * B, first, N, column, inside, dtype)
                u, w, rest = settle(u, w, z, rest, u_hat, z_new, theta_t, b, p, q, steps, flags)
                z = z_new
        tl.debug_barrier()

        for ago in range(0, stop - start):
            t = stop - 1 - ago
            after = received + ((t + 1) * B + tl.program_id(0)).to(tl.int64) * N
            for left in range(0, N, BLOCK_N):
                column = left + tl.arange(0, BLOCK_N)
                inside = (column < N)[None, :]
                live = inside & (t < length)
                home = sample[:, None] * N + column[None, :]
                a, s, theta, c, k, b, p, q, r, bias = parameters(neuron, column, N)
                first = tl.load(state + 3 * plane + home, inside, 0.0)
                u, i, w, rest = load_state(scratch + (t - start) * SAVED * plane + home, plane, inside, flags)
                cell = t * plane + home
                x = tl.load(received + cell, live, 0.0) + bias
                z = spikes_of(bits, sample + (t - 1) * B, first, N, column, inside, dtype)
                z_new = spikes_of(bits, sample + t * B, first, N, column, inside, dtype)
                _, drive, theta_t, free, u_hat = rise(u, i, w, z, rest, x, a, s, theta, c, k, r, flags)
                u_new, _, _ = settle(u, w, z, rest, u_hat, z_new, theta_t, b, p, q, steps, flags)

                # Outside the recording every adjoint that enters is 0, and what left the last valid step passes by.
                g_u = tl.load(grad_state + home, live, 0.0)
                g_i = tl.load(grad_state + plane + home, live, 0.0)
                g_w = tl.load(grad_state + 2 * plane + home, live, 0.0)
                g_z = tl.load(grad_state + 3 * plane + home, live, 0.0) + tl.load(grad_spikes + cell, live, 0.0)
                g_hat, g_z, g_u, g_before, g_theta, g_w_old, read_u, read_z = unsettle(
                    g_u, g_z, g_w, u, z, u_hat, u_new, z_new, theta_t, b, p, q, flags
                )
                if grad_membrane is not None:
                    g_hat += tl.load(grad_membrane + cell, live, 0.0)
                slope = derivative(u_hat - theta_t, kind, h0, h1, h2, h3)
                heard = live & (t + 1 < length) & (slope != 0)
                if flags.refractory:
                    heard = heard & (rest <= 0)
                g_z += collect(
                    fan_indptr, fan_index, values, after, listed + own, returned + own, heard, column, dtype, K,
                    SYNAPSES, BLOCK_N,
                )
                g_hat, g_u, g_i_old, g_w_old, g_before, g_theta, g_current, g_x = unrise(
                    g_hat, g_z, g_u, g_i, g_w_old, g_before, g_theta, slope, z, rest, theta_t, free, a, s, c, k, r,
                    flags,
                )  # fmt: skip

                if learn:
                    share = grad_params + 10 * own + column[None, :]
                    increase(share, g_hat * u, live)
                    increase(share + N, g_hat * drive, live)
                    increase(share + 2 * N, g_theta, live)
                    if flags.synapse:
                        increase(share + 3 * N, g_current * i, live)
                        increase(share + 4 * N, g_current * x, live)
                    if flags.adaptation:
                        increase(share + 5 * N, g_w * w, live)
                        increase(share + 6 * N, g_w * read_u, live)
                        increase(share + 7 * N, g_w * read_z, live)
                    if flags.adaptation == 2:
                        increase(share + 8 * N, g_theta * w, live)
                    increase(share + 9 * N, g_x, live)
                tl.store(received + cell, g_x, inside)
                tl.store(grad_state + home, g_u, live)
                if flags.synapse:
                    tl.store(grad_state + plane + home, g_i_old, live)
                if flags.adaptation:
                    tl.store(grad_state + 2 * plane + home, g_w_old, live)
                tl.store(grad_state + 3 * plane + home, g_before, live)
            tl.debug_barrier()
