"""shd and ssc: the published layout bit by bit, and everything that may lie in its place."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spiking.datasets import DataError, EventStore, load
from spiking.datasets.formats import shd as layout
from spiking.datasets.sources import shd, ssc
from spiking.datasets.spool import Spool
from tests.datasets.strategies import random_store

KEYS = [f"word {k}" for k in range(20)]
# float16 seconds: 0.0, 0.24988 (the last below 0.25), 0.25, 0.5, 0.7002, 1.2002
BITS = [0x0000, 0x33FF, 0x3400, 0x3800, 0x399A, 0x3CCD]


def write(
    path: Path, times: list[Any], units: list[Any], speakers: list[int], labels: list[int] | None = None,
    keys: list[str] = KEYS,
) -> Path:  # fmt: skip
    """A file as published: vlen float16 and uint16, names as bytes, facts about each speaker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, kind, rows in (("times", np.float16, times), ("units", np.uint16, units)):
            data = file.create_dataset(f"spikes/{name}", (len(rows),), h5py.vlen_dtype(kind))
            for i, row in enumerate(rows):
                data[i] = np.asarray(row, kind)
        file["labels"] = np.array(labels or range(len(times)), np.uint16)
        file["extra/keys"] = np.array([key.encode() for key in keys])
        file["extra/speaker"] = np.array(speakers, np.uint16)
        file["extra/meta_info/gender"] = np.array([b"female", b"male"] * 6)
        file["extra/meta_info/age"] = np.arange(20, 32, dtype=np.uint16)
    return path


def files(root: Path, splits: tuple[str, ...] = ("train", "test"), name: str = "shd", keys: list[str] = KEYS) -> Path:
    """Four recordings a split, of which the second differs from split to split."""
    times = [[0.25, 0.5, 0.7], [0.125], [0.5, 1.0], [0.75]]
    for split in splits:
        s = ("train", "valid", "test").index(split)
        write(root / f"{name}_{split}.h5", times, [[0, 5, 699], [s], [3, 4], [7]], [0, 0, 3, 11], keys=keys)
    return root


def test_what_was_written_bit_by_bit_is_read_back(tmp_path: Path) -> None:
    bits = np.array(BITS, np.uint16).view(np.float16)
    units = [0, 699, 3, 3, 350, 1]
    write(tmp_path / "shd_train.h5", [bits, bits[:1]], [units, [9]], [4, 11], labels=[19, 0])
    write(tmp_path / "shd_test.h5", [bits[1:]], [units[1:]], [5], labels=[7])
    store = load("shd", "all", root=tmp_path, cache=tmp_path / "cache")
    index, time, indptr = store.arrays()
    exact = [0, 249_877, 250_000, 500_000, 700_195, 1_200_195]
    assert time.tolist() == [*exact, 0, *exact[1:]] and index.tolist() == [*units, 9, *units[1:]]
    assert indptr.tolist() == [0, 6, 7, 12] and store.channels == 700 and store.classes == tuple(KEYS)
    assert store.labels.tolist() == [19, 0, 7] and store.metadata["speaker"].tolist() == [4, 11, 5]
    assert store.metadata["gender"].tolist() == ["female", "male", "male"]
    assert store.metadata["age"].tolist() == [24, 31, 25]
    assert store.metadata["split"].tolist() == ["train", "train", "test"]
    assert store.metadata["name"].tolist() == ["shd_train.h5:0", "shd_train.h5:1", "shd_test.h5:0"]


def test_seconds_are_cast_before_they_are_scaled(tmp_path: Path) -> None:
    with np.errstate(over="ignore"):
        assert np.isinf(np.float16(0.7) * np.float16(1e6))  # the trap, under NumPy 2 with a Python float as well
    store = layout.read(write(tmp_path / "shd_train.h5", [[0.7, 1.3]], [[1, 2]], [0]))
    assert store.arrays()[1].tolist() == [700_195, 1_299_804]


def test_bins_begin_at_nought_and_end_before_their_edge(tmp_path: Path) -> None:
    bits = np.array(BITS, np.uint16).view(np.float16)
    store = layout.read(write(tmp_path / "shd_train.h5", [bits], [range(6)], [0]))
    events, _ = store.batch([0], dt=10.0)
    step, channel = events.to_dense()[:, 0].nonzero(as_tuple=True)
    assert step[channel.argsort()].tolist() == [0, 24, 25, 50, 70, 120] and events.shape == (121, 1, 700)
    assert store.batch([0], dt=10.0, steps=100)[0].nnz == 5  # nothing beyond the horizon, nothing wrapped around


