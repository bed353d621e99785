"""Exact expansions of integer spike counts in virtual time, s = sum_t weight_t spike_t.

    code              spikes     weight_t    steps T for counts up to m
    binary            {0, 1}     1           m                           counts of at least 0 only
    ternary           {-1, 0, 1} 1           m                           the neuron of eq. 20, one spike a step
    bitwise           {0, 1}     2^t         bits of m                   counts of at least 0 only
    bitwise-ternary   {-1, 0, 1} 2^t         bits of m                   the published one: bits of |s| with its sign
    twos-complement   {0, 1}     2^t, the    bits of m, and one          the last step carries the sign
                                 last -2^t

Pan et al. 2025 (SpikingBrain), section 3.3 and eq. 23. One outlier makes a binary or ternary train hundreds of steps
long; that is what the bits are for. A product with weights distributes: sum_t weight_t (W spike_t) = W s, in integers
bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CODES = ("binary", "ternary", "bitwise", "bitwise-ternary", "twos-complement")


@dataclass(frozen=True)
class Train:
    """Spikes over virtual time.

    Attributes:
        spikes: (T, ..., n) int8, of {0, 1} or {-1, 0, 1}.
        weight: (T,) int64, what a spike of each step counts.
    """

    spikes: Tensor
    weight: Tensor

    def counts(self) -> Tensor:
        """The integers again, (..., n) int32."""
        total = torch.zeros(self.spikes.shape[1:], dtype=torch.int64, device=self.spikes.device)
        for spikes, weight in zip(self.spikes, self.weight.tolist(), strict=True):
            total += weight * spikes.long()
        return total.to(torch.int32)

    @property
    def firing_rate(self) -> float:
        """Spikes of either sign per channel and step."""
        return float(self.spikes.count_nonzero()) / max(self.spikes.numel(), 1)


def expand(counts: Tensor, code: str = "bitwise-ternary", steps: int | None = None) -> Train:
    """Spell integer counts as a train of spikes.

    Arguments:
        counts: (..., n) integers.
        code: one of `CODES`.
        steps: T; `None` takes as many as the largest count needs.

    Returns:
        The train, (T, ..., n); its memory grows with T, which for "binary" and "ternary" is the largest count.

    Raises:
        TypeError: if `counts` are no integers.
        ValueError: naming the argument; a code without signs refuses negative counts.
    """
    if not isinstance(counts, Tensor) or counts.is_floating_point() or counts.is_complex():
        raise TypeError(f"counts: expected integers, got {getattr(counts, 'dtype', type(counts).__name__)}")
    if code not in CODES:
        raise ValueError(f"code: expected one of {', '.join(CODES)}, got {code!r}")
    counts = counts.long()
    low, high = (int(counts.min()), int(counts.max())) if counts.numel() else (0, 0)
    if low < 0 and code in ("binary", "bitwise"):
        raise ValueError(f"counts: {code} has no sign, got {low}; take bitwise-ternary or twos-complement")
    needed = _steps(code, low, high)
    steps = needed if steps is None else steps
    if steps < needed:
        raise ValueError(f"steps: counts from {low} to {high} need {needed} in {code}, got {steps}")
    t = torch.arange(steps, device=counts.device).view(-1, *[1] * counts.ndim)
    if code in ("binary", "ternary"):
        return Train((t < counts.abs()).to(torch.int8) * counts.sign().to(torch.int8), torch.ones_like(t).flatten())
    weight = 2 ** t.flatten()
    if code == "twos-complement":
        if steps:
            weight[-1] = -weight[-1]
        return Train(((counts >> t) & 1).to(torch.int8), weight)
    return Train(((counts.abs() >> t) & 1).to(torch.int8) * counts.sign().to(torch.int8), weight)


def _steps(code: str, low: int, high: int) -> int:
    largest = max(high, -low)
    if code in ("binary", "ternary"):
        return largest
    if code == "twos-complement":
        return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + 1
    return largest.bit_length()
