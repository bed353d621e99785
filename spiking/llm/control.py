"""What a spiking model is compared with: plain quantised activations on the very same int8 weights.

    q = round(x / c) c,    c = max|x| / (2^(bits-1) - 1) for each token

`exchanged` swaps what the weights of a spiking model do for the length of a `with` block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from spiking.llm.config import SpikeConfig
from spiking.llm.weight import Matrices, SpikeWeight


@dataclass(frozen=True, eq=False)
class Plain(Matrices):
    """A weight that multiplies activations, not spikes.

    Arguments:
        bits: of the activations, per-token absmax; 0 leaves them as they are.
    """

    bits: int = 0

    def product(self, x: Tensor, expert: int = 0, bias: Tensor | None = None) -> Tensor:
        """(..., out): activations times the decoded weight."""
        if self.bits:
            top = 2 ** (self.bits - 1) - 1
            step = (x.abs().amax(-1, keepdim=True) / top).clamp(min=torch.finfo(torch.float32).tiny)
            x = (x / step).round() * step
        return torch.nn.functional.linear(x, self.decoded(expert).to(x.dtype), bias)


def weights_of(model: torch.nn.Module) -> dict[str, SpikeWeight]:
    """The spike weights of a model, each once, by the name that `spike_` gave it."""
    return {p.matrices.name: p for p in model.parameters() if isinstance(p, SpikeWeight)}


@contextmanager
def exchanged(model: torch.nn.Module, change: Callable[[str, Matrices], Matrices]) -> Iterator[None]:
    """Let every spike weight of a model do something else inside the block.

    Arguments:
        model: after `spike_`.
        change: from a weight's name and matrices to those that take their place.
    """
    found = weights_of(model)
    before = {name: weight.matrices for name, weight in found.items()}
    try:
        for name, weight in found.items():
            weight.matrices = change(name, before[name])
        yield
    finally:
        for name, weight in found.items():
            weight.matrices = before[name]


def plain(bits: int = 0) -> Callable[[str, Matrices], Matrices]:
    """For `exchanged`: activations of so many bits, or untouched ones, on the same weights."""

    def change(name: str, matrices: Matrices) -> Matrices:
        shared = {field.name: getattr(matrices, field.name) for field in fields(Matrices) if field.init}
        return Plain(**shared, bits=bits)

    return change


def spikes(k: float | Mapping[str, float]) -> Callable[[str, Matrices], Matrices]:
    """For `exchanged`: spikes with another k, one for all or one for each name."""

    def change(name: str, matrices: Matrices) -> Matrices:
        config: SpikeConfig = replace(matrices.config, k=k[name] if isinstance(k, Mapping) else k)
        return replace(matrices, config=config)

    return change
