"""How sparse a spike code is, each figure with its definition.

SpikingBrain's report gives 1.13 spikes a channel and 69.15 % sparsity in a window of 3 bits without saying over which
channels; 1 - 1.13/3 is 62.3 %, so the first is most plausibly per active channel. Here every figure says it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Stats:
    """Histograms of spike counts and what follows from them; histograms of several batches add with `+`.

    Attributes:
        positive: (m,) how many channels have count 0, 1, 2, ...
        negative: (m,) how many have count -0 (none), -1, -2, ...
    """

    positive: Tensor
    negative: Tensor

    @classmethod
    def of(cls, counts: Tensor) -> Stats:
        """The histograms of a tensor of integers of any shape."""
        counts = counts.detach().flatten().cpu()
        below = counts < 0
        bins = int(counts.abs().max()) + 1 if counts.numel() else 1
        return cls(
            torch.bincount(counts[~below], minlength=bins), torch.bincount(counts[below].neg(), minlength=bins)
        )

    def __add__(self, other: Stats) -> Stats:
        bins = max(len(self.positive), len(other.positive))
        one, two = (
            [torch.nn.functional.pad(h, (0, bins - len(h))) for h in (stats.positive, stats.negative)]
            for stats in (self, other)
        )
        return Stats(one[0] + two[0], one[1] + two[1])

    @property
    def magnitude(self) -> Tensor:
        """(m,) how many channels have |s| = 0, 1, 2, ..."""
        return self.positive + self.negative

    @property
    def channels(self) -> int:
        """Channels counted, over all vectors."""
        return int(self.magnitude.sum())

    def _mean(self, value: Tensor, of: Tensor | None = None) -> float:
        weight = self.magnitude if of is None else of
        return float((value * weight).sum() / weight.sum().clamp(min=1))

    def _sizes(self) -> Tensor:
        return torch.arange(len(self.magnitude), dtype=torch.float64)

    def _bits(self) -> Tensor:
        """(m,) ones in the binary form of 0, 1, 2, ..."""
        sizes = torch.arange(len(self.magnitude))
        return sum((((sizes >> bit) & 1) for bit in range(32)), torch.zeros_like(sizes)).double()

    @property
    def silent(self) -> float:
        """Share of channels with s = 0."""
        return float(self.magnitude[0]) / max(self.channels, 1)

    @property
    def mean_count(self) -> float:
        """Mean |s|: the spikes a channel fires in the ternary code."""
        return self._mean(self._sizes())

    @property
    def spikes(self) -> float:
        """Ones in the binary form of |s|, mean over all channels: the spikes fired in the bitwise-ternary code."""
        return self._mean(self._bits())

    @property
    def spikes_per_active(self) -> float:
        """The same, mean over the channels that are not silent."""
        return self.spikes / (1 - self.silent) if self.silent < 1 else 0.0

    def within(self, window: int = 3) -> float:
        """Share of channels with |s| < 2^window."""
        return float(self.magnitude[: 2**window].sum()) / max(self.channels, 1)

    def slot_sparsity(self, window: int = 3) -> float:
        """Share of empty bit slots, `window` slots a channel, over the channels with |s| < 2^window."""
        return 1 - self._mean(self._bits()[: 2**window], self.magnitude[: 2**window]) / window

    @property
    def effective_bits(self) -> float:
        """Entropy of the signed counts in bits: what a channel would take if it were coded without waste."""
        share = torch.cat([self.positive, self.negative]).double() / max(self.channels, 1)
        return float(torch.special.entr(share).sum() / torch.log(torch.tensor(2.0, dtype=torch.float64)))

    @property
    def largest(self) -> int:
        """The largest |s|: steps of virtual time in the ternary code."""
        active = self.magnitude.nonzero()
        return int(active[-1]) if len(active) else 0

    @property
    def steps(self) -> int:
        """T, steps of virtual time in the bitwise-ternary code."""
        return self.largest.bit_length()

    def saturated(self, limit: int = 127) -> float:
        """Share of channels with |s| > limit, which a storage type of that range would cut."""
        return float(self.magnitude[limit + 1 :].sum()) / max(self.channels, 1)

    def summary(self, window: int = 3, limit: int = 127) -> dict[str, float]:
        """Every figure by its name."""
        return {
            "channels": self.channels, "silent": self.silent, "mean_count": self.mean_count, "spikes": self.spikes,
            "spikes_per_active": self.spikes_per_active, f"slot_sparsity_{window}": self.slot_sparsity(window),
            f"within_{window}": self.within(window), "effective_bits": self.effective_bits, "steps": self.steps,
            "largest": self.largest, "saturated": self.saturated(limit),
        }  # fmt: skip
