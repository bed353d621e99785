"""Large stores are built in parts: an interrupted conversion goes on with the first part that isn't there yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from spiking.datasets.errors import DataError
from spiking.datasets.progress import progress_bar
from spiking.datasets.spool import Spool
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
    with ExitStack() as stack:
        spool: Spool | None = None
        for k in progress_bar(range(len(ranges)), text, progress):
            path = folder / f"{k:05d}.h5"
            part = _opened(path)
            if part is None or len(part) != len(ranges[k]):
                build(ranges[k]).save(path)
                part = EventStore.open(path)
            if spool is None:
                spool = stack.enter_context(Spool(folder, part.classes, part.sensor, part.channels))
            index, time, indptr = part.arrays()
            spool.add(index, time, indptr, part.labels.numpy(), part.duration, **part.metadata)
        assert spool is not None
        return spool.store()


def _opened(path: Path) -> EventStore | None:
    """A part that is there and whole."""
    try:
        return EventStore.open(path, verify=True)
    except DataError:
        return None
