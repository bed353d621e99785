"""What the spikes of a converted model look like: statistics and synaptic operations of every weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spiking.coding import Stats
from spiking.kernels.spike_linear import encode
from spiking.llm.perplexity import Score, perplexity
from spiking.llm.weight import CLIP, Matrices, scaled, watching


@dataclass
class Layer:
    """The inputs of one spiking weight over a text.

    Attributes:
        stats: histograms of the spike counts of its input channels.
        out: outputs of the weight, the fan-out of every channel.
        tokens: vectors that went in.
        magnitude: (in,) mean |x| of each channel.
    """

    stats: Stats
    out: int
    tokens: int
    magnitude: Tensor

    @property
    def synops(self) -> float:
        """Additions per token if every spike of the bitwise-ternary code adds a row of the weight."""
        return self.stats.spikes * self.stats.channels / max(self.tokens, 1) * self.out

    @property
    def macs(self) -> float:
        """Multiply-accumulates per token of the product that the spikes stand for."""
        return self.stats.channels / max(self.tokens, 1) * self.out


@torch.no_grad()
def activity(
    model: Any, tokens: Tensor, context: int = 256, batch: int = 8, progress: str | None = None
) -> tuple[dict[str, Layer], Score]:
    """Run a spiking model over a text and count its spikes.

    Arguments:
        model: after `spike_`.
        tokens: (n,) token numbers.
        context, batch, progress: as for `perplexity`.

    Returns:
        the layers by the names of their weights, and the score of the text on the way.

    Raises:
        ValueError: as `perplexity`.
    """
    found: dict[str, Layer] = {}

    def watch(matrices: Matrices, operator: str, x: Tensor | None) -> None:
        if x is None:
            return
        counts, _ = encode(scaled(x, matrices.config, -1), matrices.config.k)
        if matrices.config.saturation == "clip":
            counts = counts.clamp(-CLIP, CLIP)
        flat = x.detach().float().abs().reshape(-1, x.shape[-1])
        new = Layer(Stats.of(counts), matrices.shape[-2], len(flat), flat.mean(0) if len(flat) else flat.sum(0))
        old = found.get(matrices.name)
        if old is not None:
            total = old.tokens + new.tokens
            mean = (old.magnitude * old.tokens + new.magnitude * new.tokens) / max(total, 1)
            new = Layer(old.stats + new.stats, new.out, total, mean)
        found[matrices.name] = new

    with watching(watch):
        score = perplexity(model, tokens, context, batch, progress=progress)
    return found, score
