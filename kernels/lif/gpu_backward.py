"""The backward pass of the integrate-and-fire family in Triton: how a program walks, step by step as gpu_retreat.py.

A chunk of EVERY steps is first run forward from its checkpoint, spikes included, by the arithmetic of the forward pass,
then backward. Where u is all the state and currents are given, the chunk is unrolled and its membrane potentials stay
in registers: nothing but currents and gradients is read and written. Otherwise the state before each step is left in a
scratch of the program's own, with a barrier between its stores and loads. A program takes one tile after the other, so
that the scratch, and the shares of the parameters' gradients, are as many as programs, not as tiles.
"""

from __future__ import annotations

import triton
import triton.language as tl

from spiking.kernels.lif.gpu_forward import ends, fires, parameters, read_input, reset, rise, settle, store_state
from spiking.kernels.lif.gpu_retreat import retreat


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
def fall(u_hat, theta, inside, flags: tl.constexpr):  # type: ignore[no-untyped-def]
    """The membrane potential after the spikes that u_hat makes, and these, where u is all the state."""
    z = fires(u_hat - theta, u_hat, inside, flags)
    if flags.reset_next:
        return u_hat, z
    else:
        return reset(u_hat, z, theta, flags), z


@triton.jit
def read_gradient(grad, t, plane, home, live, like):
    """The gradient of an output of step t, 0 if none was given."""
    if grad is not None:
        return tl.load(grad + t * plane + home, live, 0.0).to(like.dtype)
    else:
        return tl.zeros_like(like)


