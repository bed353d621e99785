"""y = x W in plain PyTorch: the specification."""

from __future__ import annotations

from torch import Tensor

from spiking.events import Events


def event_linear(x: Events | Tensor, weight: Tensor) -> Tensor:
    """The product of a batch of spike trains with a weight matrix.

    Arguments:
        x: Events (T, B, in) or a dense (T, B, in).
        weight: (in, out).

    Returns:
        (T, B, out).
    """
    return (x.to_dense(weight.dtype) if isinstance(x, Events) else x) @ weight
