"""What goes into a memory is binary, of the right size, and wakes at least one mac in every frame."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spiking.plasticity.sparsey.plan import LevelPlan


def array(given: Any, device: torch.device, name: str) -> Tensor:
    """What came as a tensor.

    Raises:
        ValueError: if it is none that has content.
    """
    if isinstance(given, (list, tuple)) and given and all(isinstance(row, Tensor) and row.ndim for row in given):
        raise ValueError(f"{name}: expected an array, got a {type(given).__name__} of tensors; torch.stack makes one")
    try:
        x = given if isinstance(given, Tensor) else torch.as_tensor(given)
        if x.device.type == "meta" or x.layout != torch.strided or x.is_complex():
            raise TypeError(f"{x.layout} {x.dtype} on {x.device}")
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected an array of numbers, got {type(given).__name__} ({error})") from error
    return x.to(device)


def frames(items: Any, inputs: int, device: torch.device, name: str = "item") -> Tensor:
    """Items as (S, T, N) bool.

    Arguments:
        items: (N,) one item, (T, N) a sequence or (S, T, N) sequences, of 0 and 1.
        inputs: N.
        device: where the memory lies.
        name: of the argument.

    Raises:
        ValueError: if they are not binary or of another size.
    """
    x = array(items, device, name)
    if not 1 <= x.ndim <= 3 or x.shape[-1] != inputs or not x.numel():
        raise ValueError(f"{name}: expected ({inputs},), (T, {inputs}) or (S, T, {inputs}), got {tuple(x.shape)}")
    if x.dtype != torch.bool:
        if not bool(((x == 0) | (x == 1)).all()):
            raise ValueError(
                f"{name}: expected 0 and 1, got {x.dtype} from {x.min().item():g} to {x.max().item():g}; binarise it "
                "first, such as item > item.float().mean()"
            )
        x = x.bool()
    return x.reshape((1,) * (3 - x.ndim) + tuple(x.shape))


def in_band(x: Tensor, plan: LevelPlan, name: str = "item") -> None:
    """Raise unless each frame (S, T, N) wakes a mac of the first level.

    Raises:
        ValueError: naming the frame, how many features are active in it and the band.
    """
    fields = plan.fields.to(x.device)
    low, high = plan.band
    wakes = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
    for part in fields:
        count = x[..., part[part >= 0]].sum(2)
        wakes |= (count >= low) & (count <= high)
    if not bool(wakes.all()):
        s, t = (~wakes).nonzero()[0].tolist()
        frame = f": frame {t}"
        place = name if x.shape[:2] == (1, 1) else f"{name}{frame}" if len(x) == 1 else f"{name} {s}{frame}"
        most = "any number" if high >= 1 << 30 else high
        raise ValueError(
            f"{place} has {int(x[s, t].sum())} active features, which wake no mac: expected {low} to {most} in a field"
        )
