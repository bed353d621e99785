"""Spike counts times int8 weights on CPUs, in Numba with the vector code of dot.py; op.py gives the equation.

A task owns blocks of outputs, whole sums included, so any number of threads gives the same bits. One token: its counts
become lists of events, for each group and plane of bits, and a task adds the rows of codes that the lists name. Several
tokens: a task rearranges the codes of a block and group once, then multiplies tokens by fours.

Codes are stored with 128 added, so sums start at -128 times the sum of the counts.
"""

from __future__ import annotations

import struct
import sys
from typing import Any

import numpy as np
import torch
from numba import carray, types
from torch import Tensor

from spiking.kernels.jit import address, callback, claim, jit, region, spread
from spiking.kernels.spike_linear import dot
from spiking.kernels.spike_linear.cpu_encode import cut, encode, encode_task, events_task, list_events
from spiking.kernels.spike_linear.packed import GRAIN, OFFSET, QUAD, WIDTH, PackedWeight
from spiking.kernels.spike_linear.reference import CLIP, LIMIT

__all__ = ["encode", "linear", "sums", "token"]

STRIP, TILE = dot.STRIP, dot.TILE
SHARES = 4  # of the blocks, for each thread
CHUNK = 256  # tokens whose sums of a block fit the cache


@jit
def _add_task(share, shares, codes, scales, rows, planes, row, value, pointer, start, threshold, bias, y, partial):
    """Blocks of y, or of partial (tokens, groups, out) where that has a size, from lists of events."""
    tokens, out = y.shape
    groups = start.shape[1] // planes
    wide = scales.size // groups
    blocks = (wide + WIDTH - 1) // WIDTH
    total, sums, plane_sums = np.empty(WIDTH, np.float32), np.empty(WIDTH, np.int32), np.empty(WIDTH, np.int32)
    for block in range(share * blocks // shares, (share + 1) * blocks // shares):
        o = block * WIDTH
        width, n = min(WIDTH, wide - o), np.uint64(min(WIDTH, out - o))
        base = o * rows
        for token in range(tokens):
            for j in range(np.uint64(WIDTH)):
                total[j] = 0
            for g in range(groups):
                for plane in range(planes):
                    slot = g * planes + plane
                    first, last = pointer[token, slot], pointer[token, slot + 1]
                    if width == WIDTH:
                        dot.add_rows(codes, base, width, row, value, first, last, start[token, slot], plane_sums)
                    else:
                        for strip in range(0, width, STRIP):
                            dot.add_rows_strip(
                                codes, base + strip, width, row, value, first, last, start[token, slot],
                                plane_sums[strip:],
                            )
                    if plane:
                        for j in range(np.uint64(WIDTH)):
                            sums[j] += plane_sums[j] << plane
                    else:
                        for j in range(np.uint64(WIDTH)):
                            sums[j] = plane_sums[j]
                if partial.size:
                    partial[token, g, o : o + n] = sums[:n]
                else:
                    s = np.uint64(o * groups + g * width)
                    for j in range(n):
                        total[j] += scales[s + j] * np.float32(sums[j])
            if not partial.size:
                worth = threshold[token, 0]
                for j in range(n):
                    y[token, o + j] = worth * total[j] + (bias[o + j] if bias.size else np.float32(0))


TABLE = 24  # numbers of the table that `token` and `_run` fill and these two read


def _encode_work(table):
    """One token's events from its activations."""
    numbers = carray(table, TABLE)
    inputs, slots, events = numbers[2], numbers[6], numbers[7]
    at, group, exact = numbers[8:], numbers[20], numbers[21]
    x = carray(address(at[10]), (1, inputs), np.float32)
    counts = carray(address(at[11]), (1, inputs), np.int32)
    threshold = carray(address(at[6]), (1, 1), np.float32)
    encode_task(0, x, numbers.view(np.float64)[22], counts, threshold)
    if not exact:
        for i in range(inputs):
            counts[0, i] = min(max(counts[0, i], -CLIP), CLIP)
    row, value = carray(address(at[2]), events, np.int32), carray(address(at[3]), events, np.int8)
    pointer = carray(address(at[4]), (1, slots + 1), np.int64)
    start = carray(address(at[5]), (1, slots), np.int32)
    events_task(0, counts, group, events, row, value, pointer, start)


def _add_work(table):
    """Shares of `_add_task` as long as there are any; the events are there."""
    numbers = carray(table, TABLE)
    shares, inputs, planes, tokens, out, slots, events = numbers[1:8]
    at = numbers[8:]
    rows, wide = (inputs + QUAD - 1) // QUAD * QUAD, (out + GRAIN - 1) // GRAIN * GRAIN
    codes = carray(address(at[0]), rows * wide, np.uint8)
    scales = carray(address(at[1]), slots // planes * wide, np.float32)
    row = carray(address(at[2]), events, np.int32)
    value = carray(address(at[3]), events, np.int8)
    pointer = carray(address(at[4]), (tokens, slots + 1), np.int64)
    start = carray(address(at[5]), (tokens, slots), np.int32)
    threshold = carray(address(at[6]), (tokens, 1), np.float32)
    bias = carray(address(at[7]), out if at[7] else 0, np.float32)
    y = carray(address(at[8]), (tokens, out), np.float32)
    partial = carray(address(at[9]), (tokens if at[9] else 0, slots // planes, out), np.int32)
    share = claim(numbers)
    while share < shares:
        _add_task(share, shares, codes, scales, rows, planes, row, value, pointer, start, threshold, bias, y, partial)
        share = claim(numbers)


_NUMBERS = types.void(types.CPointer(types.int64))
_encode_work, _add_work = callback(_encode_work, _NUMBERS), callback(_add_work, _NUMBERS)


@jit
def _multiply_task(task, chunks, codes, scales, group, small, start, far, counts, threshold, bias, y, partial):
    """One block of y, or of partial (tokens, groups, out) where that has a size, from the counts of some tokens."""
    out, block = y.shape[1], task // chunks
    low, high = task % chunks * CHUNK, min(y.shape[0], (task % chunks + 1) * CHUNK)
    rows, groups, inputs = small.shape[1], start.shape[1], counts.shape[1]
    wide = scales.size // groups
    o = block * WIDTH
    width, n = min(WIDTH, wide - o), np.uint64(min(WIDTH, out - o))
    total, sums = np.zeros((high - low, WIDTH), np.float32), np.empty(TILE * WIDTH, np.int32)
    panel = np.empty(group * WIDTH, np.uint8)
    flat, starts = small.ravel(), start.ravel()
    for g in range(groups):
        base = o * rows + g * group * width
        quads = min(group, rows - g * group) // QUAD
        for strip in range(0, width, STRIP):
            dot.write_panel(codes, base + strip, width, quads, panel, strip * group)
        s = np.uint64(o * groups + g * width)
        for first in range(low, high, TILE):
            many = min(TILE, high - first)
            for strip in range(0, width, STRIP):
                if many == TILE:
                    dot.dot_tile(
                        panel, strip * group, quads, flat, first * rows + g * group, rows, starts, first * groups + g,
                        groups, sums, strip,
                    )
                else:
                    for t in range(many):
                        dot.dot_one(
                            panel, strip * group, quads, flat, (first + t) * rows + g * group, rows, starts,
                            (first + t) * groups + g, groups, sums, t * WIDTH + strip,
                        )
            for t in range(many):
                token, there = first + t, np.uint64(t * WIDTH)
                if far[token, g]:
                    for i in range(g * group, min(inputs, (g + 1) * group)):
                        rest = counts[token, i] - small[token, i]
                        if rest != 0:
                            at = np.uint64(o * rows + i * width)
                            for j in range(n):
                                sums[there + j] += rest * (np.int32(codes[at + j]) - OFFSET)
                if partial.size:
                    for j in range(n):
                        partial[token, g, o + j] = sums[there + j]
                else:
                    for j in range(n):
                        total[token - low, j] += scales[s + j] * np.float32(sums[there + j])
    if not partial.size:
        for token in range(low, high):
            worth = threshold[token, 0]
            for j in range(n):
                y[token, o + j] = worth * total[token - low, j] + (bias[o + j] if bias.size else np.float32(0))


def token(
    x: Tensor, k: float, exact: bool, packed: PackedWeight, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """y (1, out) and the threshold (1, 1) from one token x (1, in) float32: `encode` and `linear` in one go."""
    (out, inputs), groups = packed.shape, packed.groups
    x = x.detach().contiguous()
    bias = None if bias is None else bias.detach().contiguous()
    y, threshold = x.new_empty(1, out), x.new_empty(1, 1)
    events = inputs + (QUAD - 1) * groups + LIMIT // CLIP
    events += -events % QUAD
    scratch = torch.empty(8 * (groups + 1) + 4 * (groups + inputs + events + dot.AHEAD) + events, dtype=torch.uint8)
    pointer = scratch.data_ptr()
    start = pointer + 8 * (groups + 1)
    counts = start + 4 * groups
    row = counts + 4 * inputs
    value = row + 4 * (events + dot.AHEAD)
    shares = min(-(-out // WIDTH), SHARES * torch.get_num_threads())
    numbers = [
        shares, inputs, 1, 1, out, groups, events,
        packed.codes.data_ptr(), packed.scales.data_ptr(), row, value, pointer, start, threshold.data_ptr(),
        0 if bias is None else bias.data_ptr(), y.data_ptr(), 0, x.data_ptr(), counts,
        packed.group, exact, int.from_bytes(struct.pack("=d", k), sys.byteorder, signed=True), 0,
    ]  # fmt: skip
    region(_add_work, numbers, _encode_work)
    return y, threshold


def linear(counts: Tensor, threshold: Tensor, packed: PackedWeight, bias: Tensor | None, mode: str) -> Tensor:
    """y (tokens, out) float32 from counts (tokens, in) int32 and thresholds (tokens, 1)."""
    y = threshold.new_empty(len(counts), packed.shape[0])
    _run(counts, threshold, packed, bias, mode, y, _NOTHING)
    return y


def sums(counts: Tensor, packed: PackedWeight, mode: str) -> Tensor:
    """The sums of the groups, (tokens, groups, out) int32, from counts (tokens, in) int32."""
    out = packed.shape[0]
    partial = torch.empty(len(counts), packed.groups, out, dtype=torch.int32)
    threshold = torch.zeros(len(counts), 1, dtype=torch.float32)
    _run(counts, threshold, packed, None, mode, threshold.new_empty(len(counts), out), partial)
    return partial


_NOTHING = torch.empty(0, 0, 0, dtype=torch.int32)


def _run(
    counts: Tensor, threshold: Tensor, packed: PackedWeight, bias: Tensor | None, mode: str, y: Tensor, partial: Tensor
) -> None:
    (tokens, out), group, groups = y.shape, packed.group, packed.groups
    given = counts.contiguous().numpy()
    bias = y.new_empty(0) if bias is None else bias.detach().contiguous()
    rest: tuple[Any, ...] = threshold.contiguous(), bias, y, partial
    if not tokens:
        return
    if mode == "int":
        small, start, far = cut(given, group, groups)
        weight = packed.codes.numpy(), packed.scales.numpy(), group
        numbers = [tensor.numpy() for tensor in rest]
        chunks = -(-tokens // CHUNK)
        spread(_multiply_task, chunks * -(-out // WIDTH), chunks, *weight, small, start, far, given, *numbers)
        return
    lists = list_events(given, group, groups, mode == "expand")
    row, _, _, start = lists
    slots = start.shape[1]
    shares = min(-(-out // WIDTH), SHARES * torch.get_num_threads())
    sizes = shares, given.shape[1], slots // groups, tokens, out, slots, row.size
    places = [packed.codes.data_ptr(), packed.scales.data_ptr()]
    places += [array.ctypes.data for array in lists] + [tensor.data_ptr() for tensor in rest]
    region(_add_work, [*sizes, *places, *(0,) * 6])
