"""`load`: by name, from files as people have them, built once."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tarfile
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spiking.datasets import DataError, EventStore, available, load
from spiking.datasets.sources import gather, nmnist
from tests.datasets.test_formats import save, word


def nmnist_files(root: Path) -> Path:
    """Three recordings a digit for two digits in Train, one in Test."""
    for split, count in (("Train", 3), ("Test", 1)):
        for digit in (0, 7):
            folder = root / split / str(digit)
            folder.mkdir(parents=True)
            for i in range(count):
                events = [word(digit, i, i % 2, 100 * k + i) for k in range(1 + i + digit)]
                (folder / f"{i:05d}.bin").write_bytes(b"".join(events))
    return root


def zipped(root: Path, split: str, path: Path) -> Path:
    """One split of `nmnist_files` as an archive."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((root / split).glob("*/*.bin")):
            archive.write(file, file.relative_to(root))
    return path


def own_files(root: Path, splits: tuple[str, ...] = ("",), count: int = 5) -> Path:
    """Recordings of two classes."""
    for split in splits:
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                save(root / split / label / f"r{i}.npz", t=[1, 2 + i], x=[i, 1], y=[0, 6], p=[0, 1])
    return root


def test_available_names_what_load_takes() -> None:
    names = {name for name, _ in available()}
    assert {"digits", "nmnist", "shd", "ssc", "folder:PATH"} <= names
    assert all(about and "\n" not in about for _, about in available())


@pytest.mark.parametrize("name", ["mnst", "digits:x", "folder:", "folder", ""])
def test_unknown_names(name: str) -> None:
    with pytest.raises(DataError, match=r"there is no data set .* there are digits, nmnist, .*folder:PATH"):
        load(name)


def test_unknown_split() -> None:
    with pytest.raises(DataError, match="split: expected one of train, valid, test, all, got 'dev'"):
        load("digits", split="dev")


def test_nmnist_layouts_agree(tmp_path: Path) -> None:
    root = nmnist_files(tmp_path / "plain")
    with tarfile.open(tmp_path / "small.tar", "w") as tar:
        tar.add(root / "Train", "Train")
        tar.add(root / "Test", "Test")
    (tmp_path / "zips").mkdir()
    for split in ("Train", "Test"):
        zipped(root, split, tmp_path / "zips" / f"my-{split}.zip")
    nested = tmp_path / "tonic" / "NMNIST"
    shutil.copytree(root, nested)
    stores = [
        load("nmnist", "all", root=where, cache=tmp_path / "cache")
        for where in (root, tmp_path / "small.tar", tmp_path / "zips", tmp_path / "tonic")
    ]
    for store in stores:
        assert store.metadata["name"].tolist()[:2] == ["Train/0/00000.bin", "Train/0/00001.bin"]
        assert store.labels.tolist() == [0] * 3 + [7] * 3 + [0, 7] and store.sensor == (34, 34, 2)
        assert all(np.array_equal(a, b) for a, b in zip(store.arrays(), stores[0].arrays(), strict=True))
    assert len(load("nmnist", root=root, cache=tmp_path / "cache")) == 6
    assert len(load("nmnist", "test", root=root, cache=tmp_path / "cache")) == 2


def test_built_once_and_again_when_files_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = own_files(tmp_path / "own"), tmp_path / "cache"
    first = load(f"folder:{root}", "all", cache=cache)
    (kept,) = os.listdir(cache)

    def fail(*arguments: Any) -> None:
        raise AssertionError("built again")

    with monkeypatch.context() as patch:
        patch.setattr("spiking.datasets.sources.folder.read_all", fail)
        assert len(load(f"folder:{root}", "all", cache=cache)) == len(first) == 10
    save(root / "cat" / "r9.npz", t=[1], x=[0], y=[0], p=[1])
    assert len(load(f"folder:{root}", "all", cache=cache)) == 11 and len(os.listdir(cache)) == 2
    path = cache / kept
    path.write_bytes(path.read_bytes()[:100])
    (root / "cat" / "r9.npz").unlink()
    with pytest.warns(UserWarning, match="building it again"):
        assert len(load(f"folder:{root}", "all", cache=cache)) == 10


def test_the_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKING_CACHE", str(tmp_path / "here"))
    load(f"folder:{own_files(tmp_path / 'own')}")
    assert len(os.listdir(tmp_path / "here")) == 1


def test_a_cache_that_cannot_be_written_is_said_before_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = own_files(tmp_path / "own")
    (tmp_path / "file").touch()

    def fail(*arguments: Any) -> None:
        raise AssertionError("work has begun")

    monkeypatch.setattr("spiking.datasets.sources.folder.read_all", fail)
    with pytest.raises(DataError, match="can't write here"):
        load(f"folder:{root}", cache=tmp_path / "file")
    full = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    with pytest.raises(DataError, match="MB are free"):
        load(f"folder:{root}", cache=tmp_path / "cache")


def test_corrupt_recordings_are_skipped_only_on_request(tmp_path: Path) -> None:
    root = nmnist_files(tmp_path / "data")
    (root / "Train" / "7" / "00001.bin").write_bytes(b"1234567")
    (root / "Test" / "0" / "00000.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"Train/7/00001.bin: cut off .* byte 5, .*--skip-corrupt .*skip_corrupt"):
        load("nmnist", root=root, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.h5"))
    with pytest.warns(UserWarning, match=r"left out 2 of 8 recordings: Train/7/00001.bin.*Test/0/00000.bin: no events"):
        assert len(load("nmnist", "all", root=root, cache=tmp_path / "cache", skip_corrupt=True)) == 6


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    def fail(item: gather.Item) -> None:
        raise DataError(f"{item.name}: spoilt")

    items = [gather.Item("a", "", "x", tmp_path)]
    with pytest.raises(DataError, match="none of 1 recordings can be read: a: spoilt"):
        gather.read_all(items, fail, skip_corrupt=True, progress=False)


def test_missing_nmnist_says_what_was_looked_for_and_how_to_get_it(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=rf"{root}: no N-MNIST here; looked for Train/<digit>.*put the published"):
            load("nmnist", root=root, cache=tmp_path / "cache")
    (tmp_path / "bad.zip").write_text("no zip")
    with pytest.raises(DataError, match=r"bad.zip: can't be read as an archive"):
        load("nmnist", root=tmp_path, cache=tmp_path / "cache")
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match="no recordings below Train"):
        load("nmnist", root=tmp_path, cache=tmp_path / "cache")


def test_nmnist_recordings_that_belong_to_no_digit_or_lie_there_twice(tmp_path: Path) -> None:
    root = nmnist_files(tmp_path / "data")
    for name in ("one.tar", "two.tar"):
        with tarfile.open(tmp_path / name, "w") as tar:
            tar.add(root / "Train", "Train")
    with pytest.raises(DataError, match=r"Train/0/00000.bin: lies in .*one.tar and again in .*two.tar"):
        load("nmnist", root=tmp_path, cache=tmp_path / "cache")
    (root / "Train" / "0").rename(root / "Train" / "ten")
    with pytest.raises(DataError, match=r"Train/ten/00000.bin: expected Train or Test, a folder for each digit"):
        load("nmnist", root=root, cache=tmp_path / "cache")


def test_nmnist_without_root_is_downloaded_through_tonic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake: Any = types.ModuleType("tonic.datasets")
    fake.NMNIST = lambda save_to, train: nmnist_files(Path(save_to) / "NMNIST") if train else None
    monkeypatch.setitem(sys.modules, "tonic", types.ModuleType("tonic"))
    monkeypatch.setitem(sys.modules, "tonic.datasets", fake)
    assert len(load("nmnist", cache=tmp_path)) == 6

    def refuse(save_to: str, train: bool) -> None:
        raise OSError("no network")

    fake.NMNIST = refuse
    with pytest.raises(DataError, match=r"other/nmnist: .*download failed \(OSError: no network\); put the published"):
        load("nmnist", cache=tmp_path / "other")


def test_an_interrupted_download_of_nmnist_starts_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake: Any = types.ModuleType("tonic.datasets")
    monkeypatch.setitem(sys.modules, "tonic", types.ModuleType("tonic"))
    monkeypatch.setitem(sys.modules, "tonic.datasets", fake)

    def stop(save_to: str, train: bool) -> None:
        folder = nmnist_files(Path(save_to) / "NMNIST")
        (folder / "Train" / "0" / "00002.bin").write_bytes(b"123")
        raise KeyboardInterrupt

    fake.NMNIST = stop
    with pytest.raises(KeyboardInterrupt):
        load("nmnist", cache=tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["nmnist"]
    fake.NMNIST = lambda save_to, train: nmnist_files(Path(save_to) / "NMNIST") if train else None
    assert len(load("nmnist", cache=tmp_path)) == 6


def test_archives_of_nmnist_are_the_published_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache, place = nmnist_files(tmp_path / "plain"), tmp_path / "cache", tmp_path / "zips"
    place.mkdir()
    whole = zipped(root, "Train", place / "Train.zip").read_bytes()
    known = hashlib.md5(whole).hexdigest()
    zipped(root, "Test", place / "own.zip")  # by another name an archive is one's own
    published = "20959b8e626244a1b502305a9e6e2031"
    with pytest.raises(DataError, match=rf"Train.zip: its checksum is {known}, the published file's {published}: .*"):
        load("nmnist", root=place, cache=cache)
    monkeypatch.setitem(nmnist.MD5, "train.zip", known)
    assert len(load("nmnist", "all", root=place, cache=cache)) == 8
    (place / "Train.zip").write_bytes(whole[:-30])
    with pytest.raises(DataError, match=rf"Train.zip: its checksum is \w{{32}}, .*{known}: the download was cut off"):
        load("nmnist", root=place, cache=cache)
    (place / "Train.zip").write_text("<html>Just a moment</html>")
    with pytest.raises(DataError, match=r"Train.zip: a web page was saved in place of the file"):
        load("nmnist", root=place, cache=cache)


@pytest.mark.parametrize("tonic_notices", [True, False])
def test_a_download_of_another_file_is_named(
    tonic_notices: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(save_to: str, train: bool) -> None:
        folder = nmnist_files(Path(save_to) / "NMNIST") if train else Path(save_to) / "NMNIST"
        (folder / "test.zip").write_bytes(b"half of it")
        if tonic_notices:
            raise RuntimeError("File not found or corrupted.")

    fake: Any = types.ModuleType("tonic.datasets")
    fake.NMNIST = download
    monkeypatch.setitem(sys.modules, "tonic", types.ModuleType("tonic"))
    monkeypatch.setitem(sys.modules, "tonic.datasets", fake)
    got = hashlib.md5(b"half of it").hexdigest()
    want = "69ca8762b2fe404d9b9bad1103e97832"
    with pytest.raises(DataError, match=rf"\(test.zip: what came has the checksum {got}, the published file {want}\)"):
        load("nmnist", cache=tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["nmnist"]


def test_nmnist_without_its_test_part(tmp_path: Path) -> None:
    root = nmnist_files(tmp_path / "data")
    shutil.rmtree(root / "Test")
    assert len(load("nmnist", root=root, cache=tmp_path / "cache")) == 6
    message = r"no recordings in 'test', only in train; for these, put the published Train.zip and Test.zip there"
    with pytest.raises(DataError, match=message):
        load("nmnist", "test", root=root, cache=tmp_path / "cache")


def test_folder_is_split_by_recording_and_class(tmp_path: Path) -> None:
    root = own_files(tmp_path / "own", count=10)
    train, test = (load(f"folder:{root}", split, cache=tmp_path / "cache") for split in ("train", "test"))
    assert train.classes == test.classes == ("cat", "dog") and train.sensor == (10, 7, 2)
    assert np.bincount(train.labels).tolist() == [8, 8] and np.bincount(test.labels).tolist() == [2, 2]
    assert not set(train.metadata["name"]) & set(test.metadata["name"])


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".csv"])
def test_a_web_page_among_one_s_own_files(suffix: str, tmp_path: Path) -> None:
    root = own_files(tmp_path / "own")
    (root / "cat" / f"page{suffix}").write_text("<!DOCTYPE html>\n<html><body>Sign in</body></html>")
    with pytest.raises(DataError, match=rf"cat/page{suffix}: a web page was saved .* Delete it; get the file itself"):
        load(f"folder:{root}", cache=tmp_path / "cache")


def test_folder_divided_already(tmp_path: Path) -> None:
    root = own_files(tmp_path / "own", splits=("train", "test"))
    test = load(f"folder:{root}", "test", cache=tmp_path / "cache")
    assert len(test) == 10 and all(name.startswith("test/") for name in test.metadata["name"])
    (root / "test" / "cow").mkdir()
    save(root / "test" / "cow" / "r.npz", t=[1], x=[0], y=[0], p=[1])
    with pytest.raises(DataError, match=r"test/cow/r.npz: class 'cow' is not among the training classes"):
        load(f"folder:{root}", cache=tmp_path / "cache")


def test_folder_with_its_sensor_given(tmp_path: Path) -> None:
    root, cache = own_files(tmp_path / "own"), tmp_path / "cache"
    sensor = root / "sensor.json"
    sensor.write_text('{"width": 16, "height": 8, "polarities": 2}')
    assert load(f"folder:{root}", cache=cache).sensor == (16, 8, 2)
    sensor.write_text('{"width": 16, "height": 4, "polarities": 2}')
    with pytest.raises(DataError, match=r"cat/r0.npz: event 1 lies at \(1, 6, 1\), outside \(16, 4, 2\)"):
        load(f"folder:{root}", cache=cache)
    sensor.write_text('{"channels": 9}')
    with pytest.raises(DataError, match=r"cat/r0.npz: sensor.json speaks of channels"):
        load(f"folder:{root}", cache=cache)
    for text in ('{"width": 16}', "[]", "{", '{"channels": 0}'):
        sensor.write_text(text)
        with pytest.raises(DataError, match=r"sensor.json: expected"):
            load(f"folder:{root}", cache=cache)


def test_folder_of_channels(tmp_path: Path) -> None:
    (tmp_path / "own" / "a").mkdir(parents=True)
    save(tmp_path / "own" / "a" / "r.csv", t_ms=[1.0, 2.5], channel=[3, 9])
    store = load(f"folder:{tmp_path / 'own'}", "all", cache=tmp_path / "cache")
    assert store.channels == 10 and store.sensor is None and store.arrays()[1].tolist() == [1000, 2500]
    save(tmp_path / "own" / "a" / "s.csv", t=[1], x=[3], y=[9])
    with pytest.raises(DataError, match=r"a/s.csv: cameras .* are mixed"):
        load(f"folder:{tmp_path / 'own'}", cache=tmp_path / "cache")


def test_folders_that_hold_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder; expected PATH/<class>"):
        load(f"folder:{tmp_path / 'nowhere'}", cache=tmp_path / "cache")
    with pytest.raises(DataError, match="no recordings; expected PATH/<class>"):
        load(f"folder:{tmp_path}", cache=tmp_path / "cache")
    (tmp_path / "own" / "a").mkdir(parents=True)
    (tmp_path / "own" / "a" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"notes.txt: expected recordings as"):
        load(f"folder:{tmp_path / 'own'}", cache=tmp_path / "cache")


def test_a_split_without_recordings(tmp_path: Path) -> None:
    root = own_files(tmp_path / "own", splits=("train",))
    with pytest.raises(DataError, match="has no recordings in 'test', only in train; put them into PATH/test/<class>"):
        load(f"folder:{root}", "test", cache=tmp_path / "cache")


def test_real_recordings(real_data: Path, tmp_path: Path) -> None:
    if not (real_data / "nmnist_small").is_dir():
        pytest.skip(f"no nmnist_small at {real_data}")
    store = load("nmnist", "all", root=real_data / "nmnist_small", cache=tmp_path)
    assert np.bincount(store.metadata["split"] == "train").tolist() == [200, 800]
    index, time, _ = store.arrays()
    assert len(index) == 4_133_231 and time.max() < 336_000 and 0.49 < (index >= 1156).mean() < 0.51
    (path,) = tmp_path.glob("*.h5")
    EventStore.open(path, verify=True)
