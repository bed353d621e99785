"""Convolution event by event on CPUs, in Numba; op.py gives the equation, layout.py where a patch lands.

A frame is summed with its output channels last, in a scratch that the cache holds, so that a patch is a few runs of
neighbouring numbers, and is turned to channels first on its way to memory; the gradient of a frame goes the other way.
Frames are cut into shares by their number alone, so any number of threads gives the same bits. Shares have weight
gradients of their own, added up in a fixed order.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from spiking.kernels.event_conv.lanes import LANES, add_patch
from spiking.kernels.event_conv.layout import Axis, Geometry, runs
from spiking.kernels.jit import jit, room, spread

TASKS = 16  # shares of a forward pass
SHARES = 8  # of a backward pass, which have a gradient each


@jit
def turn(source, s, line, pixel, target, t, N, H, W):
    """target[t :] (N, H, W) = source[s :], whose lines and pixels lie `line` and `pixel` numbers apart."""
    for y in range(H):
        for j in range(N):
            of, to = np.uint64(s + y * line + j), np.uint64(t + (j * H + y) * W)
            for i in range(np.uint64(W)):
                target[to + i] = source[of + i * np.uint64(pixel)]


@jit
def turn_back(source, s, target, t, line, pixel, N, H, W):
    """The inverse of `turn`."""
    for y in range(H):
        for j in range(N):
            of, to = np.uint64(s + (j * H + y) * W), np.uint64(t + y * line + j)
            for i in range(np.uint64(W)):
                target[to + i * np.uint64(pixel)] = source[of + i]


@jit
def _forward_task(share, shares, indptr, index, value, taps, down, across, cut, out):
    frames, groups, N, H, W = out.shape
    planes, lines, columns, pieces, run = taps.shape
    rows, top, left, high, wide, step, apart, pixel = cut
    height, width, each = np.uint32(down.shape[0]), np.uint32(across.shape[0]), np.uint32(planes // groups)
    flat, weight, frame = out.ravel(), taps.ravel(), np.zeros(groups * high * wide * pixel, out.dtype)
    for row in range(share * frames // shares, (share + 1) * frames // shares):
        frame[:] = 0
        for e in range(indptr[row], indptr[row + 1]):
            line = np.uint32(index[e]) // width  # takes half the time of a division of 64 bits
            x, c = np.uint32(index[e]) - line * width, line // height
            y, mine = line - c * height, c // each
            there = ((np.int64(mine) * high + down[y, 1]) * wide + across[x, 1]) * pixel
            patch = ((np.int64(c) * lines + down[y, 0] * rows) * columns + across[x, 0]) * pieces * run
            v = value[e] if value.size else out.dtype.type(1)
            add_patch(
                frame, there, step * wide * pixel, apart * pixel, weight, patch, columns * pieces * run, run, v,
                rows, pieces, run,
            )  # fmt: skip
        for g in range(groups):
            place = ((g * high + top) * wide + left) * pixel
            turn(frame, place, wide * pixel, pixel, flat, (row * groups + g) * N * H * W, N, H, W)


@jit
def _backward_task(share, shares, indptr, index, value, grad, down, across, cut, out):
    frames, groups, N, H, W = grad.shape
    _, planes, lines, columns, pieces, run = out.shape
    rows, top, left, high, wide, step, apart, pixel = cut
    height, width, each = np.uint32(down.shape[0]), np.uint32(across.shape[0]), np.uint32(planes // groups)
    flat, weight, frame = grad.ravel(), out[share].ravel(), np.zeros(groups * high * wide * pixel, out.dtype)
    weight[:] = 0
    for row in range(share * frames // shares, (share + 1) * frames // shares):
        for g in range(groups if indptr[row] < indptr[row + 1] else 0):
            place = ((g * high + top) * wide + left) * pixel
            turn_back(flat, (row * groups + g) * N * H * W, frame, place, wide * pixel, pixel, N, H, W)
        for e in range(indptr[row], indptr[row + 1]):
            line = np.uint32(index[e]) // width
            x, c = np.uint32(index[e]) - line * width, line // height
            y, mine = line - c * height, c // each
            there = ((np.int64(mine) * high + down[y, 1]) * wide + across[x, 1]) * pixel
            patch = ((np.int64(c) * lines + down[y, 0] * rows) * columns + across[x, 0]) * pieces * run
            v = value[e] if value.size else out.dtype.type(1)
            add_patch(
                weight, patch, columns * pieces * run, run, frame, there, step * wide * pixel, apart * pixel, v,
                rows, pieces, run,
            )  # fmt: skip


def forward(indptr: Tensor, index: Tensor, value: Tensor | None, weight: Tensor, shape: Geometry) -> Tensor:
    """The convolution of frames of events.

    Arguments:
        indptr, index, value: the events, frame after frame; `None` means that each counts 1.
        weight: (in, kh, kw, out / groups).
        shape: of the convolution.

    Returns:
        (frames, out, H', W').
    """
    frames, N = indptr.numel() - 1, weight.shape[3]
    out = room(weight, frames, shape.groups, N, shape.rows.out, shape.columns.out)
    given = *_events(indptr, index, value, weight), _pack(weight.detach(), shape).numpy(), *_cut(shape, N)
    spread(_forward_task, min(frames, TASKS), min(frames, TASKS), *given, out.numpy())
    return out.flatten(1, 2)


def backward(indptr: Tensor, index: Tensor, value: Tensor | None, grad: Tensor, shape: Geometry) -> Tensor:
    """The gradient of the weight from that of `forward`, (frames, out, H', W')."""
    grad = grad.contiguous().unflatten(1, (shape.groups, -1))
    N = grad.shape[2]
    packed = _pack(grad.new_empty(shape.planes, shape.rows.kernel, shape.columns.kernel, N), shape)
    shares = max(1, min(indptr.numel() - 1, SHARES))
    out = room(grad, shares, *packed.shape)
    given = *_events(indptr, index, value, grad), grad.numpy(), *_cut(shape, N)
    spread(_backward_task, shares, shares, *given, out.numpy())
    return _unpack(reduce(torch.add, out.unbind(0)), shape, N)


def _events(indptr: Tensor, index: Tensor, value: Tensor | None, like: Tensor) -> tuple[np.ndarray, ...]:
    counts = like.new_empty(0) if value is None else value.to(like.dtype)
    return indptr.numpy(), index.numpy(), counts.detach().numpy()


def _cut(shape: Geometry, N: int) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Where the pixels of both axes land, and the sizes of a scratch."""
    down, across = runs(shape.rows), runs(shape.columns)
    margins = down.low, across.low, down.extent, across.extent
    return down.place, across.place, (down.taps.shape[1], *margins, shape.rows.step, shape.columns.step, _wide(N))


def _wide(N: int) -> int:
    return -(-N // LANES) * LANES


def _pack(weight: Tensor, shape: Geometry) -> Tensor:
    """Weights (in, kh, kw, N) as patches (in, lines, runs, pieces, numbers): N filled up to LANES, and the taps of a
    run in one piece where they meet neighbours."""
    down, across = runs(shape.rows).taps, runs(shape.columns).taps
    filled = pad(weight, (0, _wide(weight.shape[3]) - weight.shape[3], 0, 1, 0, 1))
    patches = filled[:, down.ravel()][:, :, across.ravel()].unflatten(2, across.shape)
    return (patches.flatten(3)[:, :, :, None] if shape.columns.step == 1 else patches).contiguous()


def _unpack(patches: Tensor, shape: Geometry, N: int) -> Tensor:
    """The inverse of `_pack`."""
    taps = patches.flatten(2).unflatten(2, (-1, _wide(N)))[..., :N]
    return taps[:, _where(shape.rows)][:, :, _where(shape.columns)]


def _where(axis: Axis) -> list[int]:
    """The place of each tap."""
    return np.argsort(runs(axis).taps.ravel(), kind="stable")[: axis.kernel].tolist()
