"""Rows padded to 16 columns: how tensors are laid out for the Triton kernels.

A kernel is compiled once for a power of two of columns, not for each N, and still reads 16 bytes at a time: it is given
N / 16, multiplies by 16 itself, and so knows that every row starts on a boundary. Tensors whose N is a multiple of 16
(and whose first element is aligned) pass as they are; others are copied, which a choice of N avoids.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

WIDTH = 16
ALIGNMENT = 16
BLOCK = 128

# How every kernel is launched. One warp: sums over events and time stay inside a thread and no warp waits for another.
# Multiplication and addition stay two roundings, as in PyTorch, so that a spike is decided on the same number.
OPTIONS = {"num_warps": 1, "enable_fp_fusion": False}


def wide(columns: int) -> int:
    """The number of columns after padding."""
    return -(-columns // WIDTH) * WIDTH


def block(columns: int) -> int:
    """Columns of one program: the power of two that holds them, at least 16 and at most 128."""
    return min(BLOCK, max(WIDTH, 1 << (max(columns, 1) - 1).bit_length()))


def pad(x: Tensor, columns: int | None = None) -> Tensor:
    """x with zeros appended to its last axis, contiguous and aligned; x itself where it is so already.

    Arguments:
        x: (..., N).
        columns: wanted instead of N; `None` is the next multiple of 16.
    """
    if columns is None and x.shape[-1] % WIDTH == 0 and x.is_contiguous() and x.data_ptr() % ALIGNMENT == 0:
        return x
    missing = (wide(x.shape[-1]) if columns is None else columns) - x.shape[-1]
    if missing:
        return torch.nn.functional.pad(x, (0, missing))
    x = x.contiguous()
    return x.clone() if x.data_ptr() % ALIGNMENT else x


def cut(x: Tensor, columns: int) -> Tensor:
    """The first columns of x, contiguous: the inverse of `pad`."""
    return x if x.shape[-1] == columns else x[..., :columns].contiguous()


def check(device: torch.device) -> None:
    """Refuse tensors that no Triton kernel can reach.

    Raises:
        ValueError: if the device is a CPU and kernels are not interpreted.
    """
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError("backend: 'triton' needs tensors on a GPU (or TRITON_INTERPRET=1 before the start), got cpu")
