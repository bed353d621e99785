"""Convolution event by event in Triton; op.py gives the equation.

Forward, one program sums what reaches some outputs of one line of one frame, for a block of output channels: it walks
the events of the kh lines of pixels that reach it, K at a time, and each output reads the tap that an event meets it
through, if any. Backward, one program sums one tap of one input channel over its share of that channel's events; the
shares are added up in a fixed order. Both always add in the order of the events and write every place once, so that
nothing is added atomically and the same inputs give the same bits.

Proven under the interpreter and compiled ahead of time; speed on a GPU is unmeasured.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from spiking.kernels.aot import Variant
from spiking.kernels.event_conv.layout import Geometry
from spiking.kernels.tile import OPTIONS, block, check, cut, pad

TOGETHER = 4  # events in flight at once; a line of pixels has few
PIXELS = 16  # outputs of a program
CHANNELS = 32  # output channels of a program, at most
GATHERED = 16  # gradients in flight at once
EACH = 1024  # events of a share, about
SHARES = 64  # at most
AXES = ["H", "W", "OH", "OW", "KH", "KW", "sy", "sx", "py", "px", "dy", "dx"]
LOOSE = ["pointers", "column", "where", "rows", "value"]


@triton.jit(do_not_specialize=[*AXES, "planes", "each", "N", "N16"], do_not_specialize_on_alignment=LOOSE)
def reach(  # type: ignore[no-untyped-def]
    pointers, column, value, weight, out, H, W, OH, OW, KH, KW, sy, sx, py, px, dy, dx, planes, each, N, N16,
    dtype: tl.constexpr, K: tl.constexpr, BLOCK_X: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """out[frame, n, oy, ox] = the sum of value * weight[c, ky, kx, n] over the events that reach it."""
    wide = N16 * 16
    line = tl.program_id(0).to(tl.int64)
    frame = line // OH
    oy = (line % OH).to(tl.int32)
    ox = tl.program_id(1) * BLOCK_X + tl.arange(0, BLOCK_X)
    blocks = tl.cdiv(wide, BLOCK_N)
    g = tl.program_id(2) // blocks
    n = tl.program_id(2) % blocks * BLOCK_N + tl.arange(0, BLOCK_N)
    total = tl.zeros((BLOCK_X, BLOCK_N), dtype)
    for tap in range(0, each * KH):
        c = g * each + tap // KH
        ky = tap % KH
        y = oy * sy - py + ky * dy
        there = (y >= 0) & (y < H)
        at = (frame * planes + c) * H + y
        first = tl.load(pointers + at, there, 0)
        last = tl.load(pointers + at + 1, there, 0)
        for event in range(first, last, K):
            place = event + tl.arange(0, K)
            inside = place < last
            x = tl.load(column + place, inside, 0)
            ahead = x[:, None] + px - ox[None, :] * sx
            kx = ahead // dx
            meets = inside[:, None] & (ahead >= 0) & (kx * dx == ahead) & (kx < KW) & (ox < OW)[None, :]
            taps = ((c * KH + ky) * KW + kx) * wide
            mask = meets[:, :, None] & (n < wide)[None, None, :]
            w = tl.load(weight + taps[:, :, None] + n[None, None, :], mask, 0.0).to(dtype)
            if value is not None:
                w *= tl.load(value + place, inside, 0.0).to(dtype)[:, None, None]
            total += tl.sum(w, 0)
    cell = ((frame * (planes // each * N) + g * N + n[None, :]) * OH + oy) * OW + ox[:, None]
    tl.store(out + cell, total.to(out.dtype.element_ty), (ox < OW)[:, None] & (n < N)[None, :])


@triton.jit(do_not_specialize=[*AXES, "planes", "each", "N16", "shares"], do_not_specialize_on_alignment=LOOSE)
def correlate(  # type: ignore[no-untyped-def]
    pointers, where, rows, value, grad, out, H, W, OH, OW, KH, KW, sy, sx, py, px, dy, dx, planes, each, N16, shares,
    dtype: tl.constexpr, K: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """out[share, c, ky, kx] = the sum of value * grad[frame, oy, ox] over a share of the events of channel c."""
    wide = N16 * 16
    tap = tl.program_id(0)
    share = tl.program_id(1).to(tl.int64)
    n = tl.program_id(2) * BLOCK_N + tl.arange(0, BLOCK_N)
    c = tap // (KH * KW)
    ky = tap // KW % KH
    kx = tap % KW
    first = tl.load(pointers + c)
    count = tl.load(pointers + c + 1) - first
    last = first + count * (share + 1) // shares
    total = tl.zeros((BLOCK_N,), dtype)
    for event in range(first + count * share // shares, last, K):
        place = event + tl.arange(0, K)
        inside = place < last
        pixel = tl.load(where + place, inside, 0)
        down = pixel // W % H + py - ky * dy
        across = pixel % W + px - kx * dx
        oy = down // sy
        ox = across // sx
        meets = inside & (down >= 0) & (oy * sy == down) & (oy < OH)
        meets = meets & (across >= 0) & (ox * sx == across) & (ox < OW)
        frame = tl.load(rows + place, inside, 0)
        cell = ((frame * OH + oy) * OW + ox) * (planes // each) + c // each
        mask = meets[:, None] & (n < wide)[None, :]
        dy_there = tl.load(grad + cell[:, None] * wide + n[None, :], mask, 0.0).to(dtype)
        if value is not None:
            dy_there *= tl.load(value + place, inside, 0.0).to(dtype)[:, None]
        total += tl.sum(dy_there, 0)
    tl.store(out + (share * planes * KH * KW + tap) * wide + n, total, n < wide)


def forward(indptr: Tensor, index: Tensor, value: Tensor | None, weight: Tensor, shape: Geometry) -> Tensor:
    """The convolution of frames of events.

    Arguments:
        indptr, index, value: the events, frame after frame; `None` means that each counts 1.
        weight: (in, kh, kw, out / groups).
        shape: of the convolution.

    Returns:
        (frames, out, H', W') in the dtype of `weight`, accumulated in float32 (float64 for float64).
    """
    check(weight.device)
    frames, N, groups, planes = indptr.numel() - 1, weight.shape[3], shape.groups, shape.planes
    rows, columns = shape.rows, shape.columns
    weight = pad(weight.detach())
    out = torch.empty(frames, groups * N, rows.out, columns.out, dtype=weight.dtype, device=weight.device)
    if not out.numel():
        return out
    key = _rows(indptr, index.numel()) * (planes * rows.size) + index // columns.size
    pointers, order = _group(key, frames * planes * rows.size)
    size = block(weight.shape[3], CHANNELS)
    grid = frames * rows.out, triton.cdiv(columns.out, PIXELS), groups * triton.cdiv(weight.shape[3], size)
    with torch.cuda.device_of(weight):
        reach[grid](
            pointers, index[order] % columns.size, _value(value, order, weight), weight, out, *_numbers(shape), planes,
            planes // groups, N, weight.shape[3] // 16, _type(weight), TOGETHER, PIXELS, size, **OPTIONS,
        )  # fmt: skip
    return out


def backward(indptr: Tensor, index: Tensor, value: Tensor | None, grad: Tensor, shape: Geometry) -> Tensor:
    """The gradient of the weight from that of `forward`, (frames, out, H', W')."""
    check(grad.device)
    planes, taps = shape.planes, (shape.rows.kernel, shape.columns.kernel)
    last = pad(grad.unflatten(1, (shape.groups, -1)).permute(0, 3, 4, 1, 2).contiguous())
    wide, N = last.shape[4], grad.shape[1] // shape.groups
    pointers, order = _group(index // (shape.rows.size * shape.columns.size), planes)
    shares = max(1, min(SHARES, index.numel() // EACH))
    dtype = torch.float64 if grad.dtype == torch.float64 else torch.float32
    out = torch.empty(shares, planes, *taps, wide, dtype=dtype, device=grad.device)
    size = block(wide)
    with torch.cuda.device_of(grad):
        correlate[planes * taps[0] * taps[1], shares, triton.cdiv(wide, size)](
            pointers, index[order], _rows(indptr, index.numel())[order], _value(value, order, grad), last, out,
            *_numbers(shape), planes, planes // shape.groups, wide // 16, shares, _type(grad), GATHERED, size,
            **OPTIONS,
        )  # fmt: skip
    return cut(out.sum(0).to(grad.dtype), N)


def _rows(indptr: Tensor, events: int) -> Tensor:
    """(nnz,) int64, the frame of each event."""
    frames = torch.arange(indptr.numel() - 1, device=indptr.device)
    return frames.repeat_interleave(indptr.diff(), output_size=events)


def _group(key: Tensor, kinds: int) -> tuple[Tensor, Tensor]:
    """Where each kind of event begins, (kinds + 1,), and the events in that order, those of a kind in their own."""
    ordered, order = torch.sort(key, stable=True)
    return torch.searchsorted(ordered, torch.arange(kinds + 1, dtype=key.dtype, device=key.device)), order


def _numbers(shape: Geometry) -> tuple[int, ...]:
    """What the kernels take as AXES."""
    down, across = shape.rows, shape.columns
    pairs = zip((down.kernel, *down[2:]), (across.kernel, *across[2:]), strict=True)
    return down.size, across.size, down.out, across.out, *(n for pair in pairs for n in pair)


def _value(value: Tensor | None, order: Tensor, like: Tensor) -> Tensor | None:
    return None if value is None else value.to(torch.float64 if like.dtype == torch.float64 else torch.float32)[order]


def _type(like: Tensor) -> tl.dtype:
    return tl.float64 if like.dtype == torch.float64 else tl.float32


def _variants() -> Iterator[Variant]:
    numbers = {name: "i32" for name in (*AXES, "planes", "each", "N16")}
    there = {"pointers": "*i64", "column": "*i32", "N": "i32", **numbers}
    back = {"pointers": "*i64", "where": "*i32", "rows": "*i64", "shares": "i32", "out": "*fp32", **numbers}
    for kind, value in (("fp32", {}), ("fp32", {"value": "*fp32"}), ("bf16", {})):
        label = kind + (" with counts" if value else "")
        size = {"dtype": tl.float32, "K": TOGETHER, "BLOCK_X": PIXELS, "BLOCK_N": CHANNELS}
        yield Variant(f"event_conv: {label}", reach, {**there, "weight": f"*{kind}", "out": f"*{kind}", **value}, size)
        size = {"dtype": tl.float32, "K": GATHERED, "BLOCK_N": CHANNELS}
        yield Variant(f"event_conv backward: {label}", correlate, {**back, "grad": f"*{kind}", **value}, size)


AOT = list(_variants())
