"""One's own recordings: `.npz`, `.h5` or `.csv`, a file each, with columns of equal length.

    t or t_us (microseconds), t_ms or t_s         when; fractions are rounded to whole microseconds
    x, y and, where there are polarities, p       a camera's pixel; p is 0 or 1, or -1 or 1
    channel                                       instead of x, y, p

`.npz` and `.h5` name the columns as arrays (in `.h5` at the top or in a group `events`) and may hold `label`, which
must then be the name of the class folder. `.csv` names the columns in its first line.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spiking.datasets.errors import DataError
from spiking.datasets.webpage import refuse_page

Array = np.ndarray[Any, Any]

UNITS = {"t": 1.0, "t_us": 1.0, "t_ms": 1e3, "t_s": 1e6}
LATEST = 1 << 53  # microseconds, 285 years: beyond it floating numbers skip some
SUFFIXES = (".npz", ".h5", ".hdf5", ".csv")


@dataclass(frozen=True)
class Recording:
    """One file's events.

    Attributes:
        time: (events,) int64 microseconds, rising.
        place: (events, 3) int64 x, y, p of a camera, or (events, 1) channels.
        polarities: 2 where there is a column p, else 1.
    """

    time: Array
    place: Array
    polarities: int


def read(path: Path, name: str, label: str) -> Recording:
    """One recording.

    Arguments:
        path: the file.
        name: what errors call it.
        label: its class.

    Raises:
        DataError: with the name, if the file can't be read, lacks a column, has no events, contains NaN, negative or
            fractional places, or times that are negative or run backwards, or belongs to another class.
    """
    with path.open("rb") as file:
        refuse_page(file.read(512), name)
    try:
        columns = _columns(path)
    except Exception as error:  # zipfile, numpy and h5py raise nearly anything on a damaged file
        raise DataError(f"{name}: can't be read as {path.suffix} ({error or type(error).__name__})") from error
    own = columns.pop("label", None)
    if own is not None and _text(own) != label:
        raise DataError(f"{name}: its label is {_text(own)!r}, its folder {label!r}")
    clock = [key for key in UNITS if key in columns]
    camera = "x" in columns and "y" in columns
    if len(clock) != 1 or camera == ("channel" in columns):
        named = sorted(map(str, columns))
        raise DataError(f"{name}: expected one of t, t_us, t_ms, t_s and x, y (p) or channel, got {named}")
    places = (["x", "y", "p"] if "p" in columns else ["x", "y"]) if camera else ["channel"]
    checked = {key: _finite(columns[key], key, name) for key in [*clock, *places]}
    if len({len(column) for column in checked.values()}) > 1:
        raise DataError(f"{name}: columns differ in length: { {k: len(c) for k, c in checked.items()} }")
    unit, exact = UNITS[clock[0]], checked[clock[0]].astype(np.float64)
    if not len(exact):
        raise DataError(f"{name}: no events")
    if exact.min() < 0:
        raise DataError(f"{name}: event {int((exact < 0).argmax())} has a negative time")
    if exact.max() > LATEST / unit:
        raise DataError(f"{name}: {clock[0]} of event {int(exact.argmax())} is {exact.max()}, beyond {LATEST / unit:g}")
    time = np.rint(exact * unit).astype(np.int64)
    backwards = np.diff(time) < 0
    if backwards.any():
        i = int(backwards.argmax()) + 1
        raise DataError(f"{name}: times run backwards at event {i}, {time[i - 1]} us and then {time[i]} us")
    place = np.zeros((len(time), 3 if camera else 1), np.int64)
    for k, key in enumerate(places):
        place[:, k] = _whole(checked[key], key, name)
    return Recording(time, place, 2 if "p" in places else 1)


def _columns(path: Path) -> dict[str, Array]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig") as file:
            header = [word.strip() for word in file.readline().split(",")]
            body = file.read()
        if len(set(header)) < len(header):
            raise ValueError(f"a column is named twice, {header}")
        if not body.strip():
            return {key: np.zeros(0) for key in header}
        table = np.loadtxt(body.splitlines(), delimiter=",", ndmin=2)
        if table.shape[1] != len(header):
            raise ValueError(f"{len(header)} column names and {table.shape[1]} columns")
        return dict(zip(header, table.T, strict=True))
    if path.suffix == ".npz":
        # np.load doesn't close a damaged file that it has opened itself
        if not zipfile.is_zipfile(path):  # what np.load says of these invites to unpickle them
            raise ValueError("cut off, or no zip archive of arrays as numpy.savez writes it")
        with path.open("rb") as packed, np.load(packed, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    with h5py.File(path, "r") as file:
        group: Mapping[str, Any] = file["events"] if isinstance(file.get("events"), h5py.Group) else file
        columns = {key: np.asarray(item[...]) for key, item in group.items() if isinstance(item, h5py.Dataset)}
        if isinstance(file.get("label"), h5py.Dataset):
            columns["label"] = np.asarray(file["label"][...])
        return columns


def _text(label: Array) -> str:
    value = label.reshape(-1)[0] if label.size else ""
    return value.decode() if isinstance(value, bytes) else str(value)


def _finite(column: Array, key: str, name: str) -> Array:
    if column.ndim != 1 or column.dtype.kind not in "iufb":
        raise DataError(f"{name}: expected {key} as a column of numbers, got {column.dtype} {column.shape}")
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        i = int((~np.isfinite(column)).argmax())
        raise DataError(f"{name}: {key} of event {i} is {column[i]}")
    return column


def _whole(column: Array, key: str, name: str) -> Array:
    """Coordinates; polarities -1 and 1 become 0 and 1."""
    low, high = (-1, 1) if key == "p" else (0, (1 << 31) - 2)
    exact = column.astype(np.float64)
    bad = (exact < low) | (exact > high) | (exact % 1 != 0)
    if key == "p" and (exact < 0).any():
        bad |= exact == 0
    if bad.any():
        i = int(bad.argmax())
        wanted = "0 and 1, or -1 and 1" if key == "p" else f"a whole number from 0 to {high}"
        raise DataError(f"{name}: {key} of event {i} is {column[i]}, expected {wanted}")
    return np.maximum(exact.astype(np.int64), 0)
