"""One step of a tile of neurons in Triton; op.py has the equations, neuron.py the rows of the parameters."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def currents(  # type: ignore[no-untyped-def]
    params, current, felt, there, j, N, SYNAPSE: tl.constexpr, RECEPTORS: tl.constexpr, AT_ONCE: tl.constexpr
):
    """What the synaptic currents add to V; they change in place, and what was pending is taken."""
    drive = tl.zeros(j.shape, params.dtype.element_ty)
    for r in tl.static_range(RECEPTORS):
        p = params + (6 + 5 * r) * N + j
        fall = tl.load(p, there, 0.0)
        to_v = tl.load(p + 3 * N, there, 0.0)
        arrived = tl.load(p + 4 * N, there, 0.0) * tl.load(felt + r * N, there, 0.0)
        tl.store(felt + r * N, tl.zeros(j.shape, params.dtype.element_ty), there)
        i_at = current + (r * SYNAPSE + SYNAPSE - 1) * N
        i = tl.load(i_at, there, 0.0)
        if SYNAPSE == 1:
            new = fall * i + arrived
            drive += to_v * (new if AT_ONCE else i)
        else:
            h_at = current + r * SYNAPSE * N
            h = tl.load(h_at, there, 0.0)
            drive += tl.load(p + 2 * N, there, 0.0) * h + to_v * i
            new = tl.load(p + N, there, 0.0) * h + fall * i
            tl.store(h_at, fall * h + arrived, there)
        tl.store(i_at, new, there)
    return drive


@triton.jit
def leaky(p, old, w, left, drive, jump, there, N, SUBTRACT: tl.constexpr):  # type: ignore[no-untyped-def]
    """Spikes, V and the rise of the threshold of leaky neurons."""
    u = tl.load(p, there, 0.0) * old + drive + tl.load(p + N, there, 0.0) + jump
    theta = tl.load(p + 2 * N, there, 0.0) + w
    z = (left == 0) & (u >= theta) & there
    after = u - theta if SUBTRACT else tl.load(p + 3 * N, there, 0.0)
    rise = tl.load(p + 4 * N, there, 0.0) * w + tl.where(z, tl.load(p + 5 * N, there, 0.0), 0.0)
    return z, tl.where(z, after, tl.where(left > 0, old, u)), rise


@triton.jit
def izhikevich(  # type: ignore[no-untyped-def]
    p, old, before, left, drive, jump, there, N, dt, SUBSTEPS: tl.constexpr
):
    """Spikes, v and u of Izhikevich's neurons."""
    a = tl.load(p, there, 0.0)
    b = tl.load(p + N, there, 0.0)
    bias = tl.load(p + 4 * N, there, 0.0)
    h = tl.full((), 1.0, old.dtype) * dt / SUBSTEPS
    v = old
    u = before
    for _ in tl.static_range(SUBSTEPS):
        slope = 0.04 * v * v + 5.0 * v + 140.0 - u + drive + bias
        change = h * a * (b * v - u)
        v += h * slope
        u += change
    v += jump
    z = (left == 0) & (v >= tl.load(p + 5 * N, there, 0.0)) & there
    slow = tl.where(left > 0, before, u) + tl.where(z, tl.load(p + 3 * N, there, 0.0), 0.0)
    return z, tl.where(z, tl.load(p + 2 * N, there, 0.0), tl.where(left > 0, old, v)), slow