@triton.jit(
    do_not_specialize=["T", "B", "N16", "steps"],
    do_not_specialize_on_alignment=["indptr", "index", "value", "lengths"],
)
def backward(  # type: ignore[no-untyped-def]
    grad_spikes, grad_membrane, grad_last, current, indptr, index, value, weight, neuron, lengths, checkpoints, scratch,
    grad_current, grad_params, grad_state,
    T, B, N16, steps, n0: tl.float64, n1: tl.float64, n2: tl.float64, n3: tl.float64,
    kind: tl.constexpr, flags: tl.constexpr, EVERY: tl.constexpr, AHEAD: tl.constexpr, K: tl.constexpr,
    BLOCK_B: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Gradients of currents and initial state of a program's tiles, and its share (10, N) of those of the parameters.

    Gradients that come as None are 0; those that go out as None are not wanted. Without `scratch`, u is all the state.
    """
    dtype: tl.constexpr = neuron.dtype.element_ty
    SAVED: tl.constexpr = 1 + (flags.synapse > 0) + (flags.adaptation > 0) + (flags.refractory > 0)
    LOOKS_BACK: tl.constexpr = flags.reset_next or flags.adapt_previous
    KEPT: tl.constexpr = SAVED + LOOKS_BACK
    SLOTS: tl.constexpr = KEPT + (current is None)
    TILE: tl.constexpr = BLOCK_B * BLOCK_N
    learn: tl.constexpr = grad_params is not None
    NEEDS_X: tl.constexpr = learn or (flags.reset_next and flags.reset == 1 and not flags.detach_reset)
    N = N16 * 16
    plane = B.to(tl.int64) * N
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    rows = parameters(neuron, column, N)
    a, s, theta, c, k, b, p, q, r, bias = rows
    numbers = (tl.full((), n0, dtype), tl.full((), n1, dtype), tl.full((), n2, dtype), tl.full((), n3, dtype))
    none = tl.zeros((BLOCK_B, BLOCK_N), dtype)
    sums = (none, none, none, none, none, none, none, none, none, none) if learn else ()
    if scratch is not None:
        program = (tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)).to(tl.int64)
        own = tl.arange(0, BLOCK_B)[:, None] * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
        own_scratch = scratch + program * (EVERY * SLOTS * TILE) + own

    chunks = (T + EVERY - 1) // EVERY
    for tile in range(tl.program_id(0), (B + BLOCK_B - 1) // BLOCK_B, tl.num_programs(0)):
        first = tl.full((), 0, tl.int64) + tile * BLOCK_B
        sample = first + tl.arange(0, BLOCK_B)
        inside = (sample < B)[:, None] & (column < N)[None, :]
        end = ends(lengths, sample, B, T)
        home = sample[:, None] * N + column[None, :]
        adjoint = (none, none, none, none)
        if grad_last is not None:
            adjoint = (
                tl.load(grad_last + home, inside, 0.0),
                tl.load(grad_last + plane + home, inside, 0.0),
                tl.load(grad_last + 2 * plane + home, inside, 0.0),
                tl.load(grad_last + 3 * plane + home, inside, 0.0),
            )

        for back in range(0, chunks):
            start = (chunks - 1 - back) * EVERY
            at = checkpoints + (chunks - 1 - back) * KEPT * plane + home
            u, i, w, rest = load_state(at, plane, inside, flags)
            z = tl.load(at + SAVED * plane, inside, 0.0) if LOOKS_BACK else none

            if scratch is None:
                place = current + start * plane + home
                xs = ()
                for step in tl.static_range(EVERY):
                    xs += (tl.load(place, inside & (start + step < end), 0.0),)  # type: ignore[assignment]
                    place += plane
                given = grad_spikes + (start + EVERY - 1) * plane + home
                gradients = ()
                for ago in tl.static_range(AHEAD):
                    live = inside & (start + (EVERY - 1 - ago) < end)
                    gradients += (tl.load(given, live, 0.0),)  # type: ignore[assignment]
                    given -= plane
                hats = ()
                u_new, z_new = u, z
                for step in tl.static_range(EVERY):
                    x = bias + xs[step].to(dtype)
                    _, _, _, _, u_hat = rise(u_new, i, w, z_new, rest, x, a, s, theta, c, k, r, flags)
                    hats += (u_hat,)
                    u_new, z_new = fall(u_hat, theta, inside, flags)

                wanted = grad_current + (start + EVERY - 1) * plane + home
                for ago in tl.static_range(EVERY):
                    t = start + (EVERY - 1 - ago)
                    live = inside & (t < end)
                    if ago + AHEAD < EVERY:
                        gradients += (tl.load(given, inside & (t - AHEAD < end), 0.0),)  # type: ignore[assignment]
                        given -= plane
                    u_hat = hats[EVERY - 1 - ago]  # type: ignore[var-annotated]
                    after = fall(u_hat, theta, inside, flags)
                    if ago + 1 < EVERY:
                        u_old, z_old = fall(hats[EVERY - 2 - ago], theta, inside, flags)
                    else:
                        u_old, z_old = u, z
                    x = none
                    if NEEDS_X:
                        x = bias + tl.load(current + t * plane + home, live, 0.0).to(dtype)
                    g_x, adjoint, sums = retreat(
                        (u_old, i, w, z_old, rest), x, (x, theta, a * u_old + s * x, u_hat), after,
                        gradients[ago].to(dtype), read_gradient(grad_membrane, t, plane, home, live, none),
                        live, adjoint, sums, rows, numbers, kind, flags, learn,
                    )  # fmt: skip
                    here = inside & (tl.zeros_like(end) + t < T)
                    tl.store(wanted, g_x.to(grad_current.dtype.element_ty), here)
                    wanted -= plane
            else:
                groups = (tl.minimum(EVERY, T - start) + AHEAD - 1) // AHEAD
                for group in range(0, groups):
                    xs = ()
                    for one in tl.static_range(AHEAD):
                        t = start + group * AHEAD + one
                        live = inside & (t < end)
                        x = read_input(
                            current, indptr, index, value, weight, t, B, N, first, column, home, live, dtype, K, BLOCK_N
                        )
                        xs += (x,)  # type: ignore[assignment]
                    for one in tl.static_range(AHEAD):
                        t = start + group * AHEAD + one
                        slot = own_scratch + (t - start) * (SLOTS * TILE)
                        store_state(slot, u, i, w, rest, TILE, inside, flags)
                        if LOOKS_BACK:
                            tl.store(slot + SAVED * TILE, z, inside)
                        if current is None:
                            tl.store(slot + KEPT * TILE, xs[one], inside)
                        i, _, theta_t, _, u_hat = rise(u, i, w, z, rest, bias + xs[one], a, s, theta, c, k, r, flags)
                        z_new = fires(u_hat - theta_t, rest, inside, flags)
                        u, w, rest = settle(u, w, z, rest, u_hat, z_new, theta_t, b, p, q, steps, flags)
                        z = z_new
                tl.debug_barrier()

                for group in range(0, groups):
                    befores = ()
                    gradients = ()
                    for one in tl.static_range(AHEAD):
                        t = start + (groups - group) * AHEAD - 1 - one
                        live = inside & (t < end)
                        slot = own_scratch + (t - start) * (SLOTS * TILE)
                        u, i, w, rest = load_state(slot, TILE, inside, flags)
                        z = tl.load(slot + SAVED * TILE, inside, 0.0) if LOOKS_BACK else none
                        if current is None:
                            x = tl.load(slot + KEPT * TILE, inside, 0.0)
                        else:
                            x = tl.load(current + t * plane + home, live, 0.0).to(dtype)
                        befores += ((u, i, w, z, rest, bias + x),)  # type: ignore[assignment]
                        gradients += (tl.load(grad_spikes + t * plane + home, live, 0.0).to(dtype),)  # type: ignore[assignment]
                    for one in tl.static_range(AHEAD):
                        t = start + (groups - group) * AHEAD - 1 - one
                        live = inside & (t < end)
                        u, i, w, z, rest, x = befores[one]
                        _, drive, theta_t, free, u_hat = rise(u, i, w, z, rest, x, a, s, theta, c, k, r, flags)
                        z_new = fires(u_hat - theta_t, rest, live, flags)
                        u_new, _, _ = settle(u, w, z, rest, u_hat, z_new, theta_t, b, p, q, steps, flags)
                        g_x, adjoint, sums = retreat(
                            (u, i, w, z, rest), x, (drive, theta_t, free, u_hat), (u_new, z_new), gradients[one],
                            read_gradient(grad_membrane, t, plane, home, live, none),
                            live, adjoint, sums, rows, numbers, kind, flags, learn,
                        )  # fmt: skip
                        here = inside & (tl.zeros_like(end) + t < T)
                        tl.store(grad_current + t * plane + home, g_x.to(grad_current.dtype.element_ty), here)
                tl.debug_barrier()

        if grad_state is not None:
            for row in tl.static_range(4):
                tl.store(grad_state + row * plane + home, adjoint[row], inside)
            tl.store(grad_state + 4 * plane + home, none, inside)

    if learn:
        share = grad_params + tl.program_id(0).to(tl.int64) * 10 * N + column
        for row in tl.static_range(10):
            tl.store(share + row * N, tl.sum(sums[row], 0), column < N)
