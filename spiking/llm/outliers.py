"""Channels that are always loud get a threshold of their own.

V_th = mean|x| / k follows the mean of all channels: a few that are ten times as loud raise it for all the others, and
spend most of the spikes. If channel c has the threshold f_c V_th, it fires |x_c| / (f_c V_th) spikes and adds an error
of f_c^2 V_th^2 |w_c|^2 / 12 to the output. For a given number of spikes the sum of errors is least where

    f_c^3 ~ |x_c| / |w_c|^2

so with columns of the weight about as long as each other the threshold goes with the cube root of the magnitude. Here
channels whose mean magnitude over a text is more than `factor` times the median channel's take f_c, the cube root of
that ratio; the others keep 1. The weight is packed with column c times f_c: x W^T = (x / f) (f W)^T. SmoothQuant (Xiao
et al. 2023) moves magnitudes between activations and weights in the same way.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spiking.llm.activity import Layer, activity
from spiking.llm.control import exchanged, plain

FACTOR = 8.0
MOST = 0.1  # share of channels: beyond it loud is what is usual


def outliers(layer: Layer, factor: float = FACTOR) -> tuple[tuple[int, float], ...]:
    """The loud channels of a weight's input, as SpikeConfig takes them.

    Arguments:
        layer: from `activity`.
        factor: how many times the median channel is loud.

    Returns:
        ((channel, f_c), ...), rising; none if more than a tenth of the channels are.

    Raises:
        ValueError: if factor is not above 1.
    """
    if not factor > 1:
        raise ValueError(f"factor: expected more than 1, got {factor}")
    usual = float(layer.magnitude.median())
    loud = (layer.magnitude > factor * usual).nonzero().flatten().tolist() if usual > 0 else []
    if len(loud) > MOST * len(layer.magnitude):
        return ()
    return tuple((c, round((float(layer.magnitude[c]) / usual) ** (1 / 3), 3)) for c in loud)


def find(
    model: Any, tokens: Tensor, factor: float = FACTOR, context: int = 256, progress: str | None = None
) -> dict[str, tuple[tuple[int, float], ...]]:
    """The outliers of every spike weight over a text, measured with plain activations.

    Arguments:
        model: after `spike_`; with weights=None it can be converted again with what is found.
        tokens: (n,) token numbers.
        factor: as for `outliers`.
        context, progress: as for `perplexity`.

    Returns:
        by the names of the weights.
    """
    with exchanged(model, plain(0)):
        layers, _ = activity(model, tokens, context, progress=progress)
    return {name: outliers(layer, factor) for name, layer in layers.items()}
