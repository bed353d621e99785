"""SHD and SSC: spikes of a simulated inner ear for spoken words (Cramer et al. 2020), one HDF5 file a split.

    /spikes/times (n,) of float16, seconds       /labels (n,) int
    /spikes/units (n,) of int, 0 to 699          /extra/keys (classes,) names    /extra/speaker (n,) int

float16 seconds have steps of 0.5 ms at 0.7 s and 1 ms beyond 1 s, and overflow when scaled before they are cast: they
become float64 first. Where a file's spikes are not in order of time they are put in order, channels staying with times.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spiking.datasets.errors import DataError
from spiking.datasets.storage import atomic, check_room
from spiking.datasets.store import EventStore

Array = np.ndarray[Any, Any]

CHANNELS = 700


def read(path: str | os.PathLike[str]) -> EventStore:
    """The recordings of one file, with a column `speaker` where the file has one.

    Raises:
        DataError: with the file, and the recording where one is wrong.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file; expected an HDF5 file in the layout of shd_train.h5")
    try:
        with h5py.File(path, "r") as file:
            times, units, labels = file["spikes/times"][...], file["spikes/units"][...], file["labels"][...]
            classes = [key.decode() for key in file["extra/keys"][...]] if "extra/keys" in file else None
            columns = {"speaker": file["extra/speaker"][...]} if "extra/speaker" in file else {}
    except (OSError, KeyError) as error:
        raise DataError(f"{path}: not a readable file in the layout of shd_train.h5 ({error})") from error
    sizes = np.array([len(t) for t in times], np.int64)
    if len(times) != len(units) or (sizes != [len(u) for u in units]).any():
        raise DataError(f"{path}: times and units differ in length")
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    # the microsecond in which a spike lies, so that it stays on its side of every edge at whole microseconds
    time = np.floor(np.concatenate([*times, np.zeros(0)]).astype(np.float64) * 1e6)
    index = np.concatenate([*units, np.zeros(0, np.int64)]).astype(np.int64)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    if (np.diff(time)[np.diff(owner) == 0] < 0).any():
        order = np.lexsort((time, owner))
        time, index = time[order], index[order]
    try:
        return EventStore.from_arrays(index, time, indptr, labels, None, CHANNELS, classes, **columns)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


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
