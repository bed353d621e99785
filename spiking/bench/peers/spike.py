"""H(x) with the derivative of one of our surrogates, as libraries take a spike function of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spiking.kernels.surrogate import Surrogate, derivative


def spike_with(surrogate: Surrogate, inclusive: bool = False) -> Callable[[Tensor], Tensor]:
    """A function x -> z; with `inclusive` a neuron spikes at x = 0, too."""

    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return ((x >= 0) if inclusive else (x > 0)).to(x.dtype)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            return grad * derivative(surrogate, x)

    return Spike.apply
