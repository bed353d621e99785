"""Pooled channels: no event lost, each in the channel of its neighbours, whatever comes before or after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spiking.datasets import Augment, EventStore
from spiking.datasets.pooling import pooling
from tests.datasets.strategies import random_store, stores


def test_neighbours_become_one() -> None:
    assert pooling(7, None, 3).group.tolist() == [0, 0, 0, 1, 1, 1, 2]
    group, channels, sensor = pooling(2 * 5 * 3, (5, 3, 2), 2)
    assert (channels, sensor) == (12, (3, 2, 2))
    assert group.reshape(2, 3, 5).tolist() == [
        [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]],
        [[6, 6, 7, 7, 8], [6, 6, 7, 7, 8], [9, 9, 10, 10, 11]],
    ]
    assert pooling(700, None, 5).channels == 140


@given(stores(), st.integers(1, 5), st.booleans())
def test_the_pooled_batch_is_the_batch_pooled(store: EventStore, size: int, binary: bool) -> None:
    size = min(size, store.channels)
    part = store.pooled(size)
    events, labels = part.batch(range(len(store)), dt=0.7, binary=binary)
    events._check()
    dense = store.batch(range(len(store)), dt=0.7)[0].to_dense()
    dense = torch.nn.functional.pad(dense, (0, -store.channels % size))
    want = dense.view(*dense.shape[:2], part.channels, size).sum(3)
    assert torch.equal(events.to_dense(), want.clamp(max=1) if binary else want)
    assert torch.equal(labels, store.labels)
    fine = np.pad(store.counts(2).reshape(len(store), 2, -1), ((0, 0), (0, 0), (0, -store.channels % size)))
    coarse = fine.reshape(len(store), 2, part.channels, size).sum(3)
    assert np.array_equal(part.counts(2), coarse.reshape(len(store), -1))


def test_squares_of_pixels_become_one() -> None:
    store = random_store(channels=70, sensor=(7, 5, 2))
    part = store.pooled(2)
    dense = store.batch(range(20), dt=5.0)[0].to_dense().view(-1, 20, 2, 5, 7)
    want = torch.nn.functional.pad(dense, (0, 1, 0, 1)).unfold(3, 2, 2).unfold(4, 2, 2).sum((5, 6))
    events = part.batch(range(20), dt=5.0)[0]
    assert events.sensor == part.sensor == (4, 3, 2) and torch.equal(events.to_dense(), want.flatten(2))
    assert part.rate == pytest.approx(store.rate * 70 / 24)


@pytest.mark.parametrize("more", [{}, {"sensor": (8, 5, 1)}])
def test_events_are_augmented_before_they_are_pooled(more: dict[str, Any]) -> None:
    store = random_store(n=9, channels=40, **more)
    change = Augment(shift=3, jitter=2.0, channel_jitter=1.0, blend=0.5, noise=5.0)
    plain = next(iter(store.loader(9, dt=5.0, steps=20, augment=change)))[0].to_dense()
    pooled = next(iter(store.pooled(2).loader(9, dt=5.0, steps=20, augment=change)))[0].to_dense()
    group = pooling(40, store.sensor, 2).group
    want = torch.zeros_like(pooled).index_add_(2, torch.from_numpy(group).long(), plain)
    assert torch.equal(pooled, want)


def test_views_of_views(tmp_path: Path) -> None:
    store = random_store(channels=12)
    twice = store.pooled(2).select([3, 1]).pooled(3)
    assert torch.equal(twice.batch([0, 1])[0].to_dense(), store.pooled(6).batch([3, 1])[0].to_dense())
    assert store.channels == 12
    assert torch.equal(store.batch([3])[0].to_dense(), store.pooled(1).batch([3])[0].to_dense())
    twice.save(tmp_path / "two.h5")
    kept = EventStore.open(tmp_path / "two.h5")
    assert kept.channels == 2 and torch.equal(kept.batch([0, 1])[0].to_dense(), twice.batch([0, 1])[0].to_dense())


def test_damage_is_seen_in_pooled_recordings_too() -> None:
    store = random_store(channels=12)
    store.arrays()[0][:] = 12
    with pytest.raises(ValueError, match="channels outside 0 to 11"):
        store.pooled(5).batch([0])
    with pytest.raises(ValueError, match="channels outside 0 to 11"):
        store.pooled(5).counts()


@pytest.mark.parametrize("size", [0, -1, 13, 2.5, True])
def test_sizes_that_make_no_group(size: Any) -> None:
    with pytest.raises(ValueError, match=f"pool: expected a whole number from 1 to 12 channels, got {size}"):
        random_store(channels=12).pooled(size)
    with pytest.raises(ValueError, match="pool: expected a whole number from 1 to 4 pixels, got 5"):
        random_store(channels=24, sensor=(4, 3, 2)).pooled(5)
