"""k(p; d): how a delay of d steps, whole or not, is laid on the whole steps p = 0 to P.

    Gaussian    k(p) = g(p) / sum over q of g(q),   g(p) = exp(-(p - d)^2 / (2 sigma^2))
    linear      k(p) = max(0, 1 - |p - d|)
    rounded     k(p) = 1 where p is the step nearest to d

Khalfaoui-Hassani et al. 2023, "Dilated convolution with learnable spacings", interpolate linearly; Hammouamri,
Khalfaoui-Hassani & Masquelier 2024, "Learning delays in spiking neural networks using DCLS", eqs. 4-6, train with the
Gaussian while sigma shrinks, and round at the end.

Only a window of steps is kept, from `first` on: 1 for the rounded delay, 2 for the linear one, and for the Gaussian
2 ceil(REACH sigma) + 1 around the nearest step, moved inwards at 0 and P, or all P + 1 where that is more than a third
of them. The sum of g runs over the window alone, so that k sums to 1. At REACH = 5 a mass of less than 1e-6 is left
out, as much as float32 rounds away.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

REACH = 5.0
APART = 3  # what a tap costs more on a CPU where each column starts at a step of its own (26 positions, 256 columns)


def width(last: int, sigma: float, rounded: bool) -> int:
    """K, the number of steps that the window holds, for positions 0 to `last`."""
    if rounded or sigma == 0:
        return min(last + 1, 1 if rounded else 2)
    K = 2 * math.ceil(REACH * sigma) + 1
    return K if APART * K <= last + 1 else last + 1


def window(delay: Tensor, last: int, sigma: float, rounded: bool) -> tuple[Tensor, Tensor]:
    """The part of the kernel that is not 0.

    Arguments:
        delay: (in, out) or, one delay for all outputs, (in, 1); in steps, 0 to `last`.
        last: P, the last position.
        sigma: width of the Gaussian in steps; 0 is the linear kernel.
        rounded: take the nearest step instead.

    Returns:
        k (in, K, out or 1), differentiable in `delay` unless rounded, and `first` (in, out or 1) int32: k[i, j, o]
        stands at position first[i, o] + j. A window that covers all positions has one column of `first`, of zeros.
    """
    K = width(last, sigma, rounded)
    d = delay.detach()
    if rounded:
        first = d.round()
    elif sigma == 0:
        first = d.floor()
    else:
        first = d.round() - K // 2
    first = first.clamp(0, last + 1 - K)
    offset = (delay - first)[:, None]
    if K == 1:
        k = torch.ones_like(d)[:, None]
    elif sigma == 0:
        k = torch.cat([1 - offset, offset], 1)
    else:
        p = torch.arange(K, dtype=delay.dtype, device=delay.device)[:, None]
        exponent = (p - offset).square() * (-0.5 / sigma**2)
        g = torch.exp(exponent - exponent.detach().amax(1, keepdim=True))
        k = g / g.sum(1, keepdim=True)  # torch.softmax cuts its work by threads and rounds by the cut
    return k, (first[:, :1] if K == last + 1 else first).to(torch.int32)
