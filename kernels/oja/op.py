"""Oja's subspace rule with frozen rows, momentum and a clamp: the lateral circuit of Hebbian orthogonal projection.

    Y = X H^T            activity of the k subspace neurons for R rows of n inputs, maybe quantised
    D = Y^T (X - Y H) / R                        Hebbian and anti-Hebbian, D = 0 in frozen rows
    V <- m V + (1 - m) clamp(D, -c, c)
    H <- H + eta V                               several times on the same X

Oja 1989 (the rule); Xiao et al. 2024, "Hebbian learning based orthogonal projection for continual learning of spiking
neural networks" (momentum 0.9, clamp 10, five times on each batch, rows that freeze). H converges to an orthonormal
basis of the principal subspace of X, its new rows to that of what the frozen ones leave, if

    eta lambda_1 < (1 + m) / (1 - m),            lambda_1 the largest eigenvalue of X^T X / R.

What the frozen rows explain is the same at every time and is subtracted once; only the others are multiplied again.
With m = 0 and no clamp the repetitions fold into three large products (fold.py). With Events only spikes touch H:

    D^T = X^T Y - H^T (Y^T Y)

Large products are torch's, which no kernel of ours beats; clamp, momentum and step are one pass in each backend.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels.backend import resolve
from spiking.kernels.oja import reference
from spiking.kernels.oja.fold import fold, pays


class Lateral(NamedTuple):
    """Subspace neurons that speak in spikes: a signed rate of `steps` levels up to `scale`."""

    scale: float = 20.0
    steps: int = 1000


def quantise(y: Tensor, lateral: Lateral | None) -> Tensor:
    """The activity y as spiking lateral neurons say it; y itself without `lateral`."""
    if lateral is None:
        return y
    scale, steps = lateral
    return (y.clamp(-scale, scale) * (steps / scale)).round_() * (scale / steps)


def sound(lateral: Lateral | None) -> None:
    """Refuse spiking neurons of no size or no level.

    Raises:
        ValueError: naming what is expected and what came.
    """
    if lateral is None:
        return
    try:
        scale, steps = lateral
        fits = 0 < scale < math.inf and 1 <= steps < math.inf
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            f"lateral: expected Lateral(scale, steps), a finite scale above 0 and 1 or more steps, got {lateral!r}"
        )


@torch.no_grad()
def oja(
    x: Tensor | Events,
    weight: Tensor,
    velocity: Tensor | None = None,
    *,
    lr: float,
    frozen: int = 0,
    iterations: int = 5,
    decay: float = 0.9,
    clamp: float | None = 10.0,
    lateral: Lateral | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Learn the subspace of a batch.

    Arguments:
        x: (R, n) rows of activity, or Events (T, B, n), each valid step of a sample a row.
        weight: H, (k, n).
        velocity: V, (k, n); needed where decay is above 0.
        lr: eta.
        frozen: how many of the first rows of H take part and stay as they are.
        iterations: how often to learn from the same rows.
        decay: m, of the momentum.
        clamp: c; `None` is none.
        lateral: quantises Y; `None` leaves it real.
        backend: "reference", "numba", "triton"; `None` follows `set_backend` and the device.

    Returns:
        the new H and V, both (k, n); V is `None` where it was.

    Raises:
        ValueError: naming the argument that does not fit.
        TypeError: if x is neither Events nor a tensor.
    """
    if not isinstance(x, (Tensor, Events)):
        raise TypeError(f"x: expected Events or a tensor, got {type(x).__name__}")
    if weight.ndim != 2 or not weight.dtype.is_floating_point:
        raise ValueError(f"weight: expected (k, n) floating numbers, got {tuple(weight.shape)} {weight.dtype}")
    k, n = weight.shape
    if len(x.shape) != (3 if isinstance(x, Events) else 2) or x.shape[-1] != n:
        raise ValueError(f"x: expected rows (R, {n}) or Events (T, B, {n}), got {tuple(x.shape)}")
    if not 0 <= frozen <= k:
        raise ValueError(f"frozen: expected 0 to {k} rows, got {frozen}")
    if not 0 <= decay < 1:
        raise ValueError(f"decay: expected 0 or more and below 1, got {decay}")
    if velocity is None and decay:
        raise ValueError(f"velocity: expected a tensor {(k, n)} for decay={decay}, got None")
    if velocity is not None and velocity.shape != weight.shape:
        raise ValueError(f"velocity: expected {(k, n)}, got {tuple(velocity.shape)}")
    if not 0 < lr < math.inf:
        raise ValueError(f"lr: expected a finite step above 0, got {lr}")
    if iterations < 1:
        raise ValueError(f"iterations: expected 1 or more, got {iterations}")
    sound(lateral)
    count = int(x.lengths.sum()) if isinstance(x, Events) else x.shape[0]
    if not count or frozen == k:
        return weight.clone(), None if velocity is None else velocity.clone()
    name = resolve(backend, weight.device)
    if isinstance(x, Tensor):
        x = x.to(weight.dtype)
    if name == "reference":
        rows = x.to_dense(weight.dtype).flatten(0, 1) if isinstance(x, Events) else x
        return reference.oja(rows, weight, velocity, count, frozen, lr, iterations, decay, clamp, lateral)
    if isinstance(x, Events) and weight.dtype in (torch.float16, torch.bfloat16):  # events add up in single precision
        wide = None if velocity is None else velocity.float()
        found = oja(
            x, weight.float(), wide, lr=lr, frozen=frozen, iterations=iterations, decay=decay, clamp=clamp,
            lateral=lateral, backend=backend,
        )
        return found[0].to(weight.dtype), None if found[1] is None else found[1].to(weight.dtype)
    V = None if velocity is None else velocity[frozen:].clone()
    if isinstance(x, Events):
        H = _events(x, weight, V, count, frozen, lr, iterations, decay, clamp, lateral, name)
    else:
        H = _dense(x, weight, V, frozen, lr, iterations, decay, clamp, lateral, name)
    if not frozen:
        return H, V
    return torch.cat([weight[:frozen], H]), None if velocity is None or V is None else torch.cat([velocity[:frozen], V])


