"""The adaptive-threshold integer code: a vector becomes spike counts and one threshold.

An integrate-and-fire neuron without leak and with a soft reset receives x at once and fires until its potential lies
within half a threshold of 0 (Pan et al. 2025, SpikingBrain, eqs. 19-22):

    V_th = mean|x| / k      over the last dimension: for each token
    s    = round(x / V_th)  spike counts with sign, halves to even
    x^   = V_th s           decoding; its gradient is that of x (straight-through)

mean |s| is about k by construction. `limit` is the policy where a count must fit a storage type: counts beyond it are
cut; without it outliers are kept exactly, as longer bursts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spiking.coding.expand import Train, expand
from spiking.coding.stats import Stats

SMALLEST, LARGEST = 1e-5, 1e4  # bounds of the threshold in the published code


@dataclass(frozen=True)
class Code:
    """Spike counts of a tensor and what one spike is worth.

    Attributes:
        counts: (..., n) int32, spikes with sign.
        threshold: (..., 1), the value of one spike; float32, or float64 for a source in it.
        source: (..., n), what was coded.
    """

    counts: Tensor
    threshold: Tensor
    source: Tensor

    def decode(self) -> Tensor:
        """V_th s, (..., n) in the dtype of the source, with the gradient of the identity."""
        value = (self.counts * self.threshold).to(self.source.dtype)
        return self.source + (value - self.source).detach() if self.source.requires_grad else value

    def expand(self, code: str = "bitwise-ternary", steps: int | None = None) -> Train:
        """The counts as a train over virtual time; see `spiking.coding.expand`."""
        return expand(self.counts, code, steps)

    def stats(self) -> Stats:
        """Statistics of the counts."""
        return Stats.of(self.counts)


def adaptive(x: Tensor, k: float = 3.0, limit: int | None = None) -> Code:
    """Code each vector along the last dimension as integer spike counts.

    Arguments:
        x: (..., n) real numbers, n >= 1.
        k: mean spikes a channel; the larger, the finer.
        limit: counts are cut to [-limit, limit]; `None` keeps every outlier exactly.

    Returns:
        The counts, the threshold of each vector and the source.

    Raises:
        TypeError: if `x` is no floating-point tensor.
        ValueError: naming the argument that is not finite or outside its range.

    Source: Pan et al. 2025 (SpikingBrain), eqs. 19-22.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(f"x: expected a floating-point tensor, got {getattr(x, 'dtype', type(x).__name__)}")
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"x: expected (..., n) with n >= 1, got {tuple(x.shape)}")
    if not 0 < k < float("inf"):
        raise ValueError(f"k: expected a positive number, got {k}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit: expected at least 1, got {limit}")
    wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    threshold = (wide.abs().mean(-1, keepdim=True) / k).clamp(SMALLEST, LARGEST)
    ratio = (wide / threshold).round()
    top = float(limit) if limit is not None else float(2**31 - 129)  # the largest float32 below 2^31
    if limit is None and bool((ratio.abs() > top).any()):
        raise ValueError(f"x: {float(wide.abs().max()):g} would need more than 2^31 spikes; give a limit")
    if not bool(wide.isfinite().all()):
        raise ValueError("x: expected finite numbers, got NaN or infinity")
    return Code(ratio.clamp(-top, top).to(torch.int32), threshold, x)
