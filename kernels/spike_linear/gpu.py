"""Spike counts times int8 weights in Triton; op.py gives the equation, packed.py the layout.

A token in modes "event" and "expand": one program for each group and strip of outputs (split-K) loads the rows whose
count is not 0 and writes the group's whole sums, a thirtieth of the weight's bytes; then one program for each strip
adds the groups in their order. Nothing is added atomically. Several tokens in mode "int": one program for each tile of
tokens and outputs, dot products of int8 with int32 sums; counts beyond a byte are split into digits to the base 256,
and a group's higher digits are multiplied only where a tile has any.

A GPU is not waited for: a token with numbers that are not finite gives NaN, not an error.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from spiking.kernels.aot import Variant
from spiking.kernels.spike_linear.packed import OFFSET, QUAD, WIDTH, PackedWeight
from spiking.kernels.spike_linear.reference import HIGH, LIMIT, LOW
from spiking.kernels.tile import OPTIONS, check

STRIP = 128  # outputs of one program; WIDTH is a multiple of it, and of COLUMNS
ROWS = 32  # rows of codes in flight at once
TILE, COLUMNS, DEPTH = 32, 64, 32  # tokens and outputs of one program of dot products, and channels of one product
CHANNELS = 1024  # encoded at once
HALF = tl.constexpr(1.5 * 2**23)  # float32 added to it are rounded to whole numbers, halves to even
_WIDTH, _OFFSET = tl.constexpr(WIDTH), tl.constexpr(OFFSET)
_LOW, _HIGH, _LIMIT = tl.constexpr(LOW), tl.constexpr(HIGH), tl.constexpr(LIMIT)
DENSE = {**OPTIONS, "num_warps": 4}
SIZES = ["inputs", "out", "wide", "rows", "group", "groups", "tokens"]
LOOSE = ["x", "counts", "threshold", "bias"]


@triton.jit(do_not_specialize=["inputs"], do_not_specialize_on_alignment=["x", "counts", "threshold"])
def encode_token(x, counts, threshold, inputs, k, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """V_th and s of one token."""
    start = tl.program_id(0).to(tl.int64) * inputs
    at = tl.arange(0, BLOCK)
    sizes = tl.zeros((BLOCK,), tl.float64)
    for first in range(0, inputs, BLOCK):
        sizes += tl.abs(tl.load(x + start + first + at, first + at < inputs, 0.0)).to(tl.float64)
    total = tl.sum(sizes, 0)
    worth = (total / (inputs.to(tl.float64) * tl.load(k))).to(tl.float32)
    worth = tl.where(worth < _LOW, _LOW, worth)  # comparisons that keep NaN
    worth = tl.where(worth > _HIGH, _HIGH, worth)
    spikes = tl.zeros((BLOCK,), tl.float64)
    for first in range(0, inputs, BLOCK):
        ratio = tl.div_rn(tl.load(x + start + first + at, first + at < inputs, 0.0), worth)
        spikes += tl.abs(tl.where(tl.abs(ratio) <= _LIMIT, (ratio + HALF) - HALF, ratio)).to(tl.float64)
    good = tl.sum(spikes, 0) <= _LIMIT
    tl.store(threshold + tl.program_id(0), tl.where(good, worth, float("nan")))
    for first in range(0, inputs, BLOCK):
        ratio = tl.div_rn(tl.load(x + start + first + at, first + at < inputs, 0.0), worth)
        s = tl.where(good, (ratio + HALF) - HALF, 0.0).to(tl.int32)
        tl.store(counts + start + first + at, s, first + at < inputs)


@triton.jit
def strip(column, rows, wide):
    """Where in the codes the first row of a column stands, and how far the next row is."""
    block = column // _WIDTH
    width = tl.minimum(wide - block * _WIDTH, _WIDTH)
    return block.to(tl.int64) * _WIDTH * rows + column % _WIDTH, width


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=LOOSE)
def sum_group(  # type: ignore[no-untyped-def]
    counts, codes, partial, inputs, rows, out, wide, group, groups, expand: tl.constexpr, K: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """partial[token, g] = the sum of s w over group g, for a strip of outputs: rows of silent channels are not read."""
    token, g = tl.program_id(0).to(tl.int64), tl.program_id(1)
    o = tl.program_id(2) * BLOCK
    column = o + tl.arange(0, BLOCK)
    base, width = strip(o, rows, wide)
    total = tl.zeros((BLOCK,), tl.int32)
    last = tl.minimum(inputs, (g + 1) * group)
    for first in range(g * group, last, K):
        row = first + tl.arange(0, K)
        s = tl.load(counts + token * inputs + row, row < last, 0)
        place = row[:, None] * width + tl.arange(0, BLOCK)[None, :]
        w = tl.load(codes + base + place, (s != 0)[:, None] & (column < out)[None, :], _OFFSET).to(tl.int32) - _OFFSET
        if expand:
            sign = tl.where(s < 0, -1, 1)
            rest = tl.abs(s)
            plane = 0
            while tl.max(rest, 0) > 0:
                total += tl.sum(w * (sign * (rest & 1))[:, None], 0) << plane
                rest = rest >> 1
                plane += 1
        else:
            total += tl.sum(w * s[:, None], 0)
    tl.store(partial + (token * groups + g) * out + column, total, column < out)


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=LOOSE)
def add_groups(partial, scales, threshold, bias, y, out, wide, groups, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """y = V_th * sum of scale * partial over the groups, in their order, + bias."""
    token = tl.program_id(0).to(tl.int64)
    o = tl.program_id(1) * BLOCK
    column = o + tl.arange(0, BLOCK)
    base, width = strip(o, groups, wide)
    total = tl.zeros((BLOCK,), tl.float32)
    for g in range(groups):
        sums = tl.load(partial + (token * groups + g) * out + column, column < out, 0)
        total += tl.load(scales + base + g * width + tl.arange(0, BLOCK), column < out, 0.0) * sums.to(tl.float32)
    total *= tl.load(threshold + token)
    if bias is not None:
        total += tl.load(bias + column, column < out, 0.0)
    tl.store(y + token * out + column, total, column < out)


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=LOOSE)
def multiply(  # type: ignore[no-untyped-def]
    counts, codes, scales, threshold, bias, y, partial, tokens, inputs, rows, out, wide, group, groups,
    TOKENS: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """y, and the groups' sums where `partial` is given, for a tile of tokens and a strip of outputs."""
    token = (tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)).to(tl.int64)
    o = tl.program_id(1) * BLOCK
    column = o + tl.arange(0, BLOCK)
    base, width = strip(o, rows, wide)
    scale, stride = strip(o, groups, wide)
    there = (token < tokens)[:, None] & (column < out)[None, :]
    total = tl.zeros((TOKENS, BLOCK), tl.float32)
    for g in range(groups):
        sums = tl.zeros((TOKENS, BLOCK), tl.int32)
        last = tl.minimum(inputs, (g + 1) * group)
        for first in range(g * group, last, K):
            row = first + tl.arange(0, K)
            inside = (token < tokens)[:, None] & (row < last)[None, :]
            s = tl.load(counts + token[:, None] * inputs + row[None, :], inside, 0)
            place = row[:, None] * width + tl.arange(0, BLOCK)[None, :]
            code = tl.load(codes + base + place, (row < last)[:, None] & (column < out)[None, :], _OFFSET)
            w = (code ^ _OFFSET).to(tl.int8, bitcast=True)  # the code - 128
            low = ((s + 128) & 255) - 128
            sums = tl.dot(low.to(tl.int8), w, sums, out_dtype=tl.int32)
            rest = (s - low) >> 8
            if tl.max(tl.max(tl.abs(rest), 1), 0) > 0:
                middle = ((rest + 128) & 255) - 128
                sums += tl.dot(middle.to(tl.int8), w, out_dtype=tl.int32) << 8
                sums += tl.dot(((rest - middle) >> 8).to(tl.int8), w, out_dtype=tl.int32) << 16
        if partial is not None:
            tl.store(partial + (token[:, None] * groups + g) * out + column[None, :], sums, there)
        factor = tl.load(scales + scale + g * stride + tl.arange(0, BLOCK), column < out, 0.0)
        total += factor[None, :] * sums.to(tl.float32)
    total *= tl.load(threshold + token, token < tokens, 0.0)[:, None]
    if bias is not None:
        total += tl.load(bias + column, column < out, 0.0)[None, :]
    tl.store(y + token[:, None] * out + column[None, :], total, there)


