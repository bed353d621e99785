"""Clamp, momentum and step of the subspace rule in one pass on CPUs, in Numba; op.py gives the equations."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from spiking.kernels.jit import jit, spread

SHARE = 16384  # numbers of one task


@jit
def _plain(task, share, weight, delta, lr, scale, clamp):
    first = np.uint64(task * share)
    last = np.uint64(min((task + 1) * share, weight.size))
    for i in range(first, last):
        d = delta[i] * scale
        d = clamp if d > clamp else d
        d = -clamp if d < -clamp else d
        weight[i] += lr * d


@jit
def _momentum(task, share, weight, velocity, delta, lr, scale, decay, rest, clamp):
    first = np.uint64(task * share)
    last = np.uint64(min((task + 1) * share, weight.size))
    for i in range(first, last):
        d = delta[i] * scale
        d = clamp if d > clamp else d
        d = -clamp if d < -clamp else d
        v = decay * velocity[i] + rest * d
        velocity[i] = v
        weight[i] += lr * v


def step(
    weight: Tensor, velocity: Tensor | None, delta: Tensor, lr: float, scale: float, decay: float, clamp: float | None
) -> None:
    """One update in place of contiguous (k, n) tensors."""
    kind = weight.numpy().dtype.type
    w, d = weight.view(-1).numpy(), delta.contiguous().view(-1).numpy()
    limit = kind(math.inf if clamp is None else clamp)
    tasks = -(-w.size // SHARE)
    if velocity is None:
        spread(_plain, tasks, SHARE, w, d, kind(lr), kind(scale), limit)
    else:
        v = velocity.view(-1).numpy()
        spread(_momentum, tasks, SHARE, w, v, d, kind(lr), kind(scale), kind(decay), kind(1 - decay), limit)
