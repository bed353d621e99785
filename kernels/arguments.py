"""What the ops demand of a tensor before they look at its shape, and the precision in which they compute decays."""

from __future__ import annotations

from numbers import Real
from typing import Any

import torch
from torch import Tensor

from spiking.kernels.sparse_linear.weight import SparseWeight


def floating(name: str, x: Any, device: torch.device, movable: bool = False) -> None:
    """Raise unless a tensor or sparse weight holds floats and lies where the input does, or on a CPU if movable.

    Raises:
        TypeError, ValueError: naming the argument.
    """
    if isinstance(x, SparseWeight):
        x = x.values
    _tensor(name, x)
    if not x.is_floating_point():
        raise ValueError(f"{name}: expected floating numbers, got {x.dtype}")
    if x.device != device and not (movable and x.device.type == "cpu"):
        raise ValueError(f"{name}: expected a tensor on {device}, where x lies, got {x.device}")


def number(name: str, x: Any, size: int, device: torch.device) -> None:
    """Raise unless x is a number, or a tensor of one or (size,) that may still be moved to the device.

    Raises:
        TypeError, ValueError: naming the argument.
    """
    if isinstance(x, Tensor):
        floating(name, x, device, movable=True)
        if x.ndim > 1 or x.numel() not in (1, size):
            raise ValueError(f"{name}: expected a number or ({size},), got {tuple(x.shape)}")
    elif not isinstance(x, Real):
        raise TypeError(f"{name}: expected a number or a tensor, got {type(x).__name__}")


def whole(name: str, x: Any, size: int) -> None:
    """Raise unless x is a tensor (size,) of integers.

    Raises:
        TypeError, ValueError: naming the argument.
    """
    _tensor(name, x)
    if x.shape != (size,):
        raise ValueError(f"{name}: expected ({size},), got {tuple(x.shape)}")
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise ValueError(f"{name}: expected integers, got {x.dtype}")


def widened(x: Tensor) -> Tensor:
    """The same numbers in float32 at least: bfloat16 has none between 1 - 1/256 and 1, where slow decays lie."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _tensor(name: str, x: Any) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(x).__name__}")
