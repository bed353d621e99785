"""dvsgesture: AEDAT 3.1 bit by bit, gestures cut as the labels say, and everything that may be wrong with either."""

from __future__ import annotations

import hashlib
import re
import struct
import sys
import tarfile
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking.datasets import DataError, load
from spiking.datasets.formats import aedat
from spiking.datasets.sources import dvsgesture

HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 0: DVS128\r\n#Start-Time: 2016-06-02 11:10:42\r\n#!END-HEADER\r\n"
Event = tuple[int, int, int, int]


def event(x: int, y: int, p: int, t: int, valid: int = 1) -> bytes:
    """One polarity event, from the specification's bits."""
    return (x << 17 | y << 2 | p << 1 | valid).to_bytes(4, "little") + t.to_bytes(4, "little")


def packet(
    events: Sequence[bytes], kind: int = 1, size: int = 8, overflow: int = 0, spare: int = 0, valid: int | None = None
) -> bytes:
    """A packet with room for `spare` more events than it has."""
    number = len(events)
    given = (kind, 1, size, 4, overflow, number + spare, number, number if valid is None else valid)
    return struct.pack("<hhiiiiii", *given) + b"".join(events) + bytes(size * spare)


def files(root: Path, trials: dict[str, str], events: Sequence[Event] = ()) -> Path:
    """Trials by name, "train" or "test" each, with two gestures from 1,000 and from 3,000 us."""
    root.mkdir(parents=True, exist_ok=True)
    events = events or [(1, 2, 0, 999), (3, 4, 1, 1000), (127, 127, 1, 1999), (0, 0, 0, 2000), (5, 6, 0, 3500)]
    for trial in trials:
        (root / f"{trial}.aedat").write_bytes(HEADER + packet([event(*e) for e in events]))
        rows = ["class,startTime_usec,endTime_usec", "2,1000,2000", "11,3000,4000"]
        (root / f"{trial}_labels.csv").write_text("\n".join(rows) + "\n")
    for split in ("train", "test"):
        names = [f"{trial}.aedat\n" for trial, part in trials.items() if part == split]
        (root / f"trials_to_{split}.txt").write_text("".join(names))
    return root


TRIALS = {"user01_fluorescent": "train", "user01_fluorescent_led": "train", "user24_natural": "test"}

Random = st.tuples(st.integers(0, 127), st.integers(0, 127), st.integers(0, 1), st.integers(0, 2**31 - 1))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(Random, max_size=5), max_size=4), st.integers(0, 3))
def test_what_was_written_bit_by_bit_is_read_back(packets: list[list[Event]], spare: int) -> None:
    data = HEADER + b"".join(packet([event(*e) for e in part], spare=spare) for part in packets)
    flat = sorted((e for part in packets for e in part), key=lambda e: e[3])
    assert [tuple(e) for e in np.array(aedat.decode(data, "a.aedat", 128, 128)).T] == flat


def test_the_clock_s_overflow_goes_into_the_time() -> None:
    data = HEADER + packet([event(1, 2, 1, 7)]) + packet([event(1, 2, 1, 5)], overflow=2)
    assert aedat.decode(data, "a", 128, 128).time.tolist() == [7, 5 + 2 * 2**31]


def test_other_packets_and_invalid_events_are_passed_over() -> None:
    imu = packet([bytes(36)], kind=3, size=36)
    mixed = packet([event(1, 1, 0, 1), event(2, 2, 0, 2, valid=0), event(3, 3, 0, 3)], valid=2)
    unmarked = packet([event(4, 4, 0, 4, valid=0)])  # a writer that never sets the mark counts all as valid
    assert aedat.decode(HEADER + imu + mixed + unmarked + imu, "a", 128, 128).x.tolist() == [1, 3, 4]


