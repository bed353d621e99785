"""y[t] = sum over the positions p of x[t - p] (W k(p; d)) in plain PyTorch: the specification."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from spiking.kernels.delay.window import width


def positions(delay: Tensor, last: int, sigma: float, rounded: bool, truncated: bool = True) -> Tensor:
    """The kernel at every position.

    Arguments:
        delay, last, sigma, rounded: as `spiking.kernels.delay.window.window` takes them.
        truncated: cut a Gaussian to its window; without, it is that of the paper.

    Returns:
        k (in, last + 1, out or 1); its sum over the positions is 1.
    """
    p = torch.arange(last + 1, dtype=delay.dtype, device=delay.device)[:, None]
    d = delay[:, None]
    K = width(last, sigma, rounded)
    if rounded:
        return (p == d.detach().round().clamp(0, last)).to(delay.dtype)
    if sigma == 0:
        low = d.detach().floor().clamp(0, last + 1 - K)
        share = d - low if K == 2 else torch.zeros_like(d)
        return torch.where(p == low, 1 - share, torch.where(p == low + 1, share, 0.0))
    exponent = -0.5 * ((p - d) / sigma) ** 2
    if truncated:
        first = (d.detach().round() - K // 2).clamp(0, last + 1 - K)
        exponent = exponent.masked_fill((p < first) | (p >= first + K), -torch.inf)
    return exponent.softmax(1)


def delay_linear(
    x: Tensor, weight: Tensor, delay: Tensor, last: int, state: Tensor | None, sigma: float, rounded: bool,
    lengths: Tensor | None, truncated: bool = True,
) -> tuple[Tensor, Tensor]:
    """Spikes that arrive later, times weights.

    Arguments:
        x: (T, B, in).
        weight: (in, out).
        delay: (in, out) or (in, 1), in steps.
        last: P, the longest delay in steps.
        state: (P, B, out), the currents still under way; `None` is none.
        sigma, rounded, truncated: as in `positions`.
        lengths: (B,) valid steps.

    Returns:
        y (T, B, out) and the currents still under way after each sample's last valid step, (P, B, out).
    """
    T = x.shape[0]
    kernel = weight[:, None] * positions(delay, last, sigma, rounded, truncated)
    arriving = x.new_zeros(T + last, x.shape[1], weight.shape[1])
    for p in range(last + 1):
        arriving = arriving + pad(within(x, lengths) @ kernel[:, p], (0, 0, 0, 0, p, last - p))
    return finish(arriving, state, lengths, T)


def finish(arriving: Tensor, state: Tensor | None, lengths: Tensor | None, T: int) -> tuple[Tensor, Tensor]:
    """Part what arrived from what is under way.

    Arguments:
        arriving: (T + P, B, out), what the steps of this recording bring, at the step where it arrives.
        state: (P, B, out), what former steps bring.
        lengths: (B,) valid steps; `None` is T.

    Returns:
        y (T, B, out), 0 beyond the valid steps, and (P, B, out), what arrives in the P steps after them.
    """
    last, B = arriving.shape[0] - T, arriving.shape[1]
    if state is not None:
        arriving = arriving + pad(state, (0, 0, 0, 0, 0, T))
    if lengths is None:
        return arriving[:T], arriving[T:].clone()
    after = lengths + torch.arange(last, device=lengths.device)[:, None]
    return within(arriving[:T], lengths), arriving[after, torch.arange(B, device=lengths.device)]


def within(x: Tensor, lengths: Tensor | None) -> Tensor:
    """x (T, B, N) with zeros beyond each sample's valid steps, of which `lengths` (B,) says how many there are."""
    if lengths is None:
        return x
    valid = torch.arange(x.shape[0], device=lengths.device)[:, None] < lengths
    return torch.where(valid[:, :, None], x, 0.0)
