"""shd-adding and spoken-adding: two spoken digits one after the other, whose sum is to be named (Spieler et al. 2024).

    recording = the first second of digit i, then the first second of digit j, which begins at exactly 1 s
    label     = (y_i mod 10) + (y_j mod 10), 19 classes

i and j are drawn uniformly and with replacement, speakers and languages mixed: 16,000 pairs of four fifths of the
training recordings, 4,000 of the others for validation, and 16,000 of the test recordings. The published loader draws
its test pairs in batches, so that the batch size changes them, and its training pairs anew in every epoch; here pair k
of a split depends on the seed, the split and k alone. `pairs(store, n, seed)` makes others.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from spiking.datasets.catalogue import load
from spiking.datasets.errors import DataError
from spiking.datasets.sources.parts import in_parts
from spiking.datasets.sources.plan import Plan
from spiking.datasets.store import EventStore

Array = np.ndarray[Any, Any]

# raise it when the same recordings make other pairs
VERSION = 1
SECOND, SUMS = 1_000_000, tuple(str(k) for k in range(19))
VALID, PART = 0.2, 2000
COUNTS = {"train": 16_000, "valid": 4_000, "test": 16_000}


def plan(digits: ModuleType, root: Path | None, cache: Path, skip_corrupt: bool, progress: bool) -> Plan:
    """What `load` builds of the digits of a source, shd or spoken.

    Raises:
        DataError: as that source does.
    """
    name = digits.__name__.rpartition(".")[2]
    base = digits.plan(root, cache, skip_corrupt, progress)
    key = {"version": VERSION, "counts": COUNTS, name: base.key}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    scratch = cache / f".{name}-adding-{digest}.parts"

    def build() -> EventStore:
        return _build(load(name, "all", root, cache, skip_corrupt, progress), scratch, progress)

    # the parts, their spool and the store lie there at once, of some 16,000 events of 6 bytes for each pair
    return Plan(key, 3 * 6 * 16_000 * sum(COUNTS.values()), build, base.missing, scratch)


def pairs(store: EventStore, n: int, seed: int = 0) -> EventStore:
    """Pairs of recordings of digits, one after the other, labelled by the sum of the two digits.

    Arguments:
        store: recordings of 10 classes, or of 20 whose second ten are the digits of another language.
        n: how many pairs; the first ones are the same whatever n.
        seed: draws them, with replacement.

    Returns:
        EventStore of 2 s recordings, with columns `first` and `second`, the recordings' ids.

    Raises:
        DataError: if the store's classes are no digits, or it has no recordings.
    """
    return _join(store, _draw(store, n, [seed]))


def _draw(store: EventStore, n: int, seed: list[int]) -> Array:
    """(n, 2) positions."""
    if len(store.classes) not in (10, 20):
        raise DataError(f"store: expected the classes of 10 digits, in one language or in two, got {store.classes}")
    if not len(store):
        raise DataError("store: expected at least one recording to draw from, got none")
    return np.random.default_rng(seed).integers(0, len(store), (n, 2))


def _join(store: EventStore, drawn: Array, **columns: Any) -> EventStore:
    index, time, start, stop = store.spans()
    index_parts, time_parts, sizes = [], [], []
    for pair in drawn:
        size = 0
        for k, i in enumerate(pair):
            until = start[i] + int(np.searchsorted(time[start[i] : stop[i]], SECOND))
            index_parts.append(index[start[i] : until])
            time_parts.append(time[start[i] : until] + np.int32(k * SECOND))
            size += int(until - start[i])
        sizes.append(size)
    digit = store.labels.numpy() % 10
    return EventStore.from_arrays(
        np.concatenate(index_parts),
        np.concatenate(time_parts),
        np.concatenate([[0], np.cumsum(sizes)]),
        digit[drawn].sum(1),
        channels=store.channels,
        classes=SUMS,
        duration=2 * SECOND,
        first=store.ids[drawn[:, 0]],
        second=store.ids[drawn[:, 1]],
        **columns,
    )


def _build(store: EventStore, scratch: Path, progress: bool) -> EventStore:
    train = store.metadata["split"] == "train"
    held = np.zeros(len(store), bool)
    held[train] = np.random.default_rng(0).random(int(train.sum())) < VALID
    pools = {"train": train & ~held, "valid": held, "test": store.metadata["split"] == "test"}
    drawn, split = [], []
    for k, (name, count) in enumerate(COUNTS.items()):
        at = np.flatnonzero(pools[name])
        if len(at):
            drawn.append(at[_draw(store.select(at), count, [0, k])])
            split += [name] * count
    positions, splits = np.concatenate(drawn), np.array(split)

    def part(which: range) -> EventStore:
        rows = slice(which.start, which.stop)
        return _join(store, positions[rows], split=splits[rows])

    ranges = [range(k, min(k + PART, len(splits))) for k in range(0, len(splits), PART)]
    return in_parts(scratch, ranges, part, "pairing digits", progress)
