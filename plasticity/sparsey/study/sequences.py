"""Random and correlated sequences of binary frames, and noise on them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spiking.plasticity.arguments import whole

KINDS = ("random", "correlated")


def sequences(
    count: int, frames: int = 10, inputs: int = 144, active: tuple[int, int] = (9, 12), lexicon: int | None = None,
    seed: int = 0,
) -> Tensor:
    """Sequences of frames with a random number of active features.

    Arguments:
        count, frames, inputs: S, T and N.
        active: least and most active features of a frame.
        lexicon: draw all frames, with replacement, from so many; `None` draws each anew.
        seed: of everything.

    Returns:
        (S, T, N) bool.

    Raises:
        ValueError: naming the argument that does not fit, such as fewer features than would be active.
    """
    for name, value in (("count", count), ("frames", frames), ("inputs", inputs)):
        whole(name, value, 1)
    if lexicon is not None:
        whole("lexicon", lexicon, 1)
    if not 0 < active[0] <= active[1] <= inputs:
        raise ValueError(f"active: expected 0 < least <= most <= {inputs}, got {active}")
    generator = torch.Generator().manual_seed(seed)
    size = count * frames if lexicon is None else lexicon
    order = torch.rand(size, inputs, generator=generator).argsort(1).argsort(1)
    many = torch.randint(active[0], active[1] + 1, (size, 1), generator=generator)
    drawn = order < many
    if lexicon is not None:
        drawn = drawn[torch.randint(lexicon, (count * frames,), generator=generator)]
    return drawn.view(count, frames, inputs)


def moved(x: Tensor, features: int, seed: int = 0) -> Tensor:
    """Frames in which so many active features, drawn at random, have moved to places that were not active.

    Arguments:
        x: (..., N) bool.
        features: how many, 0 or more; all where fewer are active.
        seed: of the draws.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    features = whole("features", features, 0)
    if x.dtype != torch.bool:
        raise ValueError(f"x: expected bool (..., N), got {x.dtype} {tuple(x.shape)}")
    generator = torch.Generator().manual_seed(seed)
    lot = torch.rand(x.shape, generator=generator)
    goes = x & (torch.where(x, lot, 2.0).argsort(-1).argsort(-1) < features)
    comes = ~x & (torch.where(x, 2.0, lot).argsort(-1).argsort(-1) < goes.sum(-1, keepdim=True))
    return (x & ~goes) | comes


def bits(inputs: int, active: tuple[int, int]) -> float:
    """The entropy of a frame of `sequences`: of the number of its active features, and of which they are."""
    counts = range(active[0], active[1] + 1)
    return math.log2(len(counts)) + sum(math.log2(math.comb(inputs, m)) for m in counts) / len(counts)
