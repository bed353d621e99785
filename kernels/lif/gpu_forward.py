"""The forward pass of the integrate-and-fire family in Triton; op.py gives the equations.

One program owns a block of neurons of one sample (events) or of a few samples (currents) and walks through time with
their state in registers: neurons without recurrent weights never wait for each other. It asks for the currents of AHEAD
steps at once, so that it waits for memory once for all of them. The helpers are one step of the recurrence, which the
backward pass runs again.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from spiking.kernels.event_linear.gpu import gather


class Switches(NamedTuple):
    """What a kernel is compiled for: `Flags` of rule.py as a tuple, which Triton can write into its cache."""

    synapse: int = 0
    adaptation: int = 0
    adapt_previous: int = 0
    reset: int = 0
    reset_next: int = 0
    detach_reset: int = 1
    inclusive: int = 0
    refractory: int = 0  # 1 for any number of steps, which is an argument of the kernel
    mute: int = 0


@triton.jit
def reset(u, z, theta, flags: tl.constexpr):  # type: ignore[no-untyped-def]
    """The membrane potential after the spikes z."""
    if flags.reset == 0:
        return u - theta * z
    elif flags.reset == 1:
        return u * (1 - z)
    else:
        return u


@triton.jit
def rise(u, i, w, z, rest, x, a, s, theta, c, k, r, flags: tl.constexpr):  # type: ignore[no-untyped-def]
    """From the state before a step and the input x, what the threshold sees.

    Returns the synaptic current, the drive J - w', the threshold, u^ before the reset of the last step, and u^.
    """
    i_new = i
    drive = x
    if flags.synapse:
        i_new = c * i + k * x
        drive = i_new if flags.synapse == 1 else i
    if flags.adaptation == 1:
        drive = drive - w
    theta_t = theta
    if flags.adaptation == 2:
        theta_t = theta + r * w
    free = a * u + s * drive
    u_hat = free
    if flags.reset_next:
        u_hat = reset(free, z, theta_t, flags)
    if flags.refractory and not flags.mute:
        u_hat = tl.where(rest > 0, u, u_hat)
    return i_new, drive, theta_t, free, u_hat


@triton.jit
def settle(u, w, z, rest, u_hat, z_new, theta_t, b, p, q, steps, flags: tl.constexpr):  # type: ignore[no-untyped-def]
    """The membrane potential, adaptation and refractory counter after the spikes z_new of a step."""
    u_new = u_hat
    if not flags.reset_next:
        u_new = reset(u_hat, z_new, theta_t, flags)
    w_new = w
    if flags.adaptation:
        if flags.adapt_previous:
            w_new = b * w + (p * u + q * z)
        else:
            w_new = b * w + (p * u_new + q * z_new)
    rest_new = rest
    if flags.refractory:
        rest_new = tl.where(z_new > 0, steps.to(rest.dtype), tl.maximum(rest - 1, 0.0))
    return u_new, w_new, rest_new


@triton.jit
def parameters(neuron, column, N):
    """The ten rows of rule.py for a block of neurons, each (1, BLOCK_N)."""
    at = neuron + column
    inside = column < N
    return (
        tl.load(at, inside, 0.0)[None, :],
        tl.load(at + N, inside, 0.0)[None, :],
        tl.load(at + 2 * N, inside, 0.0)[None, :],
        tl.load(at + 3 * N, inside, 0.0)[None, :],
        tl.load(at + 4 * N, inside, 0.0)[None, :],
        tl.load(at + 5 * N, inside, 0.0)[None, :],
        tl.load(at + 6 * N, inside, 0.0)[None, :],
        tl.load(at + 7 * N, inside, 0.0)[None, :],
        tl.load(at + 8 * N, inside, 0.0)[None, :],
        tl.load(at + 9 * N, inside, 0.0)[None, :],
    )


@triton.jit
def ends(lengths, sample, B, T):
    """The step after the last valid one of each sample, (BLOCK_B, 1)."""
    if lengths is not None:
        return tl.minimum(tl.load(lengths + sample, sample < B, 0).to(tl.int32), T)[:, None]
    else:
        return (tl.zeros_like(sample).to(tl.int32) + T)[:, None]


@triton.jit
def read_input(  # type: ignore[no-untyped-def]
    current, indptr, index, value, weight, t, B, N, first, column, home, live,
    dtype: tl.constexpr, K: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The input of step t to a tile: its currents, or the summed weights of the events of its one sample, `first`."""
    if current is not None:
        return tl.load(current + t * (B.to(tl.int64) * N) + home, live, 0.0).to(dtype)
    else:
        row = indptr + t * B + first
        return gather(
            weight, index, value, tl.load(row), tl.load(row + 1), column, column < N, N, dtype, K, BLOCK_N
        )[None, :]


