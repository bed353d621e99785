"""EventStore: recordings as flat arrays of channels and microseconds, with a label and columns for each.

Recording i is `index[start[i] : stop[i]]` at `time[start[i] : stop[i]]`, times rising. A part of a store (`select`,
`split`, `folds`) is a view: it names recordings and shares the arrays, which lie in memory or in a mapped file.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from spiking.datasets import split, storage
from spiking.datasets.binning import bin_events, count_events
from spiking.datasets.check import check_recordings, name_of
from spiking.datasets.errors import DataError
from spiking.datasets.pooling import Pooling, pooling
from spiking.events import Events, Sensor

if TYPE_CHECKING:
    from spiking.datasets.loader import Loader

Array = np.ndarray[Any, Any]


class EventStore:
    """Recordings of one data set; make one with `load`, `EventStore.from_arrays` or `EventStore.open`.

    Attributes:
        channels: N.
        sensor: (W, H, P) of a camera whose flat channel is (p*H + y)*W + x, or `None`.
        classes: names of the classes, which labels index.
        labels: (n,) int64 tensor.
        duration: (n,) int64, microseconds; every event lies before it.
        metadata: by name, (n,) columns such as the speaker.
        ids: (n,) int64, the recordings' positions in the store this one is a view of.
    """

    def __init__(
        self,
        index: Array,
        time: Array,
        indptr: Array,
        labels: Array,
        duration: Array,
        classes: Sequence[str],
        channels: int,
        sensor: Sensor | None,
        metadata: dict[str, Array],
    ) -> None:
        self._index, self._time = index, time
        self._start, self._stop = indptr[:-1], indptr[1:]
        self._longest = int(duration.max(initial=0))
        self.ids = np.arange(len(labels), dtype=np.int64)
        self.labels: Tensor = torch.from_numpy(labels)
        self.duration = duration
        self.classes = tuple(classes)
        self.channels = channels
        self.sensor = sensor
        self.metadata = metadata
        self._recorded = channels, sensor  # of `_index`; pooling changes what is seen of them
        self._pooled: Pooling | None = None

    @classmethod
    def from_arrays(
        cls,
        index: Any,
        time_us: Any,
        indptr: Any,
        labels: Any,
        sensor: Sensor | None = None,
        channels: int | None = None,
        classes: Sequence[str] | None = None,
        duration: Any = None,
        **metadata: Any,
    ) -> EventStore:
        """A store of one's own arrays, which are checked.

        Arguments:
            index: (events,) whole numbers, the channel of each event.
            time_us: (events,) whole microseconds from the beginning of the recording, rising within one.
            indptr: (n + 1,) recording i has the events indptr[i] to indptr[i + 1].
            labels: (n,) whole numbers, or names of classes.
            sensor: (W, H, P) of a camera; the channel of pixel (x, y) and polarity p is (p*H + y)*W + x.
            channels: N; `None` means the sensor's, or the highest index plus one.
            classes: names of the classes; `None` means those among the labels.
            duration: microseconds, one number or (n,); `None` means up to each recording's last event. A recording
                without events needs one.
            metadata: (n,) columns such as `speaker=...`; a column `name` is what errors call a recording.

        Raises:
            DataError: naming the recording or the argument that doesn't fit.
        """
        return cls(*check_recordings(index, time_us, indptr, labels, sensor, channels, classes, duration, metadata))

    @classmethod
    def open(cls, path: str | os.PathLike[str], verify: bool = False) -> EventStore:
        """A saved store, memory-mapped: opening costs the same whatever its size.

        Arguments:
            path: the file.
            verify: compare the checksum, which reads everything once.

        Raises:
            DataError: if the file isn't there, isn't a store, is damaged, or (with `verify`) has changed.
        """
        arrays, channels, sensor = storage.read(Path(path), verify)
        metadata = {name.partition("/")[2]: a for name, a in arrays.items() if name.startswith("metadata/")}
        index, time, indptr, label, duration, classes = (arrays[k] for k in storage.REQUIRED)
        n = len(label)
        whole = all(a.dtype.kind == "i" and a.ndim == 1 for a in (index, time, indptr, label, duration))
        columns = [duration, *metadata.values()]
        if not whole or len(indptr) != n + 1 or any(column.shape != (n,) for column in columns):
            raise DataError(f"{path}: its arrays do not fit together; build it again")
        rising = indptr[0] == 0 and (np.diff(indptr) >= 0).all() and indptr[-1] == len(index) == len(time)
        if not rising or (duration <= 0).any() or (label < 0).any() or (label >= len(classes)).any():
            raise DataError(f"{path}: its numbers do not fit together; build it again")
        return cls(index, time, indptr, label, duration, classes.tolist(), channels, sensor, metadata)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the recordings into one file, which appears whole or not at all.

        Raises:
            DataError: if the folder can't be written or the disk lacks room.
        """
        index, time, indptr = self.arrays()
        arrays = {
            "index": index,
            "time": time,
            "indptr": indptr,
            "label": self.labels.numpy(),
            "duration": self.duration,
            "classes": np.asarray(self.classes, dtype=np.str_),
        }
        arrays |= {f"metadata/{name}": column for name, column in self.metadata.items()}
        storage.write(Path(path), arrays, self.channels, self.sensor)

    def arrays(self) -> tuple[Array, Array, Array]:
        """(index, time, indptr) of these recordings in order, without a copy where they lie side by side."""
        indptr = np.zeros(len(self) + 1, np.int64)
        np.cumsum(self._stop - self._start, out=indptr[1:])
        if len(self) and (self._start[1:] == self._stop[:-1]).all():
            whole = slice(self._start[0], self._stop[-1])
            index, time = self._index[whole], self._time[whole]
        else:
            parts = [slice(0, 0), *(slice(a, b) for a, b in zip(self._start, self._stop, strict=True))]
            index, time = (np.concatenate([array[part] for part in parts]) for array in (self._index, self._time))
        return index if self._pooled is None else self._pooled.group[index], time, indptr

    def spans(self) -> tuple[Array, Array, Array, Array]:
        """(index, time, start, stop): the arrays of the whole store, and where in them these recordings lie."""
        return self._index, self._time, self._start, self._stop

    def recorded(self) -> tuple[int, Sensor | None, Pooling | None]:
        """Channels and sensor of the arrays of `spans`, and how they are pooled."""
        return *self._recorded, self._pooled

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def rate(self) -> float:
        """Mean rate of a channel, Hz: events per second and channel, over all the recordings; 0.0 without any event."""
        events = int((self._stop - self._start).sum())
        return events * 1e6 / (max(1, int(self.duration.sum())) * self.channels)

    def name(self, i: int) -> str:
        """What errors call recording i: its name if it has one, else its position in the whole store."""
        name = str(self.metadata["name"][i]) if "name" in self.metadata else None
        return name_of(int(self.ids[i]), name)

    def select(self, indices: Any) -> EventStore:
        """A view of some recordings.

        Arguments:
            indices: positions (list, array, tensor), a slice, or (n,) bool.

        Raises:
            IndexError: if a position isn't in the store.
        """
        at = self._positions(indices)
        part = copy.copy(self)
        part._start, part._stop = self._start[at], self._stop[at]
        part.ids, part.labels, part.duration = self.ids[at], self.labels[torch.from_numpy(at)], self.duration[at]
        part.metadata = {name: column[at] for name, column in self.metadata.items()}
        return part

    def pooled(self, size: int) -> EventStore:
        """A view that sees groups of neighbouring channels, or squares of pixels, as one channel.

        Events are pooled on their way into bins, after they have been augmented; nothing is copied.

        Arguments:
            size: channels of a group, or pixels along each side of a square.

        Raises:
            ValueError: as `spiking.datasets.pooling.pooling`.
        """
        part = copy.copy(self)
        now = pooling(self.channels, self.sensor, size)
        before = self._pooled
        part._pooled = now if before is None else now._replace(group=now.group[before.group])
        part.channels, part.sensor = now.channels, now.sensor
        return part

    def split(
        self, by: str | None = None, hold_out: split.HoldOut = 0.2, seed: int = 0
    ) -> tuple[EventStore, EventStore]:
        """Two views, (rest, held out).

        Arguments:
            by: a metadata column, whose values are never divided between the two; `None` holds out recordings, in
                the same share of every class.
            hold_out: how many values of the column (or recordings) are held out, or which share of them (0 to 1), or
                a list of them.
            seed: draws which, when they are not listed.

        Raises:
            ValueError: if there is no such column or no such value, or one part would be empty.
        """
        if by is None:
            held = split.hold_out_share(self.labels.numpy(), hold_out, seed)
        elif by in self.metadata:
            held = split.hold_out_values(self.metadata[by], hold_out, seed, by)
        else:
            raise ValueError(f"by: expected None or one of the columns {sorted(self.metadata)}, got {by!r}")
        return self.select(~held), self.select(held)

    def folds(self, k: int = 5, seed: int = 0) -> list[tuple[EventStore, EventStore]]:
        """k pairs of views (train, test) for cross-validation, every class spread evenly over the tests."""
        fold = split.fold_numbers(self.labels.numpy(), k, seed)
        return [(self.select(fold != i), self.select(fold == i)) for i in range(k)]

    def batch(
        self, indices: Any, dt: float = 5.0, steps: int | None = None, binary: bool = False
    ) -> tuple[Events, Tensor]:
        """Some recordings, binned.

        Arguments:
            indices: as `select` takes them.
            dt: length of a step, ms; step k holds k*dt <= t < (k+1)*dt.
            steps: T; events from steps*dt on are left out. `None` means as many as the longest of the batch needs.
            binary: several events in one step and channel count once.

        Returns:
            Events (T, B, N) with lengths, and the labels (B,).
        """
        at = self._positions(indices)
        start, stop, duration = self._start[at], self._stop[at], self.duration[at]
        channels, sensor, pooled = self.recorded()
        given = (self._index, self._time, start, stop, duration, channels)
        return bin_events(*given, dt, steps, binary, sensor, pooled), self.labels[torch.from_numpy(at)]

    def loader(self, batch_size: int, dt: float = 5.0, steps: int | None = None, **options: Any) -> Loader:
        """Batches of all recordings, epoch after epoch; arguments as `Loader` takes them."""
        from spiking.datasets.loader import Loader

        return Loader(self, batch_size, dt, steps, **options)

    def counts(self, bins: int = 1, horizon: float | None = None) -> Array:
        """Events of each channel in equal parts of time, the features of the linear controls.

        Arguments:
            bins: parts.
            horizon: where the last part ends, ms; `None` means the longest recording of the whole store, for its views
                as well, so that train and test have the same parts.

        Returns:
            (n, bins * N) float32, column k*N + c for part k and channel c.
        """
        horizon = max(self._longest, 1) / 1000 if horizon is None else horizon
        channels, _, pooled = self.recorded()
        return count_events(self._index, self._time, self._start, self._stop, channels, horizon, bins, pooled)

    def _positions(self, indices: Any) -> Array:
        at = np.arange(len(self))[indices] if isinstance(indices, slice) else np.asarray(indices)
        if at.ndim != 1:
            raise IndexError(f"indices: expected a list of positions, got shape {at.shape}")
        if at.dtype == np.bool_:
            if len(at) != len(self):
                raise IndexError(f"indices: expected {len(self)} booleans, got {len(at)}")
            return np.flatnonzero(at)
        if len(at) and at.dtype.kind not in "iu":
            raise IndexError(f"indices: expected whole numbers, got {at.dtype}")
        at = at.astype(np.int64)
        if len(at) and not (0 <= at.min() and at.max() < len(self)):
            raise IndexError(f"indices: expected 0 to {len(self) - 1}, got {at.min()} to {at.max()}")
        return at

    def __repr__(self) -> str:
        where = f"{self.channels} channels" if self.sensor is None else f"sensor={self.sensor}"
        events = int((self._stop - self._start).sum())
        return f"EventStore({len(self)} recordings, {len(self.classes)} classes, {where}, {events} events)"
