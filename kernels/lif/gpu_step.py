"""One step of the integrate-and-fire recurrence in Triton, there and back, which the kernels of both passes run.

Tiles are (samples, neurons), a neuron's parameters (1, neurons). op.py gives the equations of the way there. With G the
adjoint of what a step returned and g that of what it was given, back it is

    u  = reset(u^, z)                g_u^ = G_u du/du^,  g_z = G_z + G_u du/dz unless the reset is detached
    z  = H(u^ - theta)               g_u^ += h(u^ - theta) g_z
    u^ = a u' + s drive              g_u' = a g_u^,      g_drive = s g_u^
    i  = c i' + k I                  g_i' = c (G_i + g_drive),  g_I = k (G_i + g_drive)
    w  = b w' + p u* + q z*          g_w' = b G_w + what the drive or the threshold took from w'
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl


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
def unsettle(  # type: ignore[no-untyped-def]
    g_new, g_z, g_w, u, z, u_hat, u_new, z_new, theta_t, b, p, q, flags: tl.constexpr
):
    """`settle` backwards, from the adjoints of u, of z and of w after a step.

    Returns the adjoints of u^, of z, of the u and the z of the step before, of the threshold and of w', and the u and
    the z that the adaptation has read.
    """
    g_u = tl.zeros_like(u)
    g_before = tl.zeros_like(u)
    g_theta = tl.zeros_like(u)
    g_w_old = g_w
    read_u = u_new
    read_z = z_new
    if flags.adaptation:
        g_w_old = b * g_w
        if flags.adapt_previous:
            read_u = u
            read_z = z
            g_u += p * g_w
            g_before += q * g_w
        else:
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
    return g_hat, g_z, g_u, g_before, g_theta, g_w_old, read_u, read_z


@triton.jit
def unrise(  # type: ignore[no-untyped-def]
    g_hat, g_z, g_u, g_i, g_w_old, g_before, g_theta, slope, z, rest, theta_t, free, a, s, c, k, r, flags: tl.constexpr
):
    """`rise` and the spike backwards, from the adjoints that `unsettle` returned and that of i.

    Returns the adjoints of u^ without those that hold it, of u', i', w', z' and the threshold, of i and of the input.
    """
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
    g_u += a * g_hat
    g_drive = s * g_hat
    if flags.adaptation == 1:
        g_w_old -= g_drive
    if flags.adaptation == 2:
        g_w_old += r * g_theta
    g_current = g_drive
    g_x = g_drive
    g_i_old = g_i
    if flags.synapse:
        g_current = g_i + g_drive if flags.synapse == 1 else g_i
        g_x = k * g_current
        g_i_old = c * g_current if flags.synapse == 1 else c * g_current + g_drive
    return g_hat, g_u, g_i_old, g_w_old, g_before, g_theta, g_current, g_x
