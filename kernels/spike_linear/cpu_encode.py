"""What the product on CPUs reads: counts of activations, lists of events, counts of a byte, in Numba."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from spiking.kernels.jit import jit, spread
from spiking.kernels.spike_linear.dot import AHEAD
from spiking.kernels.spike_linear.packed import OFFSET, QUAD
from spiking.kernels.spike_linear.reference import CLIP, HIGH, LIMIT, LOW

TOKENS = 64  # of one task


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
def encode_task(share, x, k, counts, threshold):
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
def events_task(token, counts, group, room, row, value, pointer, start):
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
def _cut_task(share, counts, group, small, start, far):
    """Counts cut to +-CLIP in quads of rows, their sums in each group, and whether any of it was cut."""
    tokens, inputs = counts.shape
    low, high = np.int32(-CLIP), np.int32(CLIP)
    for token in range(share * TOKENS, min(tokens, (share + 1) * TOKENS)):
        for g in range(start.shape[1]):
            total, cut = np.int32(0), np.int32(0)
            for i in range(np.uint64(g * group), np.uint64(min(inputs, (g + 1) * group))):
                s = min(max(counts[token, i], low), high)
                cut = np.int32(cut | (s ^ counts[token, i]))
                total = np.int32(total + s)
                small[token, i] = s
            start[token, g] = -OFFSET * total
            far[token, g] = cut != 0
        for i in range(inputs, small.shape[1]):
            small[token, i] = 0


def encode(x: Tensor, k: float) -> tuple[Tensor, Tensor]:
    """s (tokens, in) int32 and V_th (tokens, 1) of x (tokens, in) float32, as `reference.encode` returns them."""
    counts, threshold = torch.empty(x.shape, dtype=torch.int32), x.new_empty(len(x), 1)
    given = x.detach().contiguous().numpy(), k, counts.numpy(), threshold.numpy()
    spread(encode_task, -(-len(x) // TOKENS), *given)
    return counts, threshold


def list_events(counts: np.ndarray, group: int, groups: int, expand: bool) -> tuple[np.ndarray, ...]:
    """The channels that send spikes, for each token, group and plane; each list filled up to fours with counts of 0.

    Arguments:
        counts: (tokens, in) int32.
        group: channels of a group.
        groups: their number.
        expand: one list for each bit of |s|, not one for s.

    Returns:
        The channel and the count of each event; where in them each list begins, (tokens, lists + 1); and what its sum
        with codes that have 128 added starts at, (tokens, lists).
    """
    tokens, inputs = counts.shape
    most = int(np.abs(counts).max())
    planes = max(1, most.bit_length()) if expand else 1
    again = 0 if expand or most <= CLIP else int(np.abs(counts).sum(1, np.int64).max()) // CLIP
    room = inputs * planes + groups * planes * (QUAD - 1) + again + 1
    room += -room % QUAD
    row, value = np.empty(tokens * room + AHEAD, np.int32), np.empty(tokens * room, np.int8)
    pointer, start = np.empty((tokens, groups * planes + 1), np.int64), np.empty((tokens, groups * planes), np.int32)
    if expand:
        spread(_planes_task, tokens, counts, group, room, planes, row, value, pointer, start)
    else:
        spread(events_task, tokens, counts, group, room, row, value, pointer, start)
    return row, value, pointer, start


def cut(counts: np.ndarray, group: int, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts cut to +-CLIP as int8 (tokens, in rounded up to fours), where sums start, and where any count was cut."""
    tokens, inputs = counts.shape
    small, start = np.empty((tokens, inputs + -inputs % QUAD), np.int8), np.empty((tokens, groups), np.int32)
    far = np.empty((tokens, groups), np.bool_)
    spread(_cut_task, -(-tokens // TOKENS), counts, group, small, start, far)
    return small, start, far