@triton.jit
def fires(above, rest, live, flags: tl.constexpr):  # type: ignore[no-untyped-def]
    """The spikes, 0 or 1, of membrane potentials that are `above` the threshold by so much."""
    hit = live & ((above >= 0) if flags.inclusive else (above > 0))
    if flags.refractory:
        hit = hit & (rest <= 0)
    return tl.where(hit, 1.0, 0.0).to(above.dtype)


@triton.jit
def read_state(state, plane, home, inside, EVEN: tl.constexpr):  # type: ignore[no-untyped-def]
    """The five rows of the state; one number stands for all of it if EVEN."""
    if EVEN:
        u = tl.where(inside, tl.load(state), 0.0)
        return u, u, u, u, u
    else:
        return (
            tl.load(state + home, inside, 0.0),
            tl.load(state + plane + home, inside, 0.0),
            tl.load(state + 2 * plane + home, inside, 0.0),
            tl.load(state + 3 * plane + home, inside, 0.0),
            tl.load(state + 4 * plane + home, inside, 0.0),
        )


@triton.jit
def store_state(at, u, i, w, rest, plane, inside, flags: tl.constexpr):  # type: ignore[no-untyped-def]
    """Write those of u, i, w, rest that the flags use, one plane each."""
    W: tl.constexpr = 1 + (flags.synapse > 0)
    REST: tl.constexpr = W + (flags.adaptation > 0)
    tl.store(at, u, inside)
    if flags.synapse:
        tl.store(at + plane, i, inside)
    if flags.adaptation:
        tl.store(at + W * plane, w, inside)
    if flags.refractory:
        tl.store(at + REST * plane, rest, inside)


@triton.jit(
    do_not_specialize=["T", "B", "N16", "steps"],
    do_not_specialize_on_alignment=["indptr", "index", "value", "lengths"],
)
def forward(  # type: ignore[no-untyped-def]
    current, indptr, index, value, weight, neuron, state, lengths, spikes, membrane, last, checkpoints,
    T, B, N16, steps,
    flags: tl.constexpr, EVEN: tl.constexpr, EVERY: tl.constexpr, AHEAD: tl.constexpr, K: tl.constexpr,
    BLOCK_B: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Spikes, membrane trace, last state and checkpoints of a tile; outputs that are None are left out."""
    dtype: tl.constexpr = neuron.dtype.element_ty
    LOOKS_BACK: tl.constexpr = flags.reset_next or flags.adapt_previous
    SAVED: tl.constexpr = 1 + (flags.synapse > 0) + (flags.adaptation > 0) + (flags.refractory > 0)
    N = N16 * 16
    first = tl.program_id(0).to(tl.int64) * BLOCK_B
    sample = first + tl.arange(0, BLOCK_B)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = (sample < B)[:, None] & (column < N)[None, :]
    end = ends(lengths, sample, B, T)
    a, s, theta, c, k, b, p, q, r, bias = parameters(neuron, column, N)

    plane = B.to(tl.int64) * N
    home = sample[:, None] * N + column[None, :]
    u, i, w, z, rest = read_state(state, plane, home, inside, EVEN)

    for start in range(0, T, AHEAD):
        if checkpoints is not None:
            if start % EVERY == 0:
                at = checkpoints + start // EVERY * (SAVED + LOOKS_BACK) * plane + home
                store_state(at, u, i, w, rest, plane, inside, flags)
                if LOOKS_BACK:
                    tl.store(at + SAVED * plane, z, inside)
        xs = ()
        for ahead in tl.static_range(AHEAD):
            x = read_input(
                current, indptr, index, value, weight, start + ahead, B, N, first, column, home,
                inside & (start + ahead < end), dtype, K, BLOCK_N,
            )  # fmt: skip
            xs += (x,)  # type: ignore[assignment]
        for ahead in tl.static_range(AHEAD):
            t = start + ahead
            live = inside & (t < end)
            i_new, _, theta_t, _, u_hat = rise(u, i, w, z, rest, bias + xs[ahead], a, s, theta, c, k, r, flags)
            z_new = fires(u_hat - theta_t, rest, live, flags)
            u_new, w_new, rest_new = settle(u, w, z, rest, u_hat, z_new, theta_t, b, p, q, steps, flags)
            here = inside & (tl.zeros_like(end) + t < T)
            tl.store(spikes + t * plane + home, z_new.to(spikes.dtype.element_ty), here)
            if membrane is not None:
                tl.store(membrane + t * plane + home, tl.where(live, u_hat, 0.0), here)
            u = tl.where(live, u_new, u)
            i = tl.where(live, i_new, i)
            w = tl.where(live, w_new, w)
            z = tl.where(live, z_new, z)
            rest = tl.where(live, rest_new, rest)

    tl.store(last + home, u, inside)
    tl.store(last + plane + home, i, inside)
    tl.store(last + 2 * plane + home, w, inside)
    tl.store(last + 3 * plane + home, z, inside)
    tl.store(last + 4 * plane + home, rest, inside)