def test_spikes_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    store = layout.read(write(tmp_path / "a.h5", [[0.5, 0.25, 0.5]], [[1, 2, 3]], [0]))
    assert store.arrays()[0].tolist() == [2, 1, 3]


def test_an_empty_recording_is_named_and_left_out_on_request(tmp_path: Path) -> None:
    write(tmp_path / "shd_train.h5", [[0.5], [], [0.25]], [[1], [], [2]], [0, 1, 2])
    with pytest.raises(DataError, match=r"shd_train.h5:1'?: no events.*skip_corrupt=True"):
        load("shd", root=tmp_path, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
    with pytest.warns(UserWarning, match=r"left out 1 of 3 recordings: .*shd_train.h5:1"):
        store = load("shd", root=tmp_path, cache=tmp_path / "cache", skip_corrupt=True)
    assert store.metadata["name"].tolist() == ["shd_train.h5:0", "shd_train.h5:2"]
    assert store.labels.tolist() == [0, 2] and store.metadata["speaker"].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("times", "units", "message"),
    [
        ([[0.1], [float("nan")]], [[1], [1]], "shd_train.h5:1: time_us contains nan"),
        ([[0.1], [float("inf")]], [[1], [1]], "shd_train.h5:1: time_us contains inf"),
        ([[0.1], [-0.5]], [[1], [1]], "shd_train.h5:1': time -500000 us is below 0"),
        ([[0.1], [0.2]], [[1], [700]], "shd_train.h5:1': channel 700 is outside 0 to 699"),
        ([[0.1], [0.2]], [[1], [1, 2]], "shd_train.h5:1: 1 times and 2 channels"),
    ],
)
def test_faults_are_named(tmp_path: Path, times: Any, units: Any, message: str) -> None:
    write(tmp_path / "shd_train.h5", times, units, [0, 1])
    with pytest.raises(DataError, match=message):
        load("shd", root=tmp_path, cache=tmp_path / "cache")


def test_validation_holds_out_speakers(tmp_path: Path) -> None:
    train, valid = load("shd", root=files(tmp_path), cache=tmp_path / "cache").split(by="speaker", hold_out=1)
    assert not set(train.metadata["speaker"]) & set(valid.metadata["speaker"])
    with pytest.raises(DataError, match=r"no recordings in 'valid', only in test, train; load\(...\).split\(by=...\)"):
        load("shd", "valid", root=tmp_path, cache=tmp_path / "cache")


def test_ssc_has_validation_recordings(tmp_path: Path) -> None:
    keys = [f"word {k}" for k in range(35)]
    root = files(tmp_path, ("train", "valid", "test"), "ssc", keys)
    parts = [load("ssc", split, root=root, cache=tmp_path / "cache") for split in ("train", "valid", "test")]
    assert [part.arrays()[0][3] for part in parts] == [0, 1, 2] and len(parts[1].classes) == 35