def encode(x: Tensor, k: float) -> tuple[Tensor, Tensor]:
    """Counts (tokens, in) int32 and thresholds (tokens, 1) of x (tokens, in) float32."""
    check(x.device)
    x = x.detach().contiguous()
    counts, threshold = torch.empty_like(x, dtype=torch.int32), x.new_empty(len(x), 1)
    if len(x):
        precise = torch.full((1,), k, dtype=torch.float64, device=x.device)
        with torch.cuda.device_of(x):
            encode_token[(len(x),)](x, counts, threshold, x.shape[1], precise, CHANNELS, **OPTIONS)
    return counts, threshold


def linear(counts: Tensor, threshold: Tensor, packed: PackedWeight, bias: Tensor | None, mode: str) -> Tensor:
    """y (tokens, out) float32 from counts (tokens, in) int32 and thresholds (tokens, 1)."""
    check(counts.device)
    y = threshold.new_empty(len(counts), packed.shape[0])
    threshold, bias = threshold.contiguous(), None if bias is None else bias.detach().contiguous()
    if mode == "int":
        _multiply(counts.contiguous(), threshold, packed, bias, y, None)
    elif len(counts):
        partial, out = sums(counts, packed, mode), packed.shape[0]
        with torch.cuda.device_of(counts):
            add_groups[(len(counts), triton.cdiv(out, STRIP))](
                partial, packed.scales, threshold, bias, y, out, _wide(packed), packed.groups, STRIP, **OPTIONS
            )
    return y


