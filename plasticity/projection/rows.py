"""Rows of a subspace: how they start, and what of them is kept."""

from __future__ import annotations

import torch
from torch import Tensor


def first_rows(k: int, n: int, generator: torch.Generator) -> Tensor:
    """(k, n) rows drawn at random, orthonormal among themselves."""
    return torch.linalg.qr(torch.randn(n, k, generator=generator))[0].t().contiguous()


def complement(rows: Tensor, old: Tensor) -> Tensor:
    """Orthonormal rows (k, n) of the span of rows outside that of old (m, n), whose rows are orthonormal."""
    for _ in range(2):  # once leaves what rounding leaves
        rows = rows - (rows @ old.t()) @ old
        rows = torch.linalg.qr(rows.t())[0].t()
    return rows.contiguous()


def share(x: Tensor, H: Tensor) -> float:
    """How much of the energy of activity x (R, n) lies in the span of the orthonormal rows H (k, n)."""
    left = x - (x @ H.t()) @ H
    return 1 - float(left.square().sum() / x.square().sum().clamp(min=1e-30))


def leading(x: Tensor, old: Tensor, new: Tensor, share: float) -> Tensor:
    """The fewest directions of the span of new, best first, that with old hold a share of the energy of x (R, n)."""
    total, held = x.square().sum(), (x @ old.t()).square().sum()
    _, values, turn = torch.linalg.svd(x @ new.t(), full_matrices=False)
    energy = held + torch.cumsum(values.square(), 0)
    count = int((energy < share * total).sum()) + 1 if bool(held < share * total) else 0
    return (turn[:count] @ new).contiguous()