def packed(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in a .zip, whose checksum is taken for the published one."""
    archive = path.with_name(f"{path.name}.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(path, path.name)
    path.unlink()
    split = path.stem.partition("_")[2]
    monkeypatch.setitem(shd.CORPUS.md5, split, hashlib.md5(archive.read_bytes()).hexdigest())
    return archive


def test_published_archives_are_read_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load("shd", "all", root=files(tmp_path / "plain"), cache=tmp_path / "cache")
    for path in sorted(files(tmp_path / "zips").iterdir()):
        packed(path, monkeypatch)
    zipped = load("shd", "all", root=tmp_path / "zips", cache=tmp_path / "cache")
    assert all(np.array_equal(a, b) for a, b in zip(plain.arrays(), zipped.arrays(), strict=True))
    assert plain.metadata["name"].tolist() == zipped.metadata["name"].tolist()
    assert all(path.suffix == ".h5" and path.name.startswith("shd-") for path in (tmp_path / "cache").iterdir())


def test_a_checksum_that_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(files(tmp_path) / "shd_train.h5", monkeypatch)
    monkeypatch.setitem(shd.CORPUS.md5, "train", "0" * 32)
    with pytest.raises(DataError, match=r"h5.zip: its checksum is \w{32}, the published file's 0{32}.*put shd_train"):
        load("shd", root=tmp_path, cache=tmp_path / "cache")
    archive.write_bytes(archive.read_bytes()[:300])
    with pytest.raises(DataError, match=r"shd_train.h5.zip: can't be read as an archive .* Delete it; put shd_train"):
        load("shd", root=tmp_path, cache=tmp_path / "cache")


@pytest.mark.parametrize("name", ["shd_train.h5", "shd_train.h5.zip"])
def test_a_web_page_in_place_of_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n<!DOCTYPE html>\n<html><body>Too many requests</body></html>")
    with pytest.raises(DataError, match=rf"{name}: a web page was saved .* put shd_train.h5.zip.*https://zenkelab.org"):
        load("shd", root=tmp_path, cache=tmp_path / "cache")


def test_files_of_other_data_sets(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    files(tmp_path / "a", keys=[f"word {k}" for k in range(35)])
    with pytest.raises(DataError, match=r"shd_train.h5: has 35 classes, SHD has 20; put shd_train.h5.zip"):
        load("shd", root=tmp_path / "a", cache=cache)
    files(tmp_path / "b")
    write(tmp_path / "b" / "shd_test.h5", [[0.5]], [[1]], [0], keys=KEYS[::-1])
    with pytest.raises(DataError, match=r"shd_test.h5: its classes are not those of .*shd_train.h5"):
        load("shd", root=tmp_path / "b", cache=cache)
    (tmp_path / "c").mkdir()
    random_store().save(tmp_path / "c" / "shd_train.h5")
    with pytest.raises(DataError, match=r"shd_train.h5: an event store of this package, not that of shd_train.h5"):
        load("shd", root=tmp_path / "c", cache=cache)
    with h5py.File(tmp_path / "c" / "shd_train.h5", "w") as file:
        file["spikes/times/x"] = 1
    with pytest.raises(DataError, match=r"shd_train.h5: another layout, not that of shd_train.h5"):
        load("shd", root=tmp_path / "c", cache=cache)
    (tmp_path / "c" / "shd_train.h5").write_text("words")
    with pytest.raises(DataError, match=r"shd_train.h5: not a readable HDF5 file"):
        load("shd", root=tmp_path / "c", cache=cache)


def test_a_split_in_place_of_another(tmp_path: Path) -> None:
    files(tmp_path)
    shutil.copy(tmp_path / "shd_train.h5", tmp_path / "shd_test.h5")
    with pytest.raises(DataError, match=r"shd_test.h5: the same file as .*shd_train.h5, so not of 'test'; put"):
        load("shd", root=tmp_path, cache=tmp_path / "cache")
    files(tmp_path)
    assert len(load("shd", "test", root=tmp_path, cache=tmp_path / "cache")) == 4


def test_a_part_that_is_missing(tmp_path: Path) -> None:
    files(tmp_path, ("train",))
    assert len(load("shd", root=tmp_path, cache=tmp_path / "cache")) == 4
    with pytest.raises(DataError, match=r"no recordings in 'test', only in train; for these, put shd_test.h5.zip"):
        load("shd", "test", root=tmp_path, cache=tmp_path / "cache")
    files(tmp_path, ("test",))
    assert len(load("shd", "test", root=tmp_path, cache=tmp_path / "cache")) == 4
    with pytest.raises(DataError, match=r"nowhere: no SHD here; looked for shd_train.h5, shd_test.h5, .* put shd_"):
        load("shd", root=tmp_path / "nowhere", cache=tmp_path / "cache")


def tonic(monkeypatch: pytest.MonkeyPatch, **classes: Any) -> None:
    """Stand-ins for tonic's data sets."""
    module: Any = types.ModuleType("tonic.datasets")
    for name, made in classes.items():
        setattr(module, name, made)
    monkeypatch.setitem(sys.modules, "tonic", types.ModuleType("tonic"))
    monkeypatch.setitem(sys.modules, "tonic.datasets", module)


def test_downloads_are_whole_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(save_to: str, train: bool) -> None:
        asked.append(train)
        files(Path(save_to) / "SHD", ("train" if train else "test",))
        print("Downloading https://...")

    def stop(save_to: str, train: bool) -> None:
        files(Path(save_to) / "SHD", ("train",))
        raise KeyboardInterrupt

    def refuse(save_to: str, train: bool) -> None:
        (Path(save_to) / "SHD").mkdir(parents=True)
        (Path(save_to) / "SHD" / "shd_train.h5").write_text("the beginning")
        raise OSError("no network")

    tonic(monkeypatch, SHD=stop)
    with pytest.raises(KeyboardInterrupt):
        load("shd", cache=tmp_path)
    tonic(monkeypatch, SHD=refuse)
    with pytest.raises(DataError, match=r"download failed \(OSError: no network\); put shd_train.h5"):
        load("shd", cache=tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["shd"]
    tonic(monkeypatch, SHD=download)
    assert len(load("shd", "test", cache=tmp_path)) == 4 and sorted(asked) == [False, True]
    tonic(monkeypatch, SHD=refuse)
    assert len(load("shd", cache=tmp_path)) == 4
    (tmp_path / "shd" / "SHD" / "shd_test.h5").unlink()
    tonic(monkeypatch, SHD=download)
    assert len(load("shd", "test", cache=tmp_path)) == 4 and asked[2:] == [False]


def test_ssc_is_downloaded_split_by_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"word {k}" for k in range(35)]
    tonic(monkeypatch, SSC=lambda save_to, split: files(Path(save_to) / "SSC", (split,), "ssc", keys))
    monkeypatch.setattr("spiking.datasets.storage.shutil.disk_usage", lambda _: types.SimpleNamespace(free=1 << 50))
    assert len(load("ssc", "valid", cache=tmp_path)) == 4
    assert set(ssc.CORPUS.md5) == {"train", "valid", "test"}


def test_tonic_reads_the_same(tmp_path: Path) -> None:
    datasets = pytest.importorskip("tonic.datasets")
    files(tmp_path / "SHD")
    for split in ("train", "test"):  # tonic takes the archive's presence for a finished download
        (tmp_path / "SHD" / f"shd_{split}.h5.zip").touch()
    theirs = datasets.SHD(str(tmp_path), train=True)
    (tmp_path / "SHD" / "shd_train.h5.zip").unlink(), (tmp_path / "SHD" / "shd_test.h5.zip").unlink()
    ours = load("shd", root=tmp_path, cache=tmp_path / "cache")
    index, time, indptr = ours.arrays()
    for i, (events, label) in enumerate(theirs):
        part = slice(indptr[i], indptr[i + 1])
        assert events["t"].tolist() == time[part].tolist() and events["x"].tolist() == index[part].tolist()
        assert int(label) == int(ours.labels[i])
        if i == len(theirs) - 1:
            break


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_killed_conversion_leaves_nothing(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        with Spool(tmp_path, ["a"], channels=5) as spool:
            spool.add([1] * 100_000, range(100_000), [0, 100_000], [0])
            os.kill(os.getpid(), signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL and not os.listdir(tmp_path)


def test_the_spool_keeps_what_it_is_given(tmp_path: Path) -> None:
    whole = random_store(n=9, channels=40_000)
    with Spool(tmp_path, ["a"], channels=2) as spool, pytest.raises(DataError, match="no recordings to store"):
        spool.store()
    with Spool(tmp_path, whole.classes, channels=40_000) as spool:
        fill(spool, whole)
        made = spool.store(year=np.arange(9))
    made.save(tmp_path / "own.h5")
    assert os.listdir(tmp_path) == ["own.h5"]
    kept = EventStore.open(tmp_path / "own.h5", verify=True)
    assert all(np.array_equal(a, b) for a, b in zip(kept.arrays(), whole.arrays(), strict=True))
    assert kept.metadata["year"].tolist() == list(range(9))
    assert kept.metadata["speaker"].tolist() == whole.metadata["speaker"].tolist()
    assert kept.labels.tolist() == whole.labels.tolist() and (kept.duration == whole.duration).all()


def fill(spool: Spool, whole: EventStore) -> None:
    """Add all recordings in three parts, with faults in between that change nothing."""
    for rows in (range(0, 4), range(4, 5), range(5, 9)):
        part = whole.select(rows)
        index, time, indptr = part.arrays()
        spool.add(index, time, indptr, part.labels, part.duration, speaker=part.metadata["speaker"])
    with pytest.raises(DataError, match="recording 1: channel 40000"):
        spool.add([1, 40_000], [1, 2], [0, 1, 2], [0, 0], speaker=[1, 1])
    with pytest.raises(DataError, match=r"metadata: the columns were \['speaker'\], now they are \[\]"):
        spool.add([1], [1], [0, 1], [0])
    with pytest.raises(DataError, match="recording 0: lasts 2148 s, the longest that fits is 2147 s"):
        spool.add([1], [1], [0, 1], [0], 2_148_000_000, speaker=[1])
