"""The adaptive code and the product of its counts with a packed weight in plain PyTorch: the specification.

Sums are taken in float64, which holds these whole numbers exactly and which PyTorch multiplies on every device.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from spiking.kernels.spike_linear.packed import PackedWeight

LOW, HIGH = 1e-5, 1e4  # of the threshold
CLIP = 127
LIMIT = 2**22  # of the sum of |s| in a token: with it every partial sum fits 32 bits


def encode(x: Tensor, k: float) -> tuple[Tensor, Tensor]:
    """V_th = mean |x| / k and s = round(x / V_th) for each token.

    Arguments:
        x: (tokens, in) float32.
        k: spikes a channel on average.

    Returns:
        s (tokens, in) int32 and V_th (tokens, 1) float32; V_th is NaN where x is not finite or sum |s| above LIMIT.
    """
    threshold = (x.abs().sum(1, True, dtype=torch.float64) / (x.shape[1] * k)).to(torch.float32).clamp(LOW, HIGH)
    ratio = (x / threshold).round()
    good = ratio.abs().sum(1, True, dtype=torch.float64) <= LIMIT  # False for NaN
    return torch.where(good, ratio, 0).to(torch.int32), torch.where(good, threshold, torch.nan)


def group_sums(counts: Tensor, packed: PackedWeight, mode: str) -> Iterator[Tensor]:
    """The sum over the inputs of each group of s w, (tokens, out) in float64.

    Arguments:
        counts: (tokens, in) whole numbers.
        packed: the weight.
        mode: "int" multiplies all of them, "event" those of each token that are not 0, "expand" goes through the bits
            of |s|, each a plane of -1, 0 and 1.
    """
    for s, w in zip(counts.split(packed.group, 1), packed.integers().split(packed.group, 1), strict=True):
        s, w = s.to(torch.int64), w.to(torch.float64)
        if mode == "expand":
            yield _expanded(s, w)
        elif mode == "event":
            sums = [w[:, row != 0] @ row[row != 0].to(w.dtype) for row in s]
            yield torch.stack(sums) if sums else w.new_zeros(0, len(w))
        else:
            yield s.to(w.dtype) @ w.t()


def _expanded(s: Tensor, w: Tensor) -> Tensor:
    total, sign, rest, worth = w.new_zeros(len(s), len(w)), s.sign(), s.abs(), 1
    while rest.any():
        total += worth * ((rest % 2 * sign).to(w.dtype) @ w.t())
        rest, worth = rest // 2, worth * 2
    return total


def sums(counts: Tensor, packed: PackedWeight, mode: str) -> Tensor:
    """The sums of `group_sums`, (tokens, groups, out) int32."""
    return torch.stack([sums.to(torch.int32) for sums in group_sums(counts, packed, mode)], 1)


def linear(counts: Tensor, threshold: Tensor, packed: PackedWeight, bias: Tensor | None, mode: str) -> Tensor:
    """y[o] = V_th * sum over g, in order, of scale[o, g] * group sum + bias[o], in float32: (tokens, out)."""
    total = threshold.new_zeros(len(counts), packed.shape[0])
    for scale, sums in zip(packed.scale().unbind(1), group_sums(counts, packed, mode), strict=True):
        total += scale * sums.to(torch.float32)
    y = threshold * total
    return y if bias is None else y + bias


def input_gradient(grad: Tensor, packed: PackedWeight) -> Tensor:
    """dx = dy W with W as the codes stand for it: (tokens, in)."""
    return grad @ packed.unpack()