def _dense(
    x: Tensor, weight: Tensor, V: Tensor | None, frozen: int, lr: float, iterations: int, decay: float,
    clamp: float | None, lateral: Lateral | None, backend: str,
) -> Tensor:
    """The rows of H that learn, from rows x; V changes in place."""
    old, H = weight[:frozen], weight[frozen:].clone()
    rest = x if not frozen else torch.addmm(x, quantise(x @ old.t(), lateral), old, alpha=-1)
    if V is None and clamp is None and lateral is None and pays(x.shape[0], x.shape[1], H.shape[0], iterations):
        return fold(x, rest, H, lr, iterations)
    for _ in range(iterations):
        Y = quantise(x @ H.t(), lateral)
        delta = Y.t() @ torch.addmm(rest, Y, H, alpha=-1)
        torch.ops.spiking.oja_step(H, V, delta, lr, 1 / x.shape[0], decay, clamp, backend)
    return H


def _events(
    x: Events, weight: Tensor, V: Tensor | None, count: int, frozen: int, lr: float, iterations: int, decay: float,
    clamp: float | None, lateral: Lateral | None, backend: str,
) -> Tensor:
    """The same from Events, with H transposed, so that a spike reads and writes one row."""
    T, B, n = x.shape
    old, H = weight[:frozen].t().contiguous(), weight[frozen:].t().contiguous()
    W = None if V is None else V.t().contiguous()

    def speak(H: Tensor) -> Tensor:
        return quantise(torch.ops.spiking.event_linear(x.indptr, x.index, x.value, H, T * B, backend), lateral)

    before = speak(old) if frozen else None
    for _ in range(iterations):
        Y = speak(H)
        delta = torch.ops.spiking.event_linear_backward(x.indptr, x.index, x.value, None, Y, n, backend)
        delta = torch.addmm(delta, H, Y.t() @ Y, alpha=-1)
        if before is not None:
            delta = torch.addmm(delta, old, before.t() @ Y, alpha=-1)
        torch.ops.spiking.oja_step(H, W, delta, lr, 1 / count, decay, clamp, backend)
    if V is not None and W is not None:
        V.copy_(W.t())
    return H.t().contiguous()


@torch.library.custom_op("spiking::oja_step", mutates_args=("weight", "velocity"))
def _step(
    weight: Tensor, velocity: Tensor | None, delta: Tensor, lr: float, scale: float, decay: float,
    clamp: float | None, backend: str,
) -> None:
    """Clamp scale * delta, mix it into the velocity and step by that, in place."""
    if backend == "triton":
        from spiking.kernels.oja import gpu

        gpu.step(weight, velocity, delta, lr, scale, decay, clamp)
    elif backend == "numba" and weight.dtype in (torch.float32, torch.float64):  # NumPy has no bfloat16
        from spiking.kernels.oja import cpu

        cpu.step(weight, velocity, delta, lr, scale, decay, clamp)
    else:
        reference.step(weight, velocity, delta, lr, scale, decay, clamp)


@_step.register_fake
def _(
    weight: Tensor, velocity: Tensor | None, delta: Tensor, lr: float, scale: float, decay: float,
    clamp: float | None, backend: str,
) -> None:
    return None
