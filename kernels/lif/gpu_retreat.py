"""One step of the backward pass of the integrate-and-fire family in Triton.

With G the adjoint of what a step returned and g that of what it was given:

    u  = reset(u^, z)                g_u^ = G_u du/du^,  g_z = G_z + G_u du/dz unless the reset is detached
    z  = H(u^ - theta)               g_u^ += h(u^ - theta) g_z
    u^ = a u' + s drive              g_u' = a g_u^,      g_drive = s g_u^
    i  = c i' + k I                  g_i' = c (G_i + g_drive),  g_I = k (G_i + g_drive)
    w  = b w' + p u* + q z*          g_w' = b G_w + what the drive or the threshold took from w'

and each parameter gets the sum over time of its factor times these.
"""

from __future__ import annotations

import triton
import triton.language as tl

from spiking.kernels.surrogate.gpu import derivative


@triton.jit
def retreat(  # type: ignore[no-untyped-def]
    before, x, between, after, grad_z, grad_hat, live, adjoint, sums, rows, numbers,
    kind: tl.constexpr, flags: tl.constexpr, learn: tl.constexpr,
):  # fmt: skip
    """From the adjoints of what a step returned, those of what it was given.

    before: u, i, w, z, refractory counter. x: input with bias. between: drive, threshold, u^ before and after the reset
    of the last step. after: u and z. grad_z, grad_hat: of what the step put out. adjoint: of u, i, w, z. sums: of the
    ten parameters, if they `learn`. rows: the parameters. numbers: the surrogate's.

    Returns the adjoint of x, `adjoint` and `sums`. Outside the recording, where not `live`, every adjoint that enters
    is 0, and what left the last valid step passes by.
    """
    u, i, w, z, rest = before
    drive, theta_t, free, u_hat = between
    u_new, z_new = after
    gu, gi, gw, gz = adjoint
    a, s, _, c, k, b, p, q, r, _ = rows
    h0, h1, h2, h3 = numbers

    g_new = tl.where(live, gu, 0.0)
    g_z = tl.where(live, gz, 0.0) + grad_z
    g_i = tl.where(live, gi, 0.0)
    g_w = tl.where(live, gw, 0.0)
    g_u = tl.zeros_like(u_hat)
    g_before = tl.zeros_like(u_hat)  # of the spikes of the step before
    g_theta = tl.zeros_like(u_hat)
    g_w_old = g_w
    source = u_new  # what the adaptation reads
    trigger = z_new
    if flags.adaptation:
        g_w_old = b * g_w
        if flags.adapt_previous:
            source = u
            trigger = z
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
    g_hat += grad_hat
    if flags.refractory:
        g_z = tl.where(rest > 0, 0.0, g_z)
    g_above = g_z * derivative(u_hat - theta_t, kind, h0, h1, h2, h3)
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
    g_x = g_drive
    g_current = g_drive
    g_i_old = g_i
    if flags.synapse:
        g_current = g_i + g_drive if flags.synapse == 1 else g_i
        g_x = k * g_current
        g_i_old = c * g_current if flags.synapse == 1 else c * g_current + g_drive
    if learn:
        da, ds, dtheta, dc, dk, db, dp, dq, dr, dbias = sums
        da += g_hat * u
        ds += g_hat * drive
        dtheta += g_theta
        dbias += g_x
        if flags.synapse:
            dc += g_current * i
            dk += g_current * x
        if flags.adaptation:
            db += g_w * w
            dp += g_w * source
            dq += g_w * trigger
        if flags.adaptation == 2:
            dr += g_theta * w
        sums = (da, ds, dtheta, dc, dk, db, dp, dq, dr, dbias)
    back = (
        tl.where(live, g_u, gu), tl.where(live, g_i_old, gi), tl.where(live, g_w_old, gw), tl.where(live, g_before, gz)
    )
    return g_x, back, sums
