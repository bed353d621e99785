"""The subspace rule in plain PyTorch, step by step as it was published: the specification. op.py has the equations."""

from __future__ import annotations

import torch
from torch import Tensor


def oja(
    x: Tensor, weight: Tensor, velocity: Tensor | None, count: int, frozen: int, lr: float, iterations: int,
    decay: float, clamp: float | None, lateral: tuple[float, int] | None,
) -> tuple[Tensor, Tensor | None]:
    """Learn from rows x (R, n); arguments and returns as in op.py, `count` the rows that the mean is over."""
    H = weight.clone()
    V = torch.zeros_like(weight) if velocity is None else velocity.clone()
    learns = (torch.arange(H.shape[0], device=H.device) >= frozen)[:, None]
    for _ in range(iterations):
        Y = x @ H.t()
        if lateral is not None:
            scale, steps = lateral
            Y = (Y.clamp(-scale, scale) / scale * steps).round() / steps * scale
        delta = Y.t() @ (x - Y @ H) / count
        if clamp is not None:
            delta = delta.clamp(-clamp, clamp)
        V = torch.where(learns, decay * V + (1 - decay) * delta, V)
        H = torch.where(learns, H + lr * V, H)
    return H, None if velocity is None else V


def step(
    weight: Tensor, velocity: Tensor | None, delta: Tensor, lr: float, scale: float, decay: float, clamp: float | None
) -> None:
    """One update in place, of weight and velocity, by scale * delta."""
    change = delta * scale
    if clamp is not None:
        change = change.clamp(-clamp, clamp)
    if velocity is not None:
        velocity.mul_(decay).add_(change, alpha=1 - decay)
        change = velocity
    weight.add_(change, alpha=lr)
