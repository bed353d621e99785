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
        row = x.rows()
        b, t = row % B, row // B
        held = leak ** (x.lengths[b] - 1 - t)
        if x.value is not None:
            held = held * x.value.to(held.dtype)
        return leak.new_zeros(B * inputs).index_add(0, b * inputs + x.index, held).view(B, inputs)
    ends = torch.full((B,), T, device=x.device) if lengths is None else lengths
    left = ends[:, None] - 1 - torch.arange(T, device=x.device)
    held = torch.where(left < 0, 0.0, leak ** left.clamp(min=0))
    x = torch.where((left >= 0).t()[:, :, None], x, 0) if lengths is not None else x
    return torch.bmm(held[:, None], x.to(leak.dtype).transpose(0, 1))[:, 0]
