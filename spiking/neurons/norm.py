"""Batch normalisation of currents over time and batch: y = gamma (x - mean) / sqrt(var + eps) + beta.

Mean and variance of a channel run over all steps of all samples (Zheng et al. 2021, eqs. 6-7), but only over those
inside the recordings: a padded batch gives the numbers of the same samples without padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def inside(lengths: Tensor | None, steps: int) -> Tensor | None:
    """(T * B,) bool, which steps lie inside their recordings; `None` if all do."""
    if lengths is None or bool((lengths >= steps).all()):
        return None
    return (torch.arange(steps, device=lengths.device)[:, None] < lengths[None, :]).reshape(-1)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over time and batch.

    Arguments:
        num_features: channels N.
        eps, momentum, affine: as in `torch.nn.BatchNorm1d`.
    """

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalise currents (T, B, N) given (B,) valid steps; steps outside the recordings come out 0."""
        rows = x.reshape(-1, x.shape[-1])
        valid = inside(lengths, x.shape[0])
        out = normalise(self, rows) if valid is None else scatter(normalise(self, rows[valid]), valid)
        return out.view(x.shape)


def normalise(norm: nn.BatchNorm1d | nn.BatchNorm2d, rows: Tensor) -> Tensor:
    """Apply a torch batch norm; where there are too few rows for a variance, with its running statistics.

    Raises:
        TypeError: for a SyncBatchNorm: only this process's recordings would count, whatever the module says.
    """
    if isinstance(norm, nn.SyncBatchNorm):
        raise TypeError("norm: expected BatchNorm1d or BatchNorm2d, got SyncBatchNorm, which is not supported")
    if norm.training and rows.numel() // max(rows.shape[1], 1) < 2:
        return nn.functional.batch_norm(
            rows, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps
        )
    forward = nn.BatchNorm1d.forward if isinstance(norm, nn.BatchNorm1d) else nn.BatchNorm2d.forward
    return forward(norm, rows)


def scatter(rows: Tensor, valid: Tensor) -> Tensor:
    """Put the rows back where `valid` (M,) is True, zeros elsewhere."""
    out = rows.new_zeros(valid.shape[0], *rows.shape[1:])
    out[valid] = rows
    return out
