"""The strongest segment in plain PyTorch, with all segments of all units at once: the specification."""

from __future__ import annotations

import torch
from torch import Tensor


def strongest(context: Tensor, segments: Tensor) -> Tensor:
    """(B, units) from context (B, n) and segments (units, segments, n)."""
    d = torch.einsum("bn,ujn->buj", context, segments)
    return d.gather(2, d.abs().argmax(2, keepdim=True)).squeeze(2)
