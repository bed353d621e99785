"""Splits: which recordings are held out, by a column such as the speaker, by class shares, or in folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
HoldOut = int | float | Sequence[Any]


def hold_out_values(column: Array, hold_out: HoldOut, seed: int, name: str) -> Array:
    """(n,) bool, True where the recording's value in a column is one of those held out.

    Arguments:
        column: (n,) one value per recording.
        hold_out: how many distinct values (whole number), which share of them (0 to 1), or the values themselves.
        seed: draws which values are held out when they aren't named.
        name: the column's name, for messages.
    """
    values = np.unique(column)
    if isinstance(hold_out, (Sequence, np.ndarray)) and not isinstance(hold_out, str):
        chosen = np.asarray(hold_out)
        unknown = [v for v in chosen.tolist() if v not in values.tolist()]
        if unknown or not len(chosen):
            raise ValueError(f"hold_out: expected values of column {name!r}, {_few(values)}, got {_few(chosen)}")
    else:
        count = _how_many(hold_out, len(values), f"distinct values of column {name!r}")
        chosen = np.random.default_rng(seed).permutation(values)[:count]
    held = np.isin(column, chosen)
    if held.all():
        raise ValueError(f"hold_out: {_few(chosen)} is every value of column {name!r}; nothing is left to train on")
    return held


def hold_out_share(labels: Array, hold_out: HoldOut, seed: int) -> Array:
    """(n,) bool, True for held-out recordings, in the same share of every class.

    Arguments:
        labels: (n,) classes.
        hold_out: how many recordings (whole number), which share of them (0 to 1), or their positions.
        seed: draws which recordings.
    """
    n = len(labels)
    held = np.zeros(n, bool)
    if isinstance(hold_out, (Sequence, np.ndarray)) and not isinstance(hold_out, str):
        positions = np.asarray(hold_out)
        if not len(positions) or positions.dtype.kind not in "iu" or positions.min() < 0 or positions.max() >= n:
            raise ValueError(f"hold_out: expected positions 0 to {n - 1}, got {_few(positions)}")
        held[positions] = True
    else:
        # dealing the shuffled classes out in turn makes every prefix of the deal stratified
        held[_deal(labels, seed)[: _how_many(hold_out, n, "recordings")]] = True
    return held


def fold_numbers(labels: Array, k: int, seed: int) -> Array:
    """(n,) fold number of each recording, every class spread evenly over the k folds."""
    if isinstance(k, bool) or int(k) != k or not 2 <= k <= len(labels):
        raise ValueError(f"k: expected 2 to {len(labels)} folds, got {k!r}")
    fold = np.empty(len(labels), np.int64)
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold[order] = np.arange(len(labels)) % k
    return fold


def _deal(labels: Array, seed: int) -> Array:
    """All positions, such that any first part of them has the classes in proportion."""
    order = np.random.default_rng(seed).permutation(len(labels))
    inverse, sizes = np.unique(labels[order], return_inverse=True, return_counts=True)[1:]
    place = np.empty(len(labels))
    for c, size in enumerate(sizes):
        place[inverse == c] = (np.arange(size) + 0.5) / size
    return order[np.argsort(place, kind="stable")]


def _how_many(hold_out: Any, total: int, what: str) -> int:
    if isinstance(hold_out, bool) or not isinstance(hold_out, (int, float, np.integer, np.floating)):
        raise ValueError(f"hold_out: expected a number, a share or a list, got {hold_out!r}")
    if isinstance(hold_out, (float, np.floating)):
        if not 0 < hold_out < 1:
            raise ValueError(f"hold_out: expected a share between 0 and 1 of {total} {what}, got {hold_out}")
        count = min(max(1, round(float(hold_out) * total)), total - 1)
    else:
        count = int(hold_out)
    if not 1 <= count < total:
        raise ValueError(f"hold_out: expected 1 to {total - 1} of {total} {what}, got {count}")
    return count


def _few(values: Array) -> str:
    shown = [str(v) for v in np.asarray(values).tolist()]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:7], f"... ({len(shown)})"])
