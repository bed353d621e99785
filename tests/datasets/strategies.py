"""Small stores for tests, random and by hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from spiking.datasets import EventStore


def random_store(
    n: int = 20, events: int = 60, channels: int = 12, classes: int = 4, seed: int = 0, **more: Any
) -> EventStore:
    """n recordings of 100 ms with a column `speaker` of five values."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, events + 1, n)
    time = np.concatenate([np.sort(rng.integers(0, 100_000, size)) for size in sizes])
    columns: dict[str, Any] = {"speaker": np.arange(n) % 5, "duration": 100_000, "channels": channels} | more
    if "sensor" in more:
        columns["channels"] = None
    index = rng.integers(0, channels, len(time))
    return EventStore.from_arrays(
        index, time, np.concatenate([[0], np.cumsum(sizes)]), np.arange(n) % classes, **columns
    )


@st.composite
def stores(draw: st.DrawFn) -> EventStore:
    """Up to six recordings, empty ones, coinciding events and uneven durations among them."""
    channels = draw(st.integers(1, 5))
    rows = draw(
        st.lists(
            st.lists(st.tuples(st.integers(0, 3000), st.integers(0, channels - 1)), max_size=30),
            min_size=1,
            max_size=6,
        )
    )
    extra = draw(st.lists(st.integers(1, 2000), min_size=len(rows), max_size=len(rows)))
    rows = [sorted(row) for row in rows]
    flat = [event for row in rows for event in row]
    return EventStore.from_arrays(
        [c for _, c in flat],
        [t for t, _ in flat],
        np.concatenate([[0], np.cumsum([len(row) for row in rows])]),
        [i % 3 for i in range(len(rows))],
        channels=channels,
        classes=["a", "b", "c"],
        duration=[(row[-1][0] if row else 0) + more for row, more in zip(rows, extra, strict=True)],
        name=[f"r{i}" for i in range(len(rows))],
        weight=np.linspace(0, 1, len(rows)),
    )
