"""Two digits one after the other: whole first seconds, exact onsets, fixed pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spiking.datasets import DataError, EventStore, load
from spiking.datasets.sources import adding
from tests.datasets.test_heidelberg import files


def digits(classes: int = 20) -> EventStore:
    """Recording i has class i, an event at 0, one of its own before 1 s, and two from 1 s on."""
    n = classes
    time = np.stack([np.zeros(n), 999_999 - np.arange(n), np.full(n, 1_000_000), np.full(n, 1_300_000)], 1)
    index = np.stack([np.arange(n), np.arange(n) + 100, np.full(n, 698), np.full(n, 699)], 1)
    return EventStore.from_arrays(
        index.ravel(), time.ravel(), np.arange(n + 1) * 4, np.arange(n), channels=700,
        classes=[str(k) for k in range(n)],
    )  # fmt: skip


def test_the_second_digit_begins_at_one_second_and_the_label_is_the_sum() -> None:
    store = adding.pairs(digits(), 400)
    index, time, indptr = store.arrays()
    i, j = store.metadata["first"], store.metadata["second"]
    assert (np.diff(indptr) == 4).all() and (store.duration == 2_000_000).all()
    assert np.array_equal(index.reshape(-1, 4), np.stack([i, i + 100, j, j + 100], 1))
    assert np.array_equal(time.reshape(-1, 4), np.stack([0 * i, 999_999 - i, 0 * j + 1_000_000, 1_999_999 - j], 1))
    assert np.array_equal(store.labels.numpy(), i % 10 + j % 10) and len(store.classes) == 19
    events, _ = store.batch(range(8), dt=10.0)
    assert events.shape == (200, 8, 700)


def test_sums_of_balanced_digits_make_a_triangle() -> None:
    labels = adding.pairs(digits(), 20_000).labels.numpy()
    share = np.bincount(labels, minlength=19) / 20_000
    assert np.abs(share - (10 - np.abs(np.arange(19) - 9)) / 100).max() < 0.01


def test_pairs_are_fixed_by_the_seed_alone() -> None:
    few, many, other = adding.pairs(digits(10), 50), adding.pairs(digits(10), 500), adding.pairs(digits(10), 50, seed=1)
    assert few.metadata["first"].tolist() == many.metadata["first"][:50].tolist()
    assert few.metadata["second"].tolist() == many.metadata["second"][:50].tolist()
    assert few.metadata["first"].tolist() != other.metadata["first"].tolist()
    assert (many.metadata["first"] == many.metadata["second"]).any()  # with replacement


def test_splits_share_no_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "COUNTS", {"train": 60, "valid": 20, "test": 30})
    monkeypatch.setattr(adding, "PART", 25)
    monkeypatch.setattr(adding, "VALID", 0.5)
    root, cache = files(tmp_path), tmp_path / "cache"
    parts = {split: load("shd-adding", split, root=root, cache=cache) for split in ("train", "valid", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 60, "valid": 20, "test": 30}
    used = {split: {*part.metadata["first"], *part.metadata["second"]} for split, part in parts.items()}
    assert used["test"] == {4, 5, 6, 7} and used["train"] | used["valid"] == {0, 1, 2, 3}
    assert not used["train"] & used["valid"]
    assert not list(cache.glob(".*"))
    again = load("shd-adding", "test", root=root, cache=cache)
    assert again.metadata["first"].tolist() == parts["test"].metadata["first"].tolist()


def test_other_recordings_are_refused() -> None:
    with pytest.raises(DataError, match="store: expected the classes of 10 digits"):
        adding.pairs(digits(13), 5)
    with pytest.raises(DataError, match="store: expected at least one recording"):
        adding.pairs(digits().select([]), 5)
