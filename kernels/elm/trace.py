"""What an exponential filter still holds of each input after a recording's last valid step.

    r[b] = sum over the steps t of leak^(L[b] - 1 - t) x[t, b]
"""

from __future__ import annotations

import torch
from torch import Tensor

from spiking.events import Events


def trace(x: Events | Tensor, leak: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The trace that a recording leaves, at the cost of its events.

    Arguments:
        x: Events (T, B, in) or a dense (T, B, in).
        leak: (1,), what a step leaves.
        lengths: (B,) valid steps L of a dense x.

    Returns:
        (B, in) in the dtype of `leak`.
    """
    T, B, inputs = x.shape
    if isinstance(x, Events):
        counts, step = x.indptr.diff(), torch.arange(T, device=x.device)[:, None]
        size = torch.int32 if B * inputs < 2**31 else torch.int64  # of what there is once for every event
        first = (torch.arange(B, dtype=size, device=x.device) * inputs).repeat(T)
        cell = first.repeat_interleave(counts, output_size=x.nnz).add_(x.index)
        held = leak ** (x.lengths - 1 - step).clamp(min=0)
        held = held.flatten().repeat_interleave(counts, output_size=x.nnz)
        if x.value is not None:
            held = held * x.value.to(held.dtype)
        return leak.new_zeros(B * inputs).index_add(0, cell, held).view(B, inputs)
    ends = torch.full((B,), T, device=x.device) if lengths is None else lengths
    left = ends[:, None] - 1 - torch.arange(T, device=x.device)
    held = torch.where(left < 0, 0.0, leak ** left.clamp(min=0))
    x = torch.where((left >= 0).t()[:, :, None], x, 0) if lengths is not None else x
    return torch.bmm(held[:, None], x.to(leak.dtype).transpose(0, 1))[:, 0]