def sums(counts: Tensor, packed: PackedWeight, mode: str) -> Tensor:
    """The whole sums of the groups, (tokens, groups, out) int32, from counts (tokens, in) int32."""
    check(counts.device)
    counts, (out, inputs), groups = counts.contiguous(), packed.shape, packed.groups
    partial = counts.new_empty(len(counts), groups, out)
    if mode == "int":
        threshold = torch.zeros(len(counts), 1, dtype=torch.float32, device=counts.device)
        _multiply(counts, threshold, packed, None, threshold.new_empty(len(counts), out), partial)
    elif len(counts):
        with torch.cuda.device_of(counts):
            sum_group[(len(counts), groups, triton.cdiv(out, STRIP))](
                counts, packed.codes, partial, inputs, _rows(packed), out, _wide(packed), packed.group, groups,
                mode == "expand", ROWS, STRIP, **OPTIONS,
            )  # fmt: skip
    return partial


def _multiply(
    counts: Tensor, threshold: Tensor, packed: PackedWeight, bias: Tensor | None, y: Tensor, partial: Tensor | None
) -> None:
    tokens, (out, inputs) = len(counts), packed.shape
    if tokens:
        with torch.cuda.device_of(counts):
            multiply[(triton.cdiv(tokens, TILE), triton.cdiv(out, COLUMNS))](
                counts, packed.codes, packed.scales, threshold, bias, y, partial, tokens, inputs, _rows(packed), out,
                _wide(packed), packed.group, packed.groups, TILE, DEPTH, COLUMNS, **DENSE,
            )  # fmt: skip


def _rows(packed: PackedWeight) -> int:
    return packed.shape[1] + -packed.shape[1] % QUAD


def _wide(packed: PackedWeight) -> int:
    return packed.scales.numel() // packed.groups


def _variants() -> Iterator[Variant]:
    numbers = dict.fromkeys(("inputs", "rows", "out", "wide", "group", "groups"), "i32")
    types = {"x": "*fp32", "counts": "*i32", "threshold": "*fp32", "inputs": "i32", "k": "*fp64"}
    yield Variant("spike_linear: encode", encode_token, types, {"BLOCK": CHANNELS})
    for expand in (False, True):
        types = {"counts": "*i32", "codes": "*u8", "partial": "*i32", **numbers}
        constants = {"expand": expand, "K": ROWS, "BLOCK": STRIP}
        yield Variant(f"spike_linear: {'expand' if expand else 'event'}", sum_group, types, constants)
    more = {"scales": "*fp32", "threshold": "*fp32", "y": "*fp32"}
    given: tuple[tuple[str, dict[str, str]], ...] = ("", {}), (", bias", {"bias": "*fp32"})
    for label, bias in given:
        types = {"partial": "*i32", **more, **bias, "out": "i32", "wide": "i32", "groups": "i32"}
        yield Variant(f"spike_linear: add groups{label}", add_groups, types, {"BLOCK": STRIP})
        types = {"counts": "*i32", "codes": "*u8", **more, **bias, "tokens": "i32", **numbers}
        constants = {"TOKENS": TILE, "K": DEPTH, "BLOCK": COLUMNS}
        yield Variant(f"spike_linear: int{label}", multiply, types, constants, options=DENSE)
    types = {"counts": "*i32", "codes": "*u8", **more, "partial": "*i32", "tokens": "i32", **numbers}
    yield Variant("spike_linear: int, sums", multiply, types, constants, options=DENSE)


AOT = list(_variants())
