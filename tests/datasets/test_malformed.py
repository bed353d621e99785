"""Malformed recordings: a reader gives whole events, or one DataError that names the recording or the argument."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking.datasets import DataError, EventStore
from spiking.datasets.formats import folder, nmnist
from tests.datasets.test_formats import save, word

CAMERA: dict[str, Any] = {"t": [1, 2, 3], "x": [0, 1, 2], "y": [2, 1, 0], "p": [0, 1, 1]}
CHANNELS: dict[str, Any] = {"t_ms": [1.0, 2.0, 3.5], "channel": [0, 1, 2], "label": "cat"}


def packed(make: Callable[..., None], **columns: Any) -> bytes:
    """What a function that saves NumPy arrays writes."""
    data = io.BytesIO()
    make(data, **columns)
    return data.getvalue()


def hdf5(**columns: Any) -> bytes:
    """Columns as an HDF5 file."""
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for name, column in columns.items():
            file[name] = column
    return data.getvalue()


FILES: dict[str, list[bytes]] = {
    ".bin": [b"".join(word(x, 5, x % 2, 100 * x) for x in range(9)), word(1, 240, 0, 0) + word(1, 1, 0, 9)],
    ".npz": [packed(np.savez, **CAMERA), packed(np.savez_compressed, **CHANNELS), packed(np.save, arr=np.arange(3))],
    ".h5": [hdf5(**CAMERA), hdf5(**CHANNELS)],
    ".csv": [b"t,x,y,p\n1,0,2,0\n2,1,1,1\n", b"t_ms, channel\n1,0\n2.5,1e0\n"],
}


@st.composite
def damaged(draw: st.DrawFn, suffix: str) -> bytes:
    """A file of which some bytes have changed, gone or come, or nothing but noise."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=60))
    data = bytearray(draw(st.sampled_from(FILES[suffix])))
    words = st.sampled_from([b"nan", b"-1", b"1e999", b"\n", b",", b"\xff", b"\0" * 8])
    some = st.binary(min_size=1, max_size=4) | words
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(data)))
        new = draw(some)
        gone = draw(st.sampled_from([0, len(new), len(new), 20]))
        data[at : at + gone] = new
    return bytes(data)


@settings(max_examples=200)
@given(damaged(".bin"))
def test_nmnist_files(data: bytes) -> None:
    try:
        index, time = nmnist.decode(data, "a.bin")
    except DataError as error:
        assert str(error).startswith("a.bin: ")
        return
    assert len(index) == len(time) > 0 and 0 <= index.min() and index.max() < 2 * 34 * 34
    assert time.min() >= 0 and (np.diff(time) >= 0).all()


def read(path: Path) -> None:
    """What comes out of a file of one's own is whole, or the error has the recording's name and one line."""
    try:
        found = folder.read(path, "rec", "cat")
    except DataError as error:
        assert str(error).startswith("rec: ")
        return
    assert len(found.time) == len(found.place) > 0 and found.place.min() >= 0
    assert found.time.min() >= 0 and (np.diff(found.time) >= 0).all()


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".csv"])
@settings(max_examples=200)
@given(data=st.data())
def test_own_files(tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(data.draw(damaged(suffix)))
    read(path)


EXTREME = [0.5, 1e300, float("nan"), float("inf"), 2**31, 2**62, -(2**63)]
NUMBERS = st.one_of(st.integers(-2, 9), st.sampled_from(EXTREME))
TYPES = ["int8", "uint8", "int64", "uint64", "float16", "float32", "float64", "bool", "complex64", "S3"]


@st.composite
def columns(draw: st.DrawFn) -> Any:
    """An array of any type and content, mostly a column of two or three."""
    numbers = draw(st.lists(NUMBERS, min_size=2, max_size=3) | st.lists(NUMBERS, max_size=5))
    with np.errstate(all="ignore"):
        array = np.array(numbers, dtype=np.float64).astype(draw(st.sampled_from(TYPES)))
    return draw(st.sampled_from([array, array, array, array[None]]))


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@settings(max_examples=150)
@given(data=st.data())
def test_own_columns(tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject) -> None:
    good = data.draw(st.sampled_from([CAMERA, CHANNELS]))
    names = st.sampled_from([*good, "t", "t_s", "x", "p", "channel", "label", "other"])
    path = tmp_path_factory.getbasetemp() / f"columns{suffix}"
    read(save(path, **{**good, **data.draw(st.dictionaries(names, columns(), max_size=3))}))


GOOD: dict[str, Any] = {
    "index": [0, 5, 2], "time_us": [10, 20, 5], "indptr": [0, 2, 3], "labels": [0, 1], "sensor": None,
    "channels": 6, "classes": None, "duration": [30, 30], "speaker": ["a", "b"],
}
SIZES = st.one_of(NUMBERS, st.sampled_from([None, "6", True]))
WRONG: dict[str, Any] = {
    **{name: columns() for name in ("index", "time_us", "indptr", "labels", "duration", "speaker")},
    "sensor": st.one_of(st.tuples(*[SIZES] * 3), st.sampled_from([6, "321", (3, 2), (3, 2, 1)])),
    "channels": SIZES,
    "classes": st.sampled_from([[], ["a"], ["a", "b", "c"], "ab", 3]),
}


@settings(max_examples=300)
@given(st.fixed_dictionaries({}, optional=WRONG))
def test_own_arrays(change: dict[str, Any]) -> None:
    try:
        store = EventStore.from_arrays(**{**GOOD, **change})
    except DataError as error:
        assert str(error).split(":")[0] in {*GOOD, "recording 0", "recording 1"}, error
        return
    short = store.select((store.duration < 10**6) & (store.channels < 1000))
    events, labels = short.batch(range(len(short)))
    events._check()
    assert all(0 <= label < len(store.classes) for label in labels.tolist())
