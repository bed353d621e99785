"""Bounds on firing rates, as penalties of each sample.

With r_bn the rate of neuron n in sample b (Hz) and N neurons in a layer, summed over layers:

    lower_b = 1/N sum_n (max(0, lower - r_bn) / lower)^2          no neuron should fall silent
    upper_b = (max(0, 1/N sum_n r_bn - upper) / upper)^2          the population should stay sparse

after Zenke & Vogels 2021 and Rossbroich, Gygax & Zenke 2022 (a lower bound for each neuron, an upper bound for the
population). Every term belongs to one sample, so that their mean splits over the processes of distributed training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RateBounds:
    """Wanted firing rates and how strongly.

    Arguments:
        lower: Hz, for each neuron.
        upper: Hz, for a layer's mean.
        lower_strength, upper_strength: factors of the two penalties in the loss; 0 leaves one out.

    Raises:
        ValueError: naming the argument that is negative, or a bound of 0 with a strength.
    """

    lower: float = 1.0
    upper: float = 50.0
    lower_strength: float = 0.0
    upper_strength: float = 0.0

    def __post_init__(self) -> None:
        for name in ("lower", "upper"):
            bound, strength = getattr(self, name), getattr(self, f"{name}_strength")
            if strength < 0:
                raise ValueError(f"{name}_strength: expected at least 0, got {strength}")
            if bound < 0 or (strength and not bound):
                raise ValueError(f"{name}: expected a rate above 0 Hz, got {bound}")

    @property
    def active(self) -> bool:
        """Whether any penalty counts."""
        return bool(self.lower_strength or self.upper_strength)

    def __call__(self, spikes: Sequence[Tensor], lengths: Tensor, dt: float) -> Tensor:
        """The penalties of each sample.

        Arguments:
            spikes: of each layer, (T, B, N) or (T, B, ...).
            lengths: (B,) valid steps.
            dt: step in ms.

        Returns:
            (B,).
        """
        total = torch.zeros(lengths.shape[0], device=lengths.device)
        seconds = lengths.clamp(min=1) * (dt / 1000)
        for layer in spikes:
            rate = layer.flatten(2).sum(0) / seconds[:, None]
            if self.lower_strength:
                low = ((self.lower - rate).clamp(min=0) / self.lower).square().mean(1)
                total = total + self.lower_strength * low
            if self.upper_strength:
                high = ((rate.mean(1) - self.upper).clamp(min=0) / self.upper).square()
                total = total + self.upper_strength * high
        return total
