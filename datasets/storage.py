"""The store file: one HDF5 of flat arrays, written atomically, checked by a sum, read through memory maps.

    /index (events,) int16|int32    /time (events,) int32|int64, microseconds    /indptr (n + 1,) int64
    /label (n,) int64    /duration (n,) int64, microseconds    /classes (classes,) utf-8    /metadata/* (n,)
    attributes: format, version, channels, sensor (W, H, P) where there is one, sha256 of all arrays

The arrays are contiguous and not compressed, so that a memory map finds them at their offset.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spiking.datasets.errors import DataError

Array = np.ndarray[Any, Any]

FORMAT = "spiking-events"
VERSION = 1
MAPPED = ("index", "time")
REQUIRED = ("index", "time", "indptr", "label", "duration", "classes")


def write(path: Path, arrays: Mapping[str, Array], channels: int, sensor: tuple[int, int, int] | None) -> None:
    """Write a store file so that under its name there is, at any moment, the whole of it or nothing.

    Arguments:
        path: the file.
        arrays: by name, `metadata/...` among them; text as numpy strings.
        channels: N.
        sensor: (W, H, P) or `None`.

    Raises:
        DataError: if the folder can't be written or the disk has no room for it, before anything is written.
    """
    encoded = {name: _encode(array) for name, array in arrays.items()}
    check_room(path.parent, sum(a.nbytes for a in encoded.values()) + (1 << 20))
    with atomic(path) as temporary:
        with h5py.File(temporary, "w", alignment_threshold=1, alignment_interval=64) as file:
            for name, array in encoded.items():
                file.create_dataset(name, data=array)
            file.attrs.update(format=FORMAT, version=VERSION, channels=channels, sha256=checksum(encoded))
            if sensor is not None:
                file.attrs["sensor"] = sensor


def read(path: Path, verify: bool = False) -> tuple[dict[str, Array], int, tuple[int, int, int] | None]:
    """What `write` wrote; index and time are memory-mapped, changes to them never reach the file.

    Arguments:
        path: the file.
        verify: read everything once and compare the sum.

    Raises:
        DataError: if there is no such file, it isn't a store, it is truncated, or its content has changed.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; EventStore.save or spiking.datasets.load make one")
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT or any(name not in file for name in REQUIRED):
                raise DataError(f"{path}: an HDF5 file, but not an event store")
            if file.attrs["version"] != VERSION:
                raise DataError(f"{path}: format version {file.attrs['version']}, this program reads {VERSION}")
            names = [*REQUIRED, *(f"metadata/{name}" for name in file.get("metadata", ()))]
            encoded = {name: _map(path, file[name]) if name in MAPPED else file[name][...] for name in names}
            channels, sensor = int(file.attrs["channels"]), file.attrs.get("sensor")
            want = file.attrs["sha256"]
    except DataError:
        raise
    except Exception as error:  # h5py raises nearly anything on a damaged file
        raise DataError(f"{path}: not a readable event store ({error}); build it again") from error
    if verify and checksum(encoded) != want:
        raise DataError(f"{path}: the content does not match its checksum; the file was damaged, build it again")
    arrays = {name: np.char.decode(a, "utf-8") if a.dtype.kind == "S" else a for name, a in encoded.items()}
    return arrays, channels, None if sensor is None else (int(sensor[0]), int(sensor[1]), int(sensor[2]))


def checksum(arrays: Mapping[str, Array]) -> str:
    """sha256 over the arrays' names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def check_room(folder: Path, size: int) -> None:
    """Make sure, before work starts, that a folder can be written and has room.

    Arguments:
        folder: made if there is none.
        size: bytes needed.

    Raises:
        DataError: saying what is missing.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(f"{folder}: can't write here ({error.strerror}); choose another folder") from error
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DataError(f"{folder}: {size / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its name when the block ends well and goes away otherwise."""
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove what killed writers of the same file left behind, which bears the number of a process now gone."""
    for left in path.parent.glob(f".{path.name}.{socket.gethostname()}.*.tmp"):
        try:
            os.kill(int(left.name.split(".")[-2]), 0)
        except ProcessLookupError:
            left.unlink(missing_ok=True)
        except (PermissionError, ValueError):
            continue


def _encode(array: Array) -> Array:
    """Text as fixed-length utf-8 bytes, everything else as it is."""
    if array.dtype.kind != "U":
        return np.ascontiguousarray(array)
    encoded = np.char.encode(array, "utf-8")
    return encoded.astype(f"S{max(1, encoded.dtype.itemsize)}")


def _map(path: Path, dataset: Any) -> Array:
    """An HDF5 array as a copy-on-write memory map, which Numba sees as an ordinary array."""
    offset = dataset.id.get_offset()
    if offset is None:
        return dataset[...]
    return np.memmap(path, dataset.dtype, "c", offset, dataset.shape).view(np.ndarray)
