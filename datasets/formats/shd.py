"""SHD and SSC: spikes of a simulated inner ear for spoken words (Cramer et al. 2020), one HDF5 file a split.

    /spikes/times (n,) of float16, seconds       /labels (n,) int
    /spikes/units (n,) of int, 0 to 699          /extra/keys (classes,) names    /extra/speaker (n,) int
    /extra/meta_info/{gender,age,body_height} (speakers,), optional

float16 seconds have steps of 0.5 ms at 0.7 s and 1 ms beyond 1 s, and overflow when scaled before they are cast: they
become float64 first. Where a file's spikes are not in order of time they are put in order, channels staying with times.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from spiking.datasets.errors import DataError
from spiking.datasets.storage import FORMAT, atomic, check_room
from spiking.datasets.store import EventStore

Array = np.ndarray[Any, Any]

CHANNELS = 700
ABOUT_SPEAKERS = ("gender", "age", "body_height")


class Reader:
    """A file in this layout, read one recording at a time; use it in a `with` block.

    Arguments:
        file: a path, or an open file.
        name: what errors call it; `None` means its path.

    Attributes:
        labels: (n,) as the file has them.
        classes: names, or `None` where the file has none.
        columns: by name, (n,): the speaker, and what the file says about each.

    Raises:
        DataError: if the file isn't there or has another layout.
    """

    def __init__(self, file: Any, name: str | None = None) -> None:
        self.name = str(file) if name is None else name
        if isinstance(file, (str, os.PathLike)) and not Path(file).is_file():
            raise DataError(f"{self.name}: no such file; expected an HDF5 file in the layout of shd_train.h5")
        try:
            self._file = h5py.File(file, "r")
        except OSError as error:
            raise DataError(f"{self.name}: not a readable HDF5 file ({error})") from error
        try:
            self._times, self._units = self._file["spikes/times"], self._file["spikes/units"]
            self.labels: Array = self._file["labels"][...]
            keys = self._file["extra/keys"][...] if "extra/keys" in self._file else None
            self.classes = None if keys is None else tuple(_text(key) for key in keys)
            self.columns = self._speakers()
        except (OSError, KeyError, TypeError, AttributeError) as error:
            other = "an event store of this package" if self._file.attrs.get("format") == FORMAT else "another layout"
            self._file.close()
            raise DataError(f"{self.name}: {other}, not that of shd_train.h5 ({error})") from error
        if not len(self._times) == len(self._units) == len(self.labels):
            self._file.close()
            raise DataError(
                f"{self.name}: {len(self._times)} recordings have times, {len(self._units)} channels, "
                f"{len(self.labels)} labels"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Array, Array]:
        """(index, time) of recording i: channels, and whole microseconds that rise.

        Raises:
            DataError: with the recording, if it can't be read or its times are no numbers.
        """
        try:
            seconds, units = self._times[i], self._units[i]
        except OSError as error:
            raise DataError(f"{self.name}:{i}: can't be read ({error})") from error
        return self._events(i, seconds, units)

    def all(self) -> list[tuple[Array, Array]]:
        """Every recording, as one by one but in two reads, which takes an eighth of the time.

        Raises:
            DataError: as for one.
        """
        try:
            times, units = self._times[...], self._units[...]
        except OSError:  # which recording it is, only reading them singly can tell
            return [self[i] for i in range(len(self))]
        return [self._events(i, *both) for i, both in enumerate(zip(times, units, strict=True))]

    def _events(self, i: int, seconds: Array, units: Array) -> tuple[Array, Array]:
        if len(seconds) != len(units):
            raise DataError(f"{self.name}:{i}: {len(seconds)} times and {len(units)} channels")
        # the microsecond in which a spike lies, so that it stays on its side of every edge at whole microseconds
        time = np.floor(seconds.astype(np.float64) * 1e6)
        if not np.isfinite(time).all():
            raise DataError(f"{self.name}:{i}: time_us contains {time[~np.isfinite(time)][0]}")
        index = units.astype(np.int64)
        if (np.diff(time) < 0).any():
            order = np.argsort(time, kind="stable")
            time, index = time[order], index[order]
        return index, time.astype(np.int64)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def _speakers(self) -> dict[str, Array]:
        if "extra/speaker" not in self._file:
            return {}
        columns = {"speaker": self._file["extra/speaker"][...]}
        for name in ABOUT_SPEAKERS:
            about = self._file.get(f"extra/meta_info/{name}")
            if about is not None and columns["speaker"].max(initial=0) < len(about):
                values = about[...]
                values = np.array([_text(v) for v in values]) if values.dtype.kind in "SO" else values
                columns[name] = values[columns["speaker"]]
        return columns


def read(path: str | os.PathLike[str]) -> EventStore:
    """The recordings of one file, with columns `name`, and `speaker` where the file has one.

    Raises:
        DataError: with the file, and the recording where one is wrong.
    """
    with Reader(path) as file:
        events = file.all()
        columns: dict[str, Any] = {"name": [f"{Path(path).name}:{i}" for i in range(len(file))]} | file.columns
        labels, classes = file.labels, file.classes
    none = [np.zeros(0, np.int64)]
    try:
        return EventStore.from_arrays(
            np.concatenate([index for index, _ in events] + none),
            np.concatenate([time for _, time in events] + none),
            np.concatenate([[0], np.cumsum([len(time) for _, time in events])]).astype(np.int64),
            labels,
            channels=CHANNELS,
            classes=classes,
            **columns,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def save(store: EventStore, path: str | os.PathLike[str]) -> None:
    """Write a store of 700 channels in the layout of SHD, so that whatever reads SHD reads it.

    float16 seconds round times to a grid of 0.06 ms at 0.1 s, 0.5 ms at 0.7 s and 1 ms beyond 1 s. The column `speaker`
    becomes numbers, in the order of its values.

    Arguments:
        store: the recordings, such as `load("spoken")`.
        path: the file.

    Raises:
        DataError: if there are other than 700 channels, or the folder can't be written.
    """
    if store.channels != CHANNELS:
        raise DataError(f"store: SHD's layout has {CHANNELS} channels, these recordings have {store.channels}")
    index, time, indptr = store.arrays()
    rows = [slice(a, b) for a, b in pairwise(indptr)]
    speaker = store.metadata.get("speaker", np.zeros(len(store), np.int64))
    write(
        path,
        [time[row] / 1e6 for row in rows],
        [index[row] for row in rows],
        store.labels.numpy(),
        np.unique(speaker, return_inverse=True)[1],
        store.classes,
    )


def write(
    path: str | os.PathLike[str],
    times: Sequence[Array],
    units: Sequence[Array],
    labels: Any,
    speakers: Any,
    classes: Sequence[str],
) -> None:
    """Write recordings in the layout of SHD.

    Arguments:
        path: the file.
        times: for each recording its spike times, seconds.
        units: for each recording the channels, 0 to 699.
        labels, speakers: (n,) whole numbers.
        classes: their names.
    """
    path = Path(path)
    check_room(path.parent, 8 * sum(len(t) for t in times) + (1 << 20))
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        for name, kind, rows in (("times", np.float16, times), ("units", np.uint16, units)):
            data = file.create_dataset(f"spikes/{name}", (len(rows),), h5py.vlen_dtype(kind))
            for i, row in enumerate(rows):
                data[i] = np.asarray(row).astype(kind)
        file["labels"] = np.asarray(labels, np.uint16)
        file["extra/speaker"] = np.asarray(speakers, np.uint16)
        file["extra/keys"] = np.array([name.encode() for name in classes])


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
