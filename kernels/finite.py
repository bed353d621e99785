"""Whether numbers are finite, and where the first one is that isn't.

A sum is finite only if all its terms are: one pass over the memory, without a mask. On a GPU it costs a wait for all
work before it, so there only `check_finite=True` looks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

INPUTS, NEURONS, WEIGHTS = ("step", "sample", "input"), ("step", "sample", "neuron"), ("input", "neuron")

@torch.no_grad()
def demand(name: str, x: Any, *axes: str, error: type[Exception] = ValueError) -> None:
    """Raise unless a tensor holds finite numbers only.

    Arguments:
        name: what the tensor is called in the message.
        x: floating, any shape; anything else passes.
        axes: what the axes of x are called, such as "step", "sample", "neuron".
        error: ValueError for what was given, FloatingPointError for what was computed.

    Raises:
        error: naming the tensor, and the place of the first number in the order of the axes.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point() or math.isfinite(float(x.sum())):
        return
    bad = ~x.isfinite()
    count = int(bad.sum())
    if not count:  # the sum has left the range of its type
        return
    flat = int(bad.flatten().to(torch.uint8).argmax())
    place = [int(i) for i in torch.unravel_index(torch.tensor(flat), x.shape)]
    where = ", ".join(f"{axis} {i}" for axis, i in zip(axes, place, strict=False)) or f"{place}"
    raise error(f"{name}: expected finite numbers, got {float(x[tuple(place)]):g} at {where} (first of {count})")


def weights(**given: Tensor | None) -> None:
    """`demand` finite weights, (in, out) each, by name, where looking costs no wait."""
    for name, x in given.items():
        if x is not None and x.device.type == "cpu":
            demand(name, x, *WEIGHTS)


def watched(name: str, x: Any, *axes: str) -> Any:
    """The same tensor, whose gradient is demanded to be finite when it comes."""
    if not isinstance(x, Tensor) or not x.requires_grad:
        return x
    x = x.view_as(x)
    x.register_hook(lambda grad: demand(f"gradient of {name}", grad, *axes, error=FloatingPointError))
    return x


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Put the name of a part of a network before what it finds."""
    try:
        yield
    except FloatingPointError as error:
        raise FloatingPointError(f"{name}: {error}") from error
