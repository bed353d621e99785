"""Spike counts times int8 weights on CPUs, in Numba with the vector code of dot.py; op.py gives the equation.

A task owns blocks of outputs, whole sums included, so any number of threads gives the same bits. One token: its counts
become lists of events, for each group and plane of bits, and a task adds the rows of codes that the lists name. Several
tokens: a task rearranges the codes of a block and group once, then multiplies tokens by fours.

Codes are stored with 128 added, so sums start at -128 times the sum of the counts.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from spiking.kernels.jit import jit, spread
from spiking.kernels.spike_linear import dot
from spiking.kernels.spike_linear.packed import OFFSET, QUAD, WIDTH, PackedWeight
from spiking.kernels.spike_linear.reference import CLIP, HIGH, LIMIT, LOW

STRIP, TILE = dot.STRIP, dot.TILE
SHARES = 4  # of the blocks, for each thread
TOKENS = 16  # of a task that encodes


def _sum_of_sizes(x, token):
    total = 0.0
    for i in range(x.shape[1]):
        total += np.float64(abs(x[token, i]))
    return total


def _sum_of_counts(x, token, worth):
    total = 0.0
    for i in range(x.shape[1]):
        total += np.float64(abs(np.rint(x[token, i] / worth)))
    return total


# The first has 29 bits more than the threshold keeps, the second is exact: the order of the sums is free.
_sum_of_sizes, _sum_of_counts = jit(_sum_of_sizes, reassociate=True), jit(_sum_of_counts, reassociate=True)


@jit
def _encode_task(share, x, k, counts, threshold):
    tokens, inputs = x.shape
    for token in range(share * TOKENS, min(tokens, (share + 1) * TOKENS)):
        worth = np.float32(_sum_of_sizes(x, token) / (inputs * k))
        worth = np.float32(LOW) if worth < np.float32(LOW) else worth
        worth = np.float32(HIGH) if worth > np.float32(HIGH) else worth
        good = _sum_of_counts(x, token, worth) <= LIMIT  # not if it is NaN
        threshold[token, 0] = worth if good else np.nan
        for i in range(inputs):
            counts[token, i] = np.int32(np.rint(x[token, i] / worth)) if good else 0


@jit
def _events_task(token, counts, group, room, row, value, pointer, start):
    """The channels of each group that are not silent; one beyond +-CLIP stands there several times."""
    inputs = counts.shape[1]
    at = token * room
    for g in range(start.shape[1]):
        first, last = g * group, min(inputs, (g + 1) * group)
        pointer[token, g] = at
        total, most = 0, 0
        for i in range(first, last):
            total += counts[token, i]
            most = max(most, abs(counts[token, i]))
        if most <= CLIP:
            for i in range(first, last):
                row[at] = i
                value[at] = counts[token, i]
                at += counts[token, i] != 0
        else:
            for i in range(first, last):
                rest = counts[token, i]
                while rest != 0:
                    row[at] = i
                    value[at] = min(max(rest, -CLIP), CLIP)
                    rest -= value[at]
                    at += 1
        for _ in range(-at % QUAD):
            row[at] = first
            value[at] = 0
            at += 1
        start[token, g] = -OFFSET * total
    pointer[token, start.shape[1]] = at


@jit
def _planes_task(token, counts, group, room, planes, row, value, pointer, start):
    """For each group and bit of |s| the channels that have it, each a spike of the sign of s."""
    inputs = counts.shape[1]
    at = token * room
    for slot in range(start.shape[1]):
        g, plane = slot // planes, slot % planes
        first = g * group
        pointer[token, slot] = at
        total = 0
        for i in range(first, min(inputs, first + group)):
            spike = np.sign(counts[token, i]) * (abs(counts[token, i]) >> plane & 1)
            row[at] = i
            value[at] = spike
            at += spike != 0
            total += spike
        for _ in range(-at % QUAD):
            row[at] = first
            value[at] = 0
            at += 1
        start[token, slot] = -OFFSET * total
    pointer[token, start.shape[1]] = at


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


@jit
def _small_task(share, counts, group, small, start, far):
    """Counts cut to +-CLIP in quads of rows, their sums in each group, and whether any of it was cut."""
    tokens, inputs = counts.shape
    for token in range(share * TOKENS, min(tokens, (share + 1) * TOKENS)):
        for g in range(start.shape[1]):
            total, most = 0, 0
            for i in range(g * group, min(inputs, (g + 1) * group)):
                s = min(max(counts[token, i], -CLIP), CLIP)
                most = max(most, abs(counts[token, i]))
                small[token, i] = s
                total += s
            start[token, g] = -OFFSET * total
            far[token, g] = most > CLIP
        for i in range(inputs, small.shape[1]):
            small[token, i] = 0


@jit
def _multiply_task(block, codes, scales, group, small, start, far, counts, threshold, bias, y, partial):
    """One block of y, or of partial (tokens, groups, out) where that has a size, from all counts of several tokens."""
    tokens, out = y.shape
    rows, groups, inputs = small.shape[1], start.shape[1], counts.shape[1]
    wide = scales.size // groups
    o = block * WIDTH
    width, n = min(WIDTH, wide - o), np.uint64(min(WIDTH, out - o))
    total, sums = np.zeros((tokens, WIDTH), np.float32), np.empty(TILE * WIDTH, np.int32)
    panel = np.empty(group * WIDTH, np.uint8)
    flat, starts = small.ravel(), start.ravel()
    for g in range(groups):
        base = o * rows + g * group * width
        quads = min(group, rows - g * group) // QUAD
        for strip in range(0, width, STRIP):
            dot.write_panel(codes, base + strip, width, quads, panel, strip * group)
        s = np.uint64(o * groups + g * width)
        for first in range(0, tokens, TILE):
            many = min(TILE, tokens - first)
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
                        total[token, j] += scales[s + j] * np.float32(sums[there + j])
    if not partial.size:
        for token in range(tokens):
            worth = threshold[token, 0]
            for j in range(n):
                y[token, o + j] = worth * total[token, j] + (bias[o + j] if bias.size else np.float32(0))


def encode(x: Tensor, k: float) -> tuple[Tensor, Tensor]:
    """Counts (tokens, in) int32 and thresholds (tokens, 1), NaN as `reference.encode` says, of x (tokens, in) float32."""
    counts, threshold = torch.empty(x.shape, dtype=torch.int32), torch.empty(len(x), 1)
    given = x.detach().contiguous().numpy(), k, counts.numpy(), threshold.numpy()
    spread(_encode_task, -(-len(x) // TOKENS), *given)
    return counts, threshold


def linear(counts: Tensor, threshold: Tensor, packed: PackedWeight, bias: Tensor | None, mode: str) -> Tensor:
    """y (tokens, out) float32 from counts (tokens, in) int32 and thresholds (tokens, 1)."""
    y = torch.empty(len(counts), packed.shape[0])
    _run(counts, threshold.contiguous().numpy(), packed, bias, mode, y.numpy(), np.empty((0, 0, 0), np.int32))
    return y


def sums(counts: Tensor, packed: PackedWeight, mode: str) -> Tensor:
    """The whole sums of the groups, (tokens, groups, out) int32, from counts (tokens, in) int32."""
    out = packed.shape[0]
    partial = torch.empty(len(counts), packed.groups, out, dtype=torch.int32)
    y = np.empty((len(counts), out), np.float32)
    _run(counts, np.empty((len(counts), 1), np.float32), packed, None, mode, y, partial.numpy())
    return partial


def _run(
    counts: Tensor, threshold: np.ndarray, packed: PackedWeight, bias: Tensor | None, mode: str, y: np.ndarray,
    partial: np.ndarray,
) -> None:  # fmt: skip
    (out, inputs), group, groups, tokens = packed.shape, packed.group, packed.groups, len(counts)
    rows, blocks = inputs + -inputs % QUAD, -(-out // WIDTH)
    codes, scales = packed.codes.numpy(), packed.scales.numpy()
    given = counts.contiguous().numpy()
    more = np.empty(0, np.float32) if bias is None else bias.detach().contiguous().numpy()
    if not tokens:
        return
    if mode == "int":
        small, start = np.empty((tokens, rows), np.int8), np.empty((tokens, groups), np.int32)
        far = np.empty((tokens, groups), np.bool_)
        spread(_small_task, -(-tokens // TOKENS), given, group, small, start, far)
        spread(
            _multiply_task, blocks, codes, scales, group, small, start, far, given, threshold, more, y, partial
        )
        return
    most = int(np.abs(given).max())
    planes = max(1, most.bit_length()) if mode == "expand" else 1
    again = 0 if mode == "expand" or most <= CLIP else int(np.abs(given).sum(1, np.int64).max()) // CLIP
    room = inputs * planes + groups * planes * (QUAD - 1) + again + 1
    room += -room % QUAD
    row, value = np.empty(tokens * room, np.int32), np.empty(tokens * room, np.int8)
    pointer, start = np.empty((tokens, groups * planes + 1), np.int64), np.empty((tokens, groups * planes), np.int32)
    lists = row, value, pointer, start
    if mode == "expand":
        spread(_planes_task, tokens, given, group, room, planes, *lists)
    else:
        spread(_events_task, tokens, given, group, room, *lists)
    shares = min(blocks, SHARES * torch.get_num_threads())
    spread(_add_task, shares, shares, codes, scales, rows, planes, *lists, threshold, more, y, partial)
