"""Checks of recordings: what goes into a store is whole, in order, in time and on the sensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from spiking.datasets.errors import DataError
from spiking.events import Sensor

Array = np.ndarray[Any, Any]

LARGEST = 1 << 53  # beyond it floating numbers skip some whole ones; in microseconds, 285 years
MOST_CLASSES = 1 << 16


def name_of(i: int, name: str | None = None) -> str:
    """What errors call recording i."""
    return f"recording {i}" if name is None else f"recording {name!r}"


def check_recordings(
    index: Any,
    time: Any,
    indptr: Any,
    labels: Any,
    sensor: Sensor | None,
    channels: int | None,
    classes: Sequence[str] | None,
    duration: Any,
    metadata: Mapping[str, Any],
) -> tuple[Array, Array, Array, Array, Array, tuple[str, ...], int, Sensor | None, dict[str, Array]]:
    """The arguments of `EventStore.from_arrays`, checked, in the smallest integer types that hold them.

    Returns:
        (index, time, indptr, labels, duration, classes, channels, sensor, metadata).

    Raises:
        DataError: naming the recording or the argument that doesn't fit.
    """
    pointer = _whole("indptr", indptr)
    if not len(pointer) or pointer[0] != 0 or (np.diff(pointer) < 0).any():
        raise DataError("indptr: expected a rising sequence that begins with 0, one longer than the recordings")
    n = len(pointer) - 1
    columns = {name: _column(name, values, n) for name, values in metadata.items()}

    def name(i: Any) -> str:
        return name_of(int(i), str(columns["name"][i]) if "name" in columns else None)

    def owner(event: Any) -> str:
        return name(np.searchsorted(pointer, event, side="right") - 1)

    index, time = _array("index", index), _array("time_us", time)
    if not index.size == time.size == pointer[-1]:
        raise DataError(f"indptr: speaks of {pointer[-1]} events, index has {index.size}, time_us {time.size}")
    index, time = _whole("index", index, owner), _whole("time_us", time, owner)
    sensor, channels = _channels(sensor, channels, index)
    _first(index < 0, lambda e: f"{owner(e)}: channel {index[e]} is below 0")
    _first(index >= channels, lambda e: f"{owner(e)}: {_where(index[e], sensor, channels)}")
    _first(time < 0, lambda e: f"{owner(e)}: time {time[e]} us is below 0")
    backwards = np.diff(time) < 0
    seams = pointer[1:-1]
    backwards[seams[(seams > 0) & (seams < len(time))] - 1] = False
    _first(backwards, lambda e: f"{owner(e)}: times run backwards, {time[e]} us and then {time[e + 1]} us")

    empty = np.diff(pointer) == 0
    if duration is None:
        _first(empty, lambda i: f"{name(i)}: no events; leave it out, or give its duration")
        lasts = time[pointer[1:] - 1].astype(np.int64) + 1
    else:
        lasts = np.broadcast_to(_numbers("duration", duration), (n,)) if np.ndim(duration) == 0 else duration
        lasts = np.ceil(_numbers("duration", lasts)).astype(np.int64)
        if lasts.shape != (n,):
            raise DataError(f"duration: expected one number or ({n},), got {lasts.shape}")
        last = np.where(empty, -1, time[np.maximum(pointer[1:], 1) - 1] if len(time) else -1)
        _first(lasts <= last, lambda i: f"{name(i)}: an event at {last[i]} us, a duration of {lasts[i]} us")
        _first(lasts <= 0, lambda i: f"{name(i)}: a duration of {lasts[i]} us")
    label, names = _labels(labels, classes, n, name)
    index = index.astype(np.int16 if channels <= 1 << 15 else np.int32, copy=False)
    time = time.astype(np.int32 if lasts.max(initial=0) < 1 << 31 else np.int64, copy=False)
    return index, time, pointer, label, lasts, names, channels, sensor, columns


def _array(name: str, values: Any) -> Array:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"{name}: expected an array ({error})") from error


def _numbers(name: str, values: Any) -> Array:
    array = _array(name, values)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{name}: expected numbers, got {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{name}: contains NaN or infinite values")
    if array.size and not -LARGEST <= array.min() <= array.max() <= LARGEST:
        raise DataError(f"{name}: expected numbers up to {LARGEST:.0e}, got {array.min()} to {array.max()}")
    return array


def _whole(name: str, values: Any, owner: Callable[[int], str] | None = None) -> Array:
    """A contiguous (m,) integer array; floating numbers are taken when they are whole."""
    array = _array(name, values)
    if array.ndim != 1:
        raise DataError(f"{name}: expected one dimension, got {array.shape}")
    if not array.size:
        return np.zeros(0, np.int64)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{name}: expected whole numbers, got {array.dtype}")
    if array.dtype.kind == "i" and array.dtype.itemsize <= 4:
        return np.ascontiguousarray(array)

    def where(e: int) -> str:
        return f"{name}: entry {e}" if owner is None else f"{owner(e)}: {name}"

    if array.dtype.kind == "f":
        array = array.astype(np.float64)
        _first(~np.isfinite(array), lambda e: f"{where(e)} contains {array[e]}")
        _first(array % 1 != 0, lambda e: f"{where(e)} is {array[e]}, not a whole number")
    _first((array > LARGEST) | (array < -LARGEST), lambda e: f"{where(e)} is {array[e]}, beyond {LARGEST:.0e}")
    return np.ascontiguousarray(array, np.int64)


def _column(name: str, values: Any, n: int) -> Array:
    array = _array(name, values)
    if array.dtype.kind == "O":
        array = array.astype(np.str_)
    if array.shape != (n,):
        raise DataError(f"{name}: expected a column of {n}, one per recording, got {array.shape}")
    if array.dtype.kind not in "iufbU":
        raise DataError(f"{name}: expected numbers or text, got {array.dtype}")
    return array


def _channels(sensor: Any, channels: Any, index: Array) -> tuple[Sensor | None, int]:
    if sensor is not None:
        if not isinstance(sensor, (tuple, list)) or len(sensor) != 3 or not all(map(_is_size, sensor)):
            raise DataError(f"sensor: expected (W, H, P), got {sensor!r}")
        sensor = (int(sensor[0]), int(sensor[1]), int(sensor[2]))
        pixels = sensor[0] * sensor[1] * sensor[2]
        if channels is not None and channels != pixels:
            raise DataError(f"channels: sensor {sensor} has {pixels}, got {channels}")
        channels = pixels
    elif channels is None:
        channels = int(index.max(initial=0)) + 1
    if not _is_size(channels) or channels >= 1 << 31:
        raise DataError(f"channels: expected a whole number of at least 1, got {channels!r}")
    return sensor, int(channels)


def _is_size(number: Any) -> bool:
    return isinstance(number, Real) and float(number).is_integer() and float(number) >= 1


def _where(channel: int, sensor: Sensor | None, channels: int) -> str:
    if sensor is None:
        return f"channel {channel} is outside 0 to {channels - 1}"
    return f"channel {channel} is outside the sensor {sensor}, whose channels are 0 to {channels - 1}"


def _labels(labels: Any, classes: Any, n: int, name: Any) -> tuple[Array, tuple[str, ...]]:
    array = _array("labels", labels)
    if classes is not None and not isinstance(classes, (Sequence, np.ndarray)):
        raise DataError(f"classes: expected a list of names, got {classes!r}")
    if array.shape != (n,):
        raise DataError(f"labels: expected ({n},), one per recording, got {array.shape}")
    if array.dtype.kind in "UO":
        names = tuple(str(c) for c in (np.unique(array) if classes is None else classes))
        place = {c: i for i, c in enumerate(names)}
        _first(
            np.array([str(a) not in place for a in array], dtype=bool),
            lambda i: f"{name(i)}: label {str(array[i])!r} is not among the classes {list(names)}",
        )
        return np.array([place[str(a)] for a in array], dtype=np.int64), names
    label = _whole("labels", array, name).astype(np.int64)
    _first(label < 0, lambda i: f"{name(i)}: label {label[i]} is below 0")
    _first(label >= MOST_CLASSES, lambda i: f"{name(i)}: label {label[i]}, more than {MOST_CLASSES} classes")
    names = tuple(str(c) for c in (range(label.max(initial=-1) + 1) if classes is None else classes))
    _first(label >= len(names), lambda i: f"{name(i)}: label {label[i]}, but there are {len(names)} classes")
    return label, names


def _first(bad: Array, message: Any) -> None:
    """Raise about the first place that is bad, if there is one."""
    if bad.any():
        raise DataError(message(int(bad.argmax())))
