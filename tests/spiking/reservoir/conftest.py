"""Recordings for liquids: two classes on the two halves of the channels, each with an order in time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spiking import Events
from spiking.datasets import EventStore


def recordings(n: int, seed: int = 0, channels: int = 40, rate: float = 0.04, steps: int = 60) -> EventStore:
    rng = np.random.default_rng(seed)
    index, time, sizes, labels = [], [], [], []
    for i in range(n):
        label = i % 2
        p = np.full((steps, channels), rate / 4)
        half = slice(0, channels // 2) if label == 0 else slice(channels // 2, channels)
        p[:, half] = rate
        step, channel = (rng.random(p.shape) < p).nonzero()
        index.append(channel)
        time.append(step * 1000)
        sizes.append(len(step))
        labels.append(label)
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    return EventStore.from_arrays(
        np.concatenate(index), np.concatenate(time), indptr, labels, channels=channels, duration=steps * 1000
    )


@pytest.fixture(scope="session")
def store() -> EventStore:
    return recordings(60)


@pytest.fixture(scope="session")
def events(store: EventStore) -> Events:
    found, _ = store.batch(range(8), dt=1.0)
    assert isinstance(found.lengths, torch.Tensor)
    return found
