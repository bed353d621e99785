"""Receptive fields: which features, or which macs, a mac sees."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from spiking.plasticity.arguments import whole


def tiles(shape: tuple[int, int], size: tuple[int, int], step: tuple[int, int]) -> Tensor:
    """Windows on a grid of features or macs.

    Arguments:
        shape: rows and columns of the grid.
        size: rows and columns of a window.
        step: from a window to the next, down and to the right.

    Returns:
        (windows, size) long, the places in the grid counted row by row.

    Raises:
        ValueError: naming the argument that does not fit, such as a window larger than the grid.
    """
    shape = _grid(shape)
    for name, given in (("size", size), ("step", step)):
        for axis, own, most in zip(("rows", "columns"), given, shape, strict=True):
            whole(f"{name}: {axis}", own, 1, most)
    grid = torch.arange(shape[0] * shape[1]).view(shape)
    return grid.unfold(0, size[0], step[0]).unfold(1, size[1], step[1]).reshape(-1, size[0] * size[1])


def around(shape: tuple[int, int], reach: int = 0) -> Tensor:
    """Each mac of a grid and its neighbours, itself first; -1 where the grid ends.

    Arguments:
        shape: rows and columns of macs.
        reach: how far neighbours are, in rows and in columns; 0 is the mac alone.

    Returns:
        (macs, neighbours) long.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    reach = whole("reach", reach, 0)
    shape = _grid(shape)
    padded = torch.full((shape[0] + 2 * reach, shape[1] + 2 * reach), -1)
    padded[reach : reach + shape[0], reach : reach + shape[1]] = torch.arange(shape[0] * shape[1]).view(shape)
    side = 2 * reach + 1
    found = padded.unfold(0, side, 1).unfold(1, side, 1).reshape(-1, side * side)
    middle = side * side // 2
    order = [middle, *(k for k in range(side * side) if k != middle)]
    return found[:, order].contiguous()


def widen(frames: Tensor, shape: tuple[int, int]) -> Tensor:
    """Cells that see a pixel and the four beside it: on where one of them is.

    Arguments:
        frames: (..., rows columns) bool.
        shape: rows and columns.

    Returns:
        the same shape, bool.

    Raises:
        ValueError: if they are no such frames.
    """
    if frames.dtype != torch.bool or frames.shape[-1] != shape[0] * shape[1]:
        raise ValueError(
            f"frames: expected bool (..., {shape[0] * shape[1]}), got {frames.dtype} {tuple(frames.shape)}"
        )
    image = frames.reshape(-1, 1, *shape).float()
    wide = torch.maximum(max_pool2d(image, (3, 1), 1, (1, 0)), max_pool2d(image, (1, 3), 1, (0, 1)))
    return (wide > 0).reshape(frames.shape)


def _grid(shape: tuple[int, int]) -> tuple[int, int]:
    return whole("shape: rows", shape[0], 1), whole("shape: columns", shape[1], 1)
