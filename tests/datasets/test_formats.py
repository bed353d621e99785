"""Recording files: N-MNIST's words, SHD's layout, one's own files, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiking.datasets import DataError
from spiking.datasets.formats import folder, nmnist, shd


def word(x: int, y: int, p: int, t: int) -> bytes:
    """One N-MNIST event."""
    return (x << 32 | y << 24 | p << 23 | t).to_bytes(5, "big")


Event = st.tuples(st.integers(0, 33), st.integers(0, 33), st.integers(0, 1), st.integers(0, 2**23 - 1))


@given(st.lists(Event, min_size=1, max_size=20))
def test_nmnist_words(events: list[tuple[int, int, int, int]]) -> None:
    events = sorted(events, key=lambda event: event[3])
    index, time = nmnist.decode(b"".join(word(*event) for event in events), "a.bin")
    assert time.tolist() == [t for *_, t in events]
    assert index.tolist() == [(p * 34 + y) * 34 + x for x, y, p, _ in events]


def test_nmnist_overflow_adds_to_what_follows() -> None:
    data = word(1, 1, 0, 8000) + word(0, 240, 0, 0) + word(1, 1, 1, 5) + word(0, 240, 0, 0) + word(1, 1, 1, 7)
    index, time = nmnist.decode(data, "a.bin")
    assert time.tolist() == [8000, 8197, 16391] and len(index) == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (word(1, 1, 0, 5) + b"abc", "a.bin: cut off in the event at byte 5, 8 bytes"),
        (b"", "a.bin: no events in 0 bytes"),
        (word(0, 240, 0, 0), "a.bin: no events"),
        (b"<!DOCTYPE html><html>" + b" " * 4, "a.bin: a web page was saved in place of the file"),
        (word(1, 1, 0, 5) + word(34, 1, 0, 6), r"a.bin: the event at byte 5 lies at \(34, 1\), outside 34 x 34"),
        (word(0, 240, 0, 0) + word(1, 99, 0, 5), r"a.bin: the event at byte 5 lies at \(1, 99\)"),
        (word(1, 1, 0, 5) + word(1, 1, 0, 4), "a.bin: times run backwards at byte 5, 5 us and then 4 us"),
    ],
)
def test_nmnist_faults_are_named(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        nmnist.decode(data, "a.bin")


def write_shd(path: Path, times: list[Any], units: list[Any]) -> None:
    shd.write(path, times, units, np.arange(len(times)), np.arange(len(times)) + 5, ["a", "b", "c"])


def test_shd_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "shd_train.h5"
    times = [np.array([0.25, 0.7001, 1.3]), np.array([0.5, 0.25])]
    write_shd(path, times, [np.array([0, 699, 5]), np.array([3, 4])])
    store = shd.read(path)
    index, time, indptr = store.arrays()
    # float16 seconds: scaled before they are cast they would be infinite
    assert time[:3].tolist() == [int(float(np.float16(t)) * 1e6) for t in times[0]]
    assert index.tolist() == [0, 699, 5, 4, 3] and time[3:].tolist() == [250_000, 500_000]
    assert indptr.tolist() == [0, 3, 5] and store.channels == 700 and store.classes == ("a", "b", "c")
    assert store.metadata["speaker"].tolist() == [5, 6] and store.labels.tolist() == [0, 1]


def save(path: Path, **columns: Any) -> Path:
    """A recording in the format that the suffix names."""
    if path.suffix == ".npz":
        np.savez(path, **columns)
    elif path.suffix == ".csv":
        rows = zip(*columns.values(), strict=True)
        path.write_text("\n".join([", ".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")
    else:
        with h5py.File(path, "w") as file:
            for name, column in columns.items():
                file[name] = column
    return path


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".csv"])
def test_own_files(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", t=[5, 5, 9], x=[0, 1, 2], y=[3, 3, 0], p=[-1, 1, 1])
    recording = folder.read(path, "a", "label")
    assert recording.time.tolist() == [5, 5, 9] and recording.polarities == 2
    assert recording.place.tolist() == [[0, 3, 0], [1, 3, 1], [2, 0, 1]]
    path = save(tmp_path / f"b{suffix}", t_s=[0.001, 0.0025], channel=[7, 8])
    recording = folder.read(path, "b", "label")
    assert recording.time.tolist() == [1000, 2500] and recording.place.tolist() == [[7], [8]]


def test_own_h5_may_hold_a_group(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["events/t_ms"], file["events/x"], file["events/y"] = [1.5], [2], [3]
        file["label"] = "cat"
    recording = folder.read(tmp_path / "a.h5", "a", "cat")
    assert recording.time.tolist() == [1500] and recording.polarities == 1
    with pytest.raises(DataError, match="a: its label is 'cat', its folder 'dog'"):
        folder.read(tmp_path / "a.h5", "a", "dog")


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".csv"])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"t": [1, float("nan")], "channel": [0, 1]}, "rec: t of event 1 is nan"),
        ({"t": [1, 2], "x": [0, float("nan")], "y": [0, 0]}, "rec: x of event 1 is nan"),
        ({"t": [-1, 2], "channel": [0, 1]}, "rec: event 0 has a negative time"),
        ({"t": [3, 2], "channel": [0, 1]}, "rec: times run backwards at event 1, 3 us and then 2 us"),
        ({"t": [1, 2], "channel": [0, -1]}, "rec: channel of event 1 is -1"),
        ({"t": [1, 2], "channel": [0, 1.5]}, "rec: channel of event 1 is 1.5"),
        ({"t": [1, 2], "x": [0, 1], "y": [0, 1], "p": [0, 2]}, "rec: p of event 1 is 2"),
        ({"t": [1, 2, 3], "x": [0, 1, 1], "y": [0, 1, 1], "p": [-1, 0, 1]}, "rec: p of event 1 is 0"),
        ({"t": [], "channel": []}, "rec: no events"),
        ({"t": [1], "x": [0]}, "rec: expected one of t, .* got"),
        ({"t": [1], "t_ms": [1], "channel": [0]}, "rec: expected one of t, .* got"),
        ({"t": [1], "x": [0], "y": [0], "channel": [0]}, "rec: expected one of t, .* got"),
    ],
)
def test_own_faults_are_named(tmp_path: Path, suffix: str, columns: dict[str, Any], message: str) -> None:
    path = save(tmp_path / f"a{suffix}", **columns)
    with pytest.raises(DataError, match=message):
        folder.read(path, "rec", "label")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def overwrite(path: Path) -> None:
    path.write_text("words")


def spoil(path: Path) -> None:
    path.write_text("t,channel\n1,2\nthree,four\n")


def widen(path: Path) -> None:
    path.write_text("t,channel\n1,2,3\n")


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [(".npz", cut), (".npz", overwrite), (".h5", cut), (".csv", spoil), (".csv", widen), (".csv", overwrite)],
)
def test_damaged_own_files_are_named(tmp_path: Path, suffix: str, damage: Callable[[Path], None]) -> None:
    path = save(tmp_path / f"a{suffix}", t=np.arange(100), channel=np.arange(100))
    damage(path)
    with pytest.raises(DataError, match=r"rec: (can't be read as|expected one of t)") as caught:
        folder.read(path, "rec", "label")
    assert "pickle" not in str(caught.value)


def test_columns_of_different_length(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", t=[1, 2], channel=[0])
    with pytest.raises(DataError, match="rec: columns differ in length"):
        folder.read(path, "rec", "label")