AT = len(HEADER)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a: not an AEDAT file, it begins with b''"),
        (b"<html>", "a: a web page was saved in place of the file"),
        (b"#!AER-DAT2.0\r\n" + bytes(80), "a: AEDAT version 2.0, expected 3.1, as the published files are"),
        (b"#!AER-DAT4.0\r\n", "a: AEDAT version 4.0, expected 3.1"),
        (b"#!AER-DAT3.1\r\n#Format: RAW\r\n", "a: no #!END-HEADER before byte 28"),
        (b"#!AER-DAT3.1\r\n" + packet([]), "a: no #!END-HEADER before byte 14"),
        (HEADER + b"123", f"a: cut off in the packet header at byte {AT}, the file ends at {AT + 3}"),
        (HEADER + packet([event(0, 0, 0, 0)] * 3)[:-1], f"cut off in the packet at byte {AT}, which ends at {AT + 52}"),
        (HEADER + bytes(28), f"a: no packet header at byte {AT}"),
        (HEADER + packet([bytes(16)], size=16), f"polarity events of 16 bytes at byte {AT}"),
        (HEADER + packet([event(0, 0, 0, 0), event(128, 9, 0, 0)]), rf"byte {AT + 36} lies at \(128, 9\), outside 128"),
        (HEADER + packet([event(0, 200, 0, 0)]), r"lies at \(0, 200\), outside 128 x 128"),
    ],
)
def test_faults_are_named(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        aedat.decode(data, "a", 128, 128)


def test_gestures_are_cut_as_the_labels_say(tmp_path: Path) -> None:
    store = load("dvsgesture", "all", root=files(tmp_path, TRIALS), cache=tmp_path / "cache")
    index, time, indptr = store.arrays()
    assert store.sensor == (128, 128, 2) and len(store.classes) == 11
    assert indptr.tolist() == [0, 2, 3, 5, 6, 8, 9] and time[:3].tolist() == [0, 999, 500]
    assert index[:3].tolist() == [(128 + 4) * 128 + 3, 2 * 128 * 128 - 1, 6 * 128 + 5]
    assert store.labels.tolist() == [1, 10] * 3 and store.duration.tolist() == [1000] * 6
    assert store.metadata["user"].tolist() == [1, 1, 1, 1, 24, 24]
    assert store.metadata["lighting"].tolist() == ["fluorescent"] * 2 + ["fluorescent_led"] * 2 + ["natural"] * 2
    assert store.metadata["name"].tolist()[:3] == [f"user01_fluorescent{end}" for end in (":0", ":1", "_led:0")]
    assert store.metadata["split"].tolist() == ["train"] * 4 + ["test"] * 2
    events, _ = store.batch([0], dt=1.0)  # the event at the very end of its millisecond stays in it
    assert events.shape[0] == 1 and events.nnz == 2


def test_an_archive_is_read_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = files(tmp_path / "DvsGesture", TRIALS)
    plain = load("dvsgesture", "all", root=tmp_path, cache=tmp_path / "cache")
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed" / "DvsGesture.tar.gz", "w:gz") as tar:
        tar.add(root, "DvsGesture")
    known = hashlib.md5((tmp_path / "packed" / "DvsGesture.tar.gz").read_bytes()).hexdigest()
    published = "8a5c71fb11e24e5ca5b11866ca6c00a1"
    with pytest.raises(DataError, match=rf"tar.gz: its checksum is {known}, the published file's {published}: .*"):
        load("dvsgesture", root=tmp_path / "packed", cache=tmp_path / "cache")
    monkeypatch.setitem(dvsgesture.MD5, "dvsgesture.tar.gz", known)
    for where in (tmp_path / "packed", tmp_path / "packed" / "DvsGesture.tar.gz"):
        store = load("dvsgesture", "all", root=where, cache=tmp_path / "cache")
        order = np.argsort(store.metadata["name"]), np.argsort(plain.metadata["name"])
        mine, theirs = (s.select(o).arrays() for s, o in zip((store, plain), order, strict=True))
        assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))
    packed = tmp_path / "packed" / "DvsGesture.tar.gz"
    packed.write_bytes(packed.read_bytes()[:200])
    with pytest.raises(DataError, match=rf"tar.gz: its checksum is \w{{32}}, .*{known}: the download was cut off"):
        load("dvsgesture", root=packed, cache=tmp_path / "cache")
    packed = packed.rename(packed.with_name("mine.tar.gz"))
    with pytest.raises(DataError, match=r"tar.gz: can't be read as an archive .* put DvsGesture.tar.gz from"):
        load("dvsgesture", root=packed, cache=tmp_path / "cache")
    packed.write_text("<!doctype html><title>Box</title>")
    for name in ("mine.tar.gz", "DvsGesture.tar.gz"):
        packed = packed.rename(packed.with_name(name))
        with pytest.raises(DataError, match=rf"{name}: a web page was saved in place of the file"):
            load("dvsgesture", root=packed, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["12,1000,2000"], r"user01_fluorescent_labels.csv: gesture 0 is of class 12 and lasts from 1000 to 2000 us"),
        (["1,1000,2000", "1,2000,2000"], "gesture 1 is of class 1 and lasts from 2000 to 2000"),
        (["1,2100,2900"], r"user01_fluorescent.aedat: no events in gesture 0, from 2100 to 2900 us"),
        (["1,1000"], "expected rows of class,startTime_usec,endTime_usec"),
        ([], "expected rows of class,startTime_usec,endTime_usec, got none"),
        (["1,now,later"], "can't be read as class,startTime_usec,endTime_usec"),
    ],
)
def test_labels_that_are_wrong(tmp_path: Path, rows: list[str], message: str) -> None:
    root = files(tmp_path, TRIALS)
    (root / "user01_fluorescent_labels.csv").write_text("\n".join(["class,start,end", *rows]) + "\n")
    with pytest.raises(DataError, match=message):
        load("dvsgesture", root=root, cache=tmp_path / "cache")
    with pytest.warns(UserWarning, match="left out 1 of 3 recordings"):
        assert len(load("dvsgesture", "all", root=root, cache=tmp_path / "cache", skip_corrupt=True)) == 4


