"""Large stores are built in parts: an interrupted conversion goes on with the first part that isn't there yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from spiking.datasets.errors import DataError
from spiking.datasets.progress import progress_bar
from spiking.datasets.store import EventStore


def in_parts(
    folder: Path, ranges: Sequence[range], build: Callable[[range], EventStore], text: str, progress: bool
) -> EventStore:
    """A store of all parts, those that an interrupted call has left in the folder included.

    Arguments:
        folder: where the parts lie until somebody removes it; it must belong to one content only.
        ranges: which recordings each part has.
        build: makes one part.
        text: beside the bar.
        progress: show a bar.

    Raises:
        DataError: if the folder can't be written.
    """
    parts = []
    for k in progress_bar(range(len(ranges)), text, progress):
        path = folder / f"{k:05d}.h5"
        part = _opened(path)
        if part is None or len(part) != len(ranges[k]):
            build(ranges[k]).save(path)
            part = EventStore.open(path)
        parts.append(part)
    return join(parts)


def join(parts: Sequence[EventStore]) -> EventStore:
    """One store of the recordings of several that have the same channels, classes and columns."""
    arrays = [part.arrays() for part in parts]
    sizes = np.concatenate([np.diff(indptr) for _, _, indptr in arrays])
    return EventStore(
        np.concatenate([index for index, _, _ in arrays]),
        np.concatenate([time for _, time, _ in arrays]),
        np.concatenate([[0], np.cumsum(sizes)]),
        np.concatenate([part.labels.numpy() for part in parts]),
        np.concatenate([part.duration for part in parts]),
        parts[0].classes,
        parts[0].channels,
        parts[0].sensor,
        {name: np.concatenate([part.metadata[name] for part in parts]) for name in parts[0].metadata},
    )


def _opened(path: Path) -> EventStore | None:
    """A part that is there and whole."""
    try:
        return EventStore.open(path, verify=True)
    except DataError:
        return None
