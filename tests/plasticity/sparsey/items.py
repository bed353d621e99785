"""Items of a few features, and what a memory holds."""

from __future__ import annotations

import torch

from spiking.plasticity.sparsey import Sparsey


def item(*active: int, inputs: int = 144) -> torch.Tensor:
    x = torch.zeros(inputs, dtype=torch.bool)
    x[list(active)] = True
    return x


def weights(memory: Sparsey) -> list[torch.Tensor]:
    return [level.weight.clone() for level in memory.levels]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
