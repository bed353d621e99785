"""Binary vectors as words of 32 bits: feature j is bit j % 32 of word j // 32, as NumPy's little bit order has it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

WORD = 32


def words(features: int) -> int:
    """How many words hold so many features."""
    return -(-features // WORD)


def pack(x: Tensor) -> Tensor:
    """Bits as words.

    Arguments:
        x: (..., n) bool.

    Returns:
        (..., words(n)) int32.

    Raises:
        ValueError: if they are no bits.
    """
    if x.dtype != torch.bool or not x.ndim:
        raise ValueError(f"x: expected bool (..., n), got {x.dtype} {tuple(x.shape)}")
    n = x.shape[-1]
    if x.device.type == "cpu":
        some = np.packbits(x.contiguous().numpy(), axis=-1, bitorder="little")
        room = np.zeros((*x.shape[:-1], 4 * words(n)), np.uint8)
        room[..., : some.shape[-1]] = some
        return torch.from_numpy(room.view("<i4"))
    full = torch.nn.functional.pad(x, (0, words(n) * WORD - n)).unflatten(-1, (-1, WORD))
    return (full.long() << torch.arange(WORD, device=x.device)).sum(-1).to(torch.int32)


def unpack(x: Tensor, features: int) -> Tensor:
    """Words as bits.

    Arguments:
        x: (..., w) int32.
        features: n, up to 32 w.

    Returns:
        (..., n) bool.

    Raises:
        ValueError: if they are no such words, or too few.
    """
    if x.dtype != torch.int32 or not x.ndim or not 0 <= features <= WORD * x.shape[-1]:
        raise ValueError(f"x: expected int32 (..., {words(features)} or more), got {x.dtype} {tuple(x.shape)}")
    bits = (x[..., None] >> torch.arange(WORD, dtype=torch.int32, device=x.device)) & 1
    return bits.flatten(-2)[..., :features].bool()
