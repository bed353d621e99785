"""Spool: recordings on their way into a store, checked one file at a time and kept on disk rather than in memory.

Events go into two files without a name, which vanish with the process however it ends. Data sets of many gigabytes are
converted in the memory of one file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spiking.datasets.check import check_recordings, name_of
from spiking.datasets.errors import DataError
from spiking.datasets.store import EventStore
from spiking.events import Sensor

Array = np.ndarray[Any, Any]


class Spool:
    """Collects recordings, in a `with` block; the store it makes outlives it.

    Arguments:
        folder: where the unnamed files lie, there and writable.
        classes: names of the classes; `None` leaves it to the store to say.
        sensor: (W, H, P) of a camera, or `None`.
        channels: N; `None` means the sensor's.
    """

    def __init__(
        self, folder: Path, classes: Sequence[str] | None, sensor: Sensor | None = None, channels: int | None = None
    ) -> None:
        self.classes = None if classes is None else tuple(classes)
        self._size: dict[str, Any] = {"sensor": sensor, "channels": channels}
        self._files = [tempfile.TemporaryFile(dir=folder) for _ in range(2)]
        self._sizes: list[Array] = []
        self._labels: list[Array] = []
        self._durations: list[Array] = []
        self._columns: dict[str, list[Array]] = {}

    def add(self, index: Any, time_us: Any, indptr: Any, labels: Any, duration: Any = None, **metadata: Any) -> None:
        """Add recordings, all of them or, if one is wrong, none.

        Arguments:
            index, time_us, indptr, labels, duration, metadata: as `EventStore.from_arrays` takes them; every call
                has the same columns.

        Raises:
            DataError: naming the recording or the argument that doesn't fit.
        """
        index, time, pointer, label, lasts, _, channels, sensor, columns = check_recordings(
            index, time_us, indptr, labels, classes=self.classes, duration=duration, metadata=metadata, **self._size
        )
        if time.dtype != np.int32:
            longest = name_of(int(lasts.argmax()), str(columns["name"][lasts.argmax()]) if "name" in columns else None)
            raise DataError(f"{longest}: lasts {lasts.max() / 1e6:.0f} s, the longest that fits is {2**31 // 10**6} s")
        if self._sizes and columns.keys() != self._columns.keys():
            raise DataError(f"metadata: the columns were {sorted(self._columns)}, now they are {sorted(columns)}")
        self._size = {"sensor": sensor, "channels": channels}
        for file, array in zip(self._files, (index, time), strict=True):
            file.write(array.data)
        self._sizes.append(np.diff(pointer))
        self._labels.append(label)
        self._durations.append(lasts)
        for name, column in columns.items():
            self._columns.setdefault(name, []).append(column)

    def store(self, **metadata: Any) -> EventStore:
        """A store of everything added, its events in the unnamed files.

        Arguments:
            metadata: further columns of all recordings.

        Raises:
            DataError: if nothing was added.
        """
        if not self._sizes:
            raise DataError("no recordings to store")
        columns = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        sensor, channels = self._size["sensor"], self._size["channels"]
        index, time = (
            self._mapped(file, kind)
            for file, kind in zip(self._files, (np.int16 if channels <= 1 << 15 else np.int32, np.int32), strict=True)
        )
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(self._sizes))])
        labels, durations = np.concatenate(self._labels), np.concatenate(self._durations)
        classes = range(labels.max() + 1) if self.classes is None else self.classes
        names = [str(name) for name in classes]
        return EventStore(index, time, indptr, labels, durations, names, channels, sensor, columns | metadata)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()

    @staticmethod
    def _mapped(file: Any, kind: type) -> Array:
        file.flush()
        size = file.tell() // np.dtype(kind).itemsize
        return np.memmap(file, kind, "r+", shape=(size,)).view(np.ndarray) if size else np.zeros(0, kind)