@pytest.mark.parametrize("name", ["user01_fluorescent.aedat", "user01_fluorescent_labels.csv", "trials_to_train.txt"])
def test_a_web_page_in_place_of_a_file(tmp_path: Path, name: str) -> None:
    root = files(tmp_path, TRIALS)
    (root / name).write_text("\n<!DOCTYPE html>\n<html><body>Sign in</body></html>")
    with pytest.raises(DataError, match=rf"{name}: a web page was saved in place of the file"):
        load("dvsgesture", root=root, cache=tmp_path / "cache")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    root, cache = files(tmp_path / "a", TRIALS), tmp_path / "cache"
    (root / "user01_fluorescent_labels.csv").unlink()
    with pytest.raises(DataError, match=r"user01_fluorescent_labels.csv: isn't there"):
        load("dvsgesture", root=root, cache=cache)
    (root / "user01_fluorescent.aedat").unlink()
    with pytest.raises(DataError, match=r"user01_fluorescent.aedat: is named in trials_to_train.txt, but isn't there"):
        load("dvsgesture", root=root, cache=cache)
    root = files(tmp_path / "b", {"user01_led": "train"})
    assert len(load("dvsgesture", root=root, cache=cache)) == 2
    with pytest.raises(DataError, match=r"no recordings in 'test', only in train; for these, put DvsGesture.tar.gz"):
        load("dvsgesture", "test", root=root, cache=cache)
    for where in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=rf"{re.escape(str(where))}: no DVS128 Gesture here; looked for trials_to"):
            load("dvsgesture", root=where, cache=cache)
    root = files(tmp_path / "c", {"theirs": "train"})
    with pytest.raises(DataError, match=r"neither trials_to_train.txt nor"):
        load("dvsgesture", root=root, cache=cache)


def tonic_files(where: Path, train: bool) -> None:
    """tonic's edition: x, y, polarity, milliseconds."""
    folder = where / "DVSGesture" / ("ibmGestureTrain" if train else "ibmGestureTest") / f"user0{1 + train}_led"
    folder.mkdir(parents=True)
    np.save(folder / "3.npy", np.array([[5, 6, 1, 0], [127, 0, 0, 12], [1, 1, 0, 3]], float))


def test_tonic_s_edition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("tonic.datasets")
    module.DVSGesture = lambda save_to, train: tonic_files(Path(save_to), train)
    monkeypatch.setitem(sys.modules, "tonic", types.ModuleType("tonic"))
    monkeypatch.setitem(sys.modules, "tonic.datasets", module)
    store = load("dvsgesture", "all", cache=tmp_path)
    index, time, _ = store.arrays()
    assert time.tolist() == [0, 3000, 12_000] * 2 and index[:3].tolist() == [(128 + 6) * 128 + 5, 129, 127]
    assert store.labels.tolist() == [3, 3] and store.metadata["user"].tolist() == [2, 1]
    assert store.metadata["split"].tolist() == ["train", "test"] and set(store.metadata["lighting"]) == {"led"}
    place = tmp_path / "dvsgesture" / "DVSGesture" / "ibmGestureTrain" / "user02_led" / "3.npy"
    for wrong, message in (
        (np.zeros((2, 3)), r"3.npy: expected columns x, y, polarity, ms, got float64 \(2, 3\)"),
        (np.array([[0, 128, 0, 0]]), r"3.npy: an event lies at \(0, 128\), outside 128 x 128"),
        (np.zeros((0, 4)), r"no events"),
    ):
        np.save(place, wrong)
        with pytest.raises(DataError, match=message):
            load("dvsgesture", cache=tmp_path)

    def refuse(save_to: str, train: bool) -> None:
        raise OSError("no network")

    def stop(save_to: str, train: bool) -> None:
        tonic_files(Path(save_to), train)
        raise KeyboardInterrupt

    def corrupted(save_to: str, train: bool) -> None:
        tonic_files(Path(save_to), train)
        (Path(save_to) / "DVSGesture" / "ibmGestureTrain.tar.gz").write_bytes(b"half of it")
        raise RuntimeError("File not found or corrupted.")

    module.DVSGesture = stop
    with pytest.raises(KeyboardInterrupt):
        load("dvsgesture", cache=tmp_path / "other")
    module.DVSGesture = corrupted
    got, want = hashlib.md5(b"half of it").hexdigest(), "3a8f0d4120a166bac7591f77409cb105"
    with pytest.raises(DataError, match=rf"Train.tar.gz: what came has the checksum {got}, the published file {want}"):
        load("dvsgesture", cache=tmp_path / "other")
    assert [path.name for path in (tmp_path / "other").rglob("*")] == ["dvsgesture"]
    module.DVSGesture = refuse
    with pytest.raises(DataError, match=r"download failed \(OSError: no network\); put DvsGesture.tar.gz from https"):
        load("dvsgesture", cache=tmp_path / "other")
