"""Encoders from what a sensor measures to events.

    rate      a spike with probability x max_rate dt in each step                     Bernoulli, near Poisson
    latency   one spike at (1 - x) T, or at tau log(x / (x - theta)), when a membrane
              charged by x reaches theta; the brighter, the earlier                   Thorpe et al. 2001
    delta     +1 or -1 when the signal has moved by theta since the last event        send-on-delta, a camera's pixel
    phase     the bits of x, highest first, a spike in phase j counts 2^-(1+j)        Kim et al. 2018
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels.jit import jit, spread

Array = np.ndarray[Any, Any]


def rate(x: Tensor, steps: int | None = None, dt: float = 1.0, max_rate: float = 100.0, seed: int = 0) -> Events:
    """Fire at random with a rate in proportion to x.

    Arguments:
        x: (B, N) intensities in [0, 1], held for `steps` steps, or (T, B, N), one for each step.
        steps: T for (B, N).
        dt: step in ms.
        max_rate: Hz at x = 1; max_rate dt must not exceed one spike a step.
        seed: the same seed gives the same events.

    Returns:
        Events (T, B, N).

    Raises:
        TypeError, ValueError: naming the argument that does not fit.
    """
    x = _unit(x, "rate")
    if x.ndim == 2:
        x = x.expand(_steps(steps), *x.shape)
    elif x.ndim != 3 or steps not in (None, x.shape[0]):
        raise ValueError(f"x: expected (B, N) with steps or (T, B, N) without, got {tuple(x.shape)} and {steps}")
    chance = max_rate * dt / 1000
    if not 0 < chance <= 1:
        raise ValueError(f"max_rate: {max_rate} Hz in steps of {dt} ms is {chance:g} spikes a step, expected in (0, 1]")
    dice = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)).to(x.device)
    return Events.from_dense(dice < x * chance, dt)


def latency(
    x: Tensor, steps: int, dt: float = 1.0, tau: float | None = None, threshold: float = 0.01
) -> Events:
    """Fire once, the earlier the larger x.

    Arguments:
        x: (B, N) in [0, 1]; 0 stays silent.
        steps: T; what would come later stays silent.
        dt: step in ms.
        tau: membrane time constant in ms; `None` is linear in x: x = 1 fires in step 0, x near 0 in the last.
        threshold: theta, in units of x; with `tau`, x <= theta stays silent.

    Returns:
        Events (T, B, N).

    Raises:
        TypeError, ValueError: naming the argument that does not fit.
    """
    x, T = _flat(_unit(x, "latency")), _steps(steps)
    if tau is None:
        when = ((1 - x) * (T - 1)).round()
        fires = x > 0
    else:
        if tau <= 0 or not 0 < threshold < 1:
            raise ValueError(f"tau, threshold: expected tau > 0 and 0 < threshold < 1, got {tau} and {threshold}")
        fires = x > threshold
        when = (tau / dt * torch.log(x / (x - threshold).clamp(min=torch.finfo(x.dtype).tiny))).floor()
        fires = fires & (when < T)
    sample, channel = fires.nonzero(as_tuple=True)
    return _at(when[fires].long(), sample, channel, None, (T, *x.shape), dt)


def phase(x: Tensor, steps: int, dt: float = 1.0, bits: int = 8) -> Events:
    """Fire the bits of x, over and over.

    Arguments:
        x: (B, N) in [0, 1], rounded to multiples of 2^-bits; 1 becomes 1 - 2^-bits.
        steps: T; each `bits` steps spell x once.
        dt: step in ms.
        bits: phases of a period, 1 to 24.

    Returns:
        Events (T, B, N) whose values 2^-(1+j) add up to x over each period.

    Raises:
        TypeError, ValueError: naming the argument that does not fit.
    """
    x, T = _flat(_unit(x, "phase")), _steps(steps)
    if not 1 <= bits <= 24:
        raise ValueError(f"bits: expected 1 to 24, got {bits}")
    whole = (x.double() * 2**bits).round().clamp(max=2**bits - 1).long()
    j = torch.arange(T, device=x.device) % bits
    on = ((whole[None] >> (bits - 1 - j)[:, None, None]) & 1).float()
    return Events.from_dense(on * (0.5 ** (1 + j.float()))[:, None, None], dt)


def delta(signal: Tensor, threshold: float, dt: float = 1.0) -> Events:
    """Fire when a signal has moved by a threshold since the last event, several times where it jumps.

    Arguments:
        signal: (T, B, N); step 0 sets the level from which changes count.
        threshold: theta, in units of the signal.
        dt: step in ms.

    Returns:
        Events (T, B, N) whose values are whole numbers of thresholds, up or down: added up over time and multiplied by
        theta they stay within theta of the signal's change.

    Raises:
        TypeError, ValueError: naming the argument that does not fit.
    """
    if not isinstance(signal, Tensor) or not signal.is_floating_point():
        raise TypeError(f"signal: expected a floating-point tensor, got {getattr(signal, 'dtype', type(signal))}")
    if signal.ndim != 3 or not bool(signal.isfinite().all()):
        raise ValueError(f"signal: expected finite (T, B, N), got {tuple(signal.shape)}")
    if not 0 < threshold < float("inf"):
        raise ValueError(f"threshold: expected a positive number, got {threshold}")
    T, B, N = signal.shape
    wide = np.ascontiguousarray(signal.detach().cpu().double().numpy()).reshape(T, B * N)
    moves = np.zeros((T, B * N), np.int32)
    if T:
        spread(_cross, -(-B * N // _TILE), wide, float(threshold), moves)
    return Events.from_dense(torch.from_numpy(moves).view(T, B, N).to(signal.device).float(), dt)


_TILE = 256


@jit
def _cross(tile: int, signal: Array, threshold: float, moves: Array) -> None:
    T, channels = signal.shape
    first, last = tile * _TILE, min(channels, (tile + 1) * _TILE)
    level = signal[0, first:last].copy()
    for t in range(1, T):
        for c in range(first, last):
            whole = int((signal[t, c] - level[c - first]) / threshold)  # towards 0
            moves[t, c] = whole
            level[c - first] += whole * threshold


def _unit(x: Tensor, name: str) -> Tensor:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(f"x: expected a floating-point tensor, got {getattr(x, 'dtype', type(x).__name__)}")
    if x.numel() and not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError(f"x: {name} expects numbers in [0, 1], got {float(x.min())} to {float(x.max())}")
    return x.detach()


def _flat(x: Tensor) -> Tensor:
    if x.ndim != 2:
        raise ValueError(f"x: expected (B, N), got {tuple(x.shape)}")
    return x


def _steps(steps: int | None) -> int:
    if steps is None or steps < 1:
        raise ValueError(f"steps: expected at least 1, got {steps}")
    return steps


def _at(
    step: Tensor, sample: Tensor, channel: Tensor, value: Tensor | None, shape: tuple[int, int, int], dt: float
) -> Events:
    row = step * shape[1] + sample
    order = torch.argsort(row * shape[2] + channel)
    indptr = torch.zeros(shape[0] * shape[1] + 1, dtype=torch.int64, device=row.device)
    indptr[1:] = torch.bincount(row, minlength=shape[0] * shape[1]).cumsum(0)
    return Events(indptr, channel[order], shape, dt, None if value is None else value[order])
