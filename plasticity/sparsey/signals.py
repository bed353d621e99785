"""Signals: what macs hear, codes of others along wires, and what they see of a frame, as words of bits."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spiking.kernels.csa import pack


class Codes(NamedTuple):
    """The state of a level for B items.

    Attributes:
        winners: (B, M, Q) int32, -1 for macs that are not active.
        bits: (B, M, words) int32, the same as bits; 0 where the mac is not active.
        age: (B, M) frames for which the code has been held; 0 for macs that are not active.
        worth: (B, M) what the code is worth to others, F(zeta).
        familiarity: (B, M) G, of the time when the code was chosen.
    """

    winners: Tensor
    bits: Tensor
    age: Tensor
    worth: Tensor
    familiarity: Tensor


class Signal(NamedTuple):
    """Words (B, M, W) of one source, and what they are worth, (B, M, W) or `None` for 1."""

    words: Tensor
    worth: Tensor | None = None


class Wires(NamedTuple):
    """Places (M, n) that macs hear, 0 for none, and which there are; `None` is all."""

    place: Tensor
    there: Tensor | None


def there_are(which: Tensor) -> Tensor:
    """(M,) how many of a mac's features or macs there are; -1 is none."""
    return (which >= 0).sum(1).cpu()


def wired(wires: dict[str, Tensor | None]) -> dict[str, Wires]:
    """Wires by name from places, -1 for none."""
    return {
        name: Wires(which.clamp(min=0), None if bool((which >= 0).all()) else which >= 0)
        for name, which in wires.items() if which is not None
    }  # fmt: skip


def gather(codes: Codes, wires: Wires, weigh: bool) -> Signal:
    """The codes of other macs as one source."""
    bits = codes.bits[:, wires.place]
    if wires.there is not None:
        bits = torch.where(wires.there[None, :, :, None], bits, 0)
    if not weigh:
        return Signal(bits.flatten(2))
    worth = codes.worth[:, wires.place][..., None].expand(bits.shape)
    return Signal(bits.flatten(2), worth.flatten(2).contiguous())


def active_below(codes: Codes, wires: Wires) -> Tensor:
    """(B, M) how many macs of each field are active."""
    active = (codes.age > 0)[:, wires.place]
    return (active if wires.there is None else active & wires.there).sum(2)


def seen(frames: Tensor, wires: Wires, off: bool) -> tuple[dict[str, Tensor], Tensor]:
    """Words of U, and of O with off cells, of a first level and the number of active features, from frames (..., N)."""
    place, there = wires
    on = frames[..., place]
    on = on if there is None else on & there
    found = {"U": pack(on)}
    if off:
        found["O"] = pack(~on if there is None else ~on & there)
    return found, on.sum(-1)
