"""From outputs over time (T, B, C) to one score per class (B, C), over each sample's valid steps only.

    max          max_t y_t                  Cramer et al. 2020
    mean         sum_t y_t / length         sum without the division
    last         y at the last valid step
    softmax_sum  sum_t softmax(y_t)         Bittar & Garner 2022: scores, bounded by the number of steps
    rate         mean of spikes, per step   the mean, by the name it has for spikes

A sample without a valid step gets zeros.
"""

from __future__ import annotations

import torch
from torch import Tensor


def max(out: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The largest value of each class over time.

    Arguments:
        out: (T, B, C).
        lengths: (B,) valid steps; `None` means T for all.

    Returns:
        (B, C).

    Raises:
        ValueError: naming the argument whose shape or range does not fit.
    """
    lengths = _check(out, lengths)
    if out.shape[0] == 0:
        return out.sum(0)
    best = out.masked_fill(~_valid(out, lengths), -torch.inf).amax(0)
    return torch.where((lengths > 0)[:, None], best, 0.0)


def mean(out: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The mean of each class over time; arguments and returns as in `max`."""
    lengths = _check(out, lengths)
    return _sum(out, lengths) / lengths.clamp(min=1)[:, None].to(out.dtype)


def sum(out: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The sum of each class over time; arguments and returns as in `max`."""
    return _sum(out, _check(out, lengths))


def last(out: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The value of each class at the sample's last valid step; arguments and returns as in `max`."""
    lengths = _check(out, lengths)
    if out.shape[0] == 0:
        return out.sum(0)
    step = (lengths - 1).clamp(min=0)[None, :, None].expand(1, -1, out.shape[2])
    return torch.where((lengths > 0)[:, None], out.gather(0, step)[0], 0.0)


def softmax_sum(out: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The sum over time of each step's softmax over classes; arguments and returns as in `max`."""
    return _sum(out.softmax(2) if out.ndim == 3 else out, _check(out, lengths))


def rate(spikes: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Spikes per step of each output neuron; arguments and returns as in `max`."""
    return mean(spikes, lengths)


def _check(out: Tensor, lengths: Tensor | None) -> Tensor:
    if not isinstance(out, Tensor) or out.ndim != 3:
        raise ValueError(f"out: expected (T, B, C), got {tuple(out.shape) if isinstance(out, Tensor) else out!r}")
    T, B, _ = out.shape
    if lengths is None:
        return torch.full((B,), T, dtype=torch.int64, device=out.device)
    if lengths.shape != (B,):
        raise ValueError(f"lengths: expected ({B},), got {tuple(lengths.shape)}")
    if lengths.is_floating_point() or lengths.is_complex():
        raise ValueError(f"lengths: expected whole numbers, got {lengths.dtype}")
    return lengths.to(out.device, torch.int64).clamp(0, T)


def _valid(out: Tensor, lengths: Tensor) -> Tensor:
    return (torch.arange(out.shape[0], device=out.device)[:, None] < lengths[None, :])[:, :, None]


def _sum(out: Tensor, lengths: Tensor) -> Tensor:
    return torch.where(_valid(out, lengths), out, 0.0).sum(0)
