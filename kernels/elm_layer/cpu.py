"""A layer of expressive leaky memory neurons on CPUs; op.py gives the equations, flat.py those of the gradient.

A task is some of the samples, all of their steps: what a neuron's hidden layer and memory need in one step fits the
first cache.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from spiking.kernels.elm.rule import SATURATION, SLOPE
from spiking.kernels.jit import jit, room, spread

TASKS = 16
_SQUARE, _RELU = 0, 1
_RECTIFIED, _SPIKE = 0, 2


@jit
def _forward_task(
    task, tasks, drive, m0, r0, a0, into, hidden_bias, update, update_bias, decay, gain, read, bias, k, recurrent,
    wired, lengths, activation, output, a, m, r,
):
    """All steps of a share of the samples."""
    T, B, N, h = drive.shape
    d = decay.shape[1]
    number = drive.dtype.type
    zero, one, top, slope = number(0), number(1), number(SATURATION), number(SLOPE)
    z = np.empty((N, h), drive.dtype)
    memory, slow, activity = np.empty((N, d), drive.dtype), np.empty(N, drive.dtype), np.empty(N, drive.dtype)
    for b in range(task * B // tasks, (task + 1) * B // tasks):
        for n in range(N):
            slow[n], activity[n] = r0[b, n], a0[b, n]
            for i in range(d):
                memory[n, i] = m0[b, n, i]
        for t in range(T):
            if t < lengths[b]:
                for n in range(N):
                    for j in range(h):
                        z[n, j] = drive[t, b, n, j] + hidden_bias[n, j]
                    for i in range(d):
                        memory[n, i] *= decay[n, i]
                        for j in range(h):
                            z[n, j] += memory[n, i] * into[n, i, j]
                if wired:
                    for s in range(N):
                        said = activity[s]
                        if said != zero:
                            for n in range(N):
                                for j in range(h):
                                    z[n, j] += said * recurrent[s, n, j]
                for n in range(N):
                    for j in range(h):
                        x = z[n, j]  # NaN is not 0 or less: it passes on
                        if activation == _SQUARE:
                            z[n, j] = zero if x <= zero else x * x
                        elif activation == _RELU:
                            z[n, j] = zero if x <= zero else x
                        else:
                            z[n, j] = x / (one + math.exp(-x))
                    p = zero
                    for i in range(d):
                        change = update_bias[n, i]
                        for j in range(h):
                            change += z[n, j] * update[n, j, i]
                        memory[n, i] += gain[n, i] * top * math.tanh(slope * change)
                        p += memory[n, i] * read[n, i]
                    slow[n] = k[0] * slow[n] + (one - k[0]) * p
                    u = p - slow[n] + bias[n]
                    if output == _RECTIFIED:
                        activity[n] = zero if u <= zero else u
                    elif output == _SPIKE:
                        activity[n] = one if u > zero else zero
                    else:
                        activity[n] = u
            for n in range(N):
                a[t, b, n], r[t, b, n] = activity[n], slow[n]
                for i in range(d):
                    m[t, b, n, i] = memory[n, i]


@jit
def _backward_task(
    task, tasks, g_a, g_m, g_r, bend, steep, out, into, update, decay, gain, read, k, recurrent, wired, lengths, gz, gc,
    gm, gu, gp, gr, gm0, gr0, ga0,
):
    """The gradients of a share of the samples, from the last step to the first."""
    T, B, N, h = bend.shape
    d = decay.shape[1]
    number = bend.dtype.type
    zero, one = number(0), number(1)
    memory, slow, activity = np.empty((N, d), bend.dtype), np.empty(N, bend.dtype), np.empty(N, bend.dtype)
    for b in range(task * B // tasks, (task + 1) * B // tasks):
        memory[:] = zero
        slow[:] = zero
        activity[:] = zero
        for back in range(T):
            t = T - 1 - back
            if t >= lengths[b]:
                for n in range(N):
                    activity[n] += g_a[t, b, n]
                    slow[n] += g_r[t, b, n]
                    gu[t, b, n], gp[t, b, n], gr[t, b, n] = zero, zero, zero
                    for i in range(d):
                        memory[n, i] += g_m[t, b, n, i]
                        gc[t, b, n, i], gm[t, b, n, i] = zero, zero
                    for j in range(h):
                        gz[t, b, n, j] = zero
                continue
            for n in range(N):
                g = (g_a[t, b, n] + activity[n]) * out[t, b, n]
                gu[t, b, n] = g
                left = g_r[t, b, n] + slow[n] - g
                gr[t, b, n] = left
                slow[n] = k[0] * left
                g += (one - k[0]) * left
                gp[t, b, n] = g
                for i in range(d):
                    whole = g_m[t, b, n, i] + memory[n, i] + g * read[n, i]
                    gm[t, b, n, i] = whole
                    gc[t, b, n, i] = whole * gain[n, i] * steep[t, b, n, i]
                for j in range(h):
                    x = zero
                    for i in range(d):
                        x += gc[t, b, n, i] * update[n, j, i]
                    gz[t, b, n, j] = x * bend[t, b, n, j]
                for i in range(d):
                    x = gm[t, b, n, i]
                    for j in range(h):
                        x += gz[t, b, n, j] * into[n, i, j]
                    memory[n, i] = decay[n, i] * x
                activity[n] = zero
            if wired:
                for s in range(N):
                    x = zero
                    for n in range(N):
                        for j in range(h):
                            x += gz[t, b, n, j] * recurrent[s, n, j]
                    activity[s] = x
        for n in range(N):
            gr0[b, n], ga0[b, n] = slow[n], activity[n]
            for i in range(d):
                gm0[b, n, i] = memory[n, i]


def forward(
    rows: list[Tensor], recurrent: Tensor | None, lengths: Tensor | None, activation: int, output: int
) -> tuple[Tensor, Tensor, Tensor]:
    """a (T, B, N), m (T, B, N, d) and r (T, B, N) from the arguments of the flat op."""
    drive, memory = rows[0], rows[1]
    T, (B, N, d) = drive.shape[0], memory.shape
    a, m, r = room(drive, T, B, N), room(drive, T, B, N, d), room(drive, T, B, N)
    wires, last = _wires(drive, recurrent), _last(lengths, T, B)
    given = [x.numpy() for x in rows]
    found = (a.numpy(), m.numpy(), r.numpy())
    wired = recurrent is not None
    spread(_forward_task, TASKS, TASKS, *given, wires, wired, last, activation, output, *found)
    return a, m, r


def backward(
    grads: list[Tensor], slopes: list[Tensor], weights: list[Tensor], recurrent: Tensor | None, lengths: Tensor | None
) -> list[Tensor]:
    """The gradients that run step by step, and those of the first state."""
    a, m = grads[0], grads[1]
    T, B = a.shape[:2]
    found = [room(x, *x.shape) for x in (slopes[0], m, m, a, a, a)] + [room(x, *x.shape[1:]) for x in (m, a, a)]
    given = [x.detach().numpy() for x in (*grads, *slopes, *weights)]
    wires, last = _wires(a, recurrent), _last(lengths, T, B)
    wired = recurrent is not None
    spread(_backward_task, TASKS, TASKS, *given, wires, wired, last, *(x.numpy() for x in found))
    return found


def _wires(like: Tensor, recurrent: Tensor | None) -> np.ndarray:
    return like.new_empty(0, 0, 0).numpy() if recurrent is None else recurrent.detach().numpy()


def _last(lengths: Tensor | None, T: int, B: int) -> np.ndarray:
    return np.full(B, T) if lengths is None else lengths.to(torch.int64).numpy()
