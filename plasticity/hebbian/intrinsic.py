"""Intrinsic plasticity: a neuron moves its own threshold until it fires at a rate.

    h_t = h_{t-1} + lr (z_t - rate dt)

Lazar, Pipa & Triesch 2009 (SORN), after Triesch 2005, "A gradient rule for the plasticity of a neuron's intrinsic
excitability". Here lr and the bounds are in units of the way from reset to threshold before learning.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spiking.kernels.stdp import Homeostasis


class IntrinsicPlasticity:
    """Homeostasis of rates by thresholds.

    Arguments:
        rate: Hz, of each neuron.
        lr: rise of the threshold with a spike, a share of the way from reset to threshold.
        bounds: of that way, as multiples of what it was.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(self, rate: float = 10.0, lr: float = 0.001, bounds: tuple[float, float] = (0.2, 5.0)) -> None:
        for name, value in (("rate", rate), ("lr", lr)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise ValueError(f"{name}: expected a number above 0, got {value!r}")
        fits = isinstance(bounds, (tuple, list)) and [isinstance(b, (int, float)) for b in bounds] == [True, True]
        if not fits or not 0 < bounds[0] < bounds[1] < math.inf:
            raise ValueError(f"bounds: expected two numbers above 0, the second the larger, got {bounds!r}")
        self.rate, self.lr, self.bounds = rate, lr, bounds

    def homeostasis(self, threshold: float | Tensor, reset: float | Tensor = 0.0) -> Homeostasis:
        """What the op takes, for neurons with these thresholds and resets, a number or (N,) each."""
        bottom = torch.as_tensor(reset, dtype=torch.float64)
        way = torch.as_tensor(threshold, dtype=torch.float64) - bottom
        low, high = (bottom + share * way for share in self.bounds)
        return Homeostasis(self.rate, self.lr * way, low, high)

    def __repr__(self) -> str:
        return f"IntrinsicPlasticity(rate={self.rate:g}, lr={self.lr:g}, bounds={self.bounds})"
