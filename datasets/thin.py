"""Binary images thinned to lines of one pixel.

Zhang & Suen 1984, "A fast parallel algorithm for thinning digital patterns". With the eight neighbours p2 (above) to
p9 (left above) clockwise, B of them set and A changes from 0 to 1 on the way round, a pixel goes if

    2 <= B <= 6,  A = 1,  p2 p4 p6 = 0 and p4 p6 p8 = 0       and in the next pass  p2 p4 p8 = 0 and p2 p6 p8 = 0

until no pixel goes. Every pass looks up the neighbourhoods of all pixels in a table of 256.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from spiking.kernels.jit import jit, spread

Array = np.ndarray[Any, Any]
SHARE = 256  # images of one task
LEVEL = 100  # of 255, above which a pixel is part of a stroke


def _table(passing: int) -> Array:
    """(256,) whether a pixel goes, by its neighbours p2 (bit 0) to p9 (bit 7)."""
    p = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = ((p == 0) & (np.roll(p, -1, 1) == 1)).sum(1)
    up, right, down, left = p[:, 0], p[:, 2], p[:, 4], p[:, 6]
    first = (up * right * down == 0) & (right * down * left == 0)
    second = (up * right * left == 0) & (up * down * left == 0)
    count = p.sum(1)
    return (count >= 2) & (count <= 6) & (changes == 1) & (second if passing else first)


TABLES = np.stack([_table(0), _table(1)])
AROUND = np.array([[-1, 0], [-1, 1], [0, 1], [1, 1], [1, 0], [1, -1], [0, -1], [-1, -1]])


@jit
def _task(task, share, images, tables, around):
    H, W = images.shape[1], images.shape[2]
    goes = np.empty((H, W), np.bool_)
    for i in range(task * share, min((task + 1) * share, len(images))):
        image = images[i]
        quiet, passing = 0, 0
        while quiet < 2:
            any_goes = False
            for y in range(1, H - 1):
                for x in range(1, W - 1):
                    goes[y, x] = False
                    if image[y, x]:
                        ring = 0
                        for k in range(8):
                            ring |= image[y + around[k, 0], x + around[k, 1]] << k
                        goes[y, x] = tables[passing, ring]
                        any_goes = any_goes or goes[y, x]
            for y in range(1, H - 1):
                for x in range(1, W - 1):
                    if goes[y, x]:
                        image[y, x] = 0
            quiet = 0 if any_goes else quiet + 1
            passing = 1 - passing


def thin(images: Array) -> Array:
    """Lines of one pixel in place of strokes.

    Arguments:
        images: (n, height, width) bool.

    Returns:
        the same shape, bool.

    Raises:
        ValueError: if they are no such array.
    """
    if images.ndim != 3 or images.dtype != bool:
        raise ValueError(f"images: expected bool (n, height, width), got {images.dtype} {images.shape}")
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1))).astype(np.int64)
    spread(_task, -(-len(images) // SHARE), SHARE, padded, TABLES, AROUND)
    return padded[:, 1:-1, 1:-1].astype(bool)


def strokes(images: Array, height: int = 24, width: int = 16) -> Array:
    """MNIST-like images binarised and thinned: their inner 20 x 20 pixels, where the digits are, in another size.

    Arguments:
        images: (n, 28, 28) bytes.
        height, width: of the result, pixels.

    Returns:
        (n, height, width) bool.

    Raises:
        ValueError: if they are no such images.
    """
    if images.ndim != 3 or images.shape[1:] != (28, 28) or images.dtype != np.uint8:
        raise ValueError(f"images: expected bytes (n, 28, 28), got {images.dtype} {images.shape}")
    found = []
    for part in torch.from_numpy(images[:, 4:24, 4:24].copy()).split(10_000):
        grey = interpolate(part[:, None].float(), (height, width), mode="bilinear", antialias=True)
        found.append(thin((grey[:, 0] > LEVEL).numpy()))
    return np.concatenate(found)
