"""mnist-saccades and fashion-saccades: idx files byte by byte, conversion in parts, what is left out, wrong files."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking.datasets import DataError, load
from spiking.datasets.formats import idx
from spiking.datasets.nmnist_camera import NMNIST, Rig
from spiking.datasets.sources import saccades
from tests.datasets.mnist import TEST, TRAIN, as_idx, idx_files, images


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of five recordings."""
    monkeypatch.setattr(saccades, "PART", 5)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.sampled_from(["u1", "i1", "i2", "i4", "f4", "f8"]))
def test_idx_arrays_of_every_type(shape: list[int], kind: str) -> None:
    array = np.random.default_rng(0).integers(-100, 100, shape).astype(f">{kind}")
    code = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}[kind]
    path = Path("unused")
    for data in (as_idx(array, code), gzip.compress(as_idx(array, code))):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "read_bytes", lambda self, data=data: data)
            back = idx.read(path)
        assert back.shape == tuple(shape) and np.array_equal(back, array)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an idx file.*begins with nothing"),
        (b"\x1f\x8b", "can't be read or unpacked"),
        (b"  <!DOCTYPE html><html>", "a web page was saved in place"),
        (gzip.compress(b"<html>"), "a web page was saved in place"),
        (b"PK\x03\x04 a zip", "not an idx file.*begins with 50 4b 03 04"),
        (b"\0\0\x07\x01" + b"\0\0\0\0", "not an idx file.*begins with 00 00 07 01"),
        (as_idx(images(2, 0))[:-1], "2 x 28 x 28 numbers of 1 bytes .*make 1584 bytes, the file has 1583"),
        (as_idx(images(2, 0)) + b"x", "make 1584 bytes, the file has 1585"),
        (b"\0\0\x08\x03\0\0", "the file has 6"),
        (gzip.compress(as_idx(images(2, 0)))[:-20], "can't be read or unpacked"),
        (gzip.compress(as_idx(images(2, 0)))[:40] + b"damaged" * 3, "can't be read or unpacked"),
    ],
)
def test_files_that_are_not_idx_are_named(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"train-images-idx3-ubyte.gz: .*{message}"):
        idx.read(path)


@pytest.mark.parametrize("packed", [True, False])
def test_recordings_of_images(packed: bool, tmp_path: Path, small: None) -> None:
    root = idx_files(tmp_path / "files", packed)
    store = load("mnist-saccades", "all", root=root, cache=tmp_path / "cache")
    assert len(store) == TRAIN + TEST and store.sensor == (34, 34, 2) and store.classes == tuple("0123456789")
    assert store.metadata["image"].tolist() == [*range(TRAIN), *range(TEST)]
    assert store.labels.tolist() == [*(i % 10 for i in range(TRAIN)), *range(TEST)]
    assert (store.duration == 315_000).all()
    film = NMNIST.record(np.concatenate([images(TRAIN, 0), images(TEST, 1)]))
    index, time, indptr = store.arrays()
    assert np.array_equal(index, film.index) and np.array_equal(time, film.time_us)
    assert np.array_equal(indptr, film.indptr)
    assert len(load("mnist-saccades", root=root, cache=tmp_path / "cache")) == TRAIN
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".h5"]


def test_other_people_s_names_and_folders(tmp_path: Path, small: None) -> None:
    root = tmp_path / "root"
    idx_files(root / "FashionMNIST" / "raw", packed=False)
    for path in list(root.rglob("*ubyte")):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    store = load("fashion-saccades", "test", root=root, cache=tmp_path / "cache")
    assert len(store) == TEST and store.classes[9] == "Ankle boot"


def test_images_of_real_recordings_are_left_out(tmp_path: Path, small: None) -> None:
    store = load("mnist-saccades", root=idx_files(tmp_path / "files"), cache=tmp_path / "cache")
    rest = store.select(store.metadata["image"] >= 10)
    assert rest.metadata["image"].tolist() == [10, 11, 12]
    rest, held = store.split(by="image", hold_out=list(range(10)))
    assert len(held) == 10 and rest.metadata["image"].min() == 10


def test_an_interrupted_conversion_goes_on(tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    root = idx_files(tmp_path / "files")
    whole = load("mnist-saccades", "all", root=root, cache=tmp_path / "undisturbed")
    record, seen = Rig.record, []

    def interrupted(rig: Rig, pictures: Any, **options: Any) -> Any:
        seen.append(options["first"])
        if len(seen) == 3:
            raise KeyboardInterrupt
        return record(rig, pictures, **options)

    monkeypatch.setattr(Rig, "record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load("mnist-saccades", "all", root=root, cache=tmp_path / "cache")
    (scratch,) = (tmp_path / "cache").iterdir()
    assert sorted(path.name for path in scratch.iterdir()) == ["00000.h5", "00001.h5"]
    spoilt = bytearray((scratch / "00001.h5").read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    (scratch / "00001.h5").write_bytes(spoilt)
    store = load("mnist-saccades", "all", root=root, cache=tmp_path / "cache")
    assert seen == [0, 5, 10, 5, 10, 15] and not scratch.exists()
    assert all(np.array_equal(a, b) for a, b in zip(store.arrays(), whole.arrays(), strict=True))
    assert np.array_equal(store.metadata["image"], whole.metadata["image"])


def test_changed_files_are_converted_again(tmp_path: Path, small: None) -> None:
    root = idx_files(tmp_path / "files")
    first = load("mnist-saccades", root=root, cache=tmp_path / "cache")
    labels = (np.arange(TRAIN, dtype=np.uint8) + 1) % 10
    (root / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(as_idx(labels)))
    assert load("mnist-saccades", root=root, cache=tmp_path / "cache").labels[0] == first.labels[0] + 1


def spoil(root: Path, name: str, data: bytes) -> None:
    (root / f"{name}-ubyte.gz").write_bytes(gzip.compress(data))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            "train-labels-idx1",
            np.zeros(TRAIN + 1, np.uint8),
            "labels-.*: 14 labels, but .*train-images.* has 13 images",
        ),
        ("t10k-labels-idx1", np.full(TEST, 10, np.uint8), "label 0 is 10; MNIST has classes 0 to 9"),
        (
            "t10k-images-idx3",
            np.zeros((TEST, 32, 32), np.uint8),
            r"expected images of 28 x 28 bytes, got .*\(5, 32, 32\)",
        ),
        ("train-images-idx3", np.zeros(TRAIN, np.uint8), r"expected images of 28 x 28 bytes, got uint8 \(13,\)"),
        ("train-labels-idx1", np.zeros((TRAIN, 2), np.uint8), "expected a row of bytes"),
    ],
)
def test_files_that_do_not_fit_are_named(
    name: str, array: np.ndarray[Any, Any], message: str, tmp_path: Path, small: None
) -> None:
    root = idx_files(tmp_path / "files")
    spoil(root, name, as_idx(array))
    with pytest.raises(DataError, match=message):
        load("mnist-saccades", root=root, cache=tmp_path / "cache")


def test_missing_files_are_named(tmp_path: Path) -> None:
    root = idx_files(tmp_path / "files")
    (root / "t10k-images-idx3-ubyte.gz").unlink()
    (root / "t10k-labels-idx1-ubyte.gz").unlink()
    message = "no t10k-images-idx3-ubyte and no t10k-labels-idx1-ubyte here; put MNIST's train-images-idx3-ubyte.gz"
    with pytest.raises(DataError, match=message):
        load("mnist-saccades", root=root, cache=tmp_path / "cache")


def test_the_other_set_s_files_are_named(tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    root = idx_files(tmp_path / "files")
    digest = hashlib.sha256(idx.unpack(root / "t10k-labels-idx1-ubyte.gz")).hexdigest()
    monkeypatch.setattr(saccades, "FASHION", saccades.FASHION._replace(digests=(digest,)))
    with pytest.raises(DataError, match="these are Fashion-MNIST's; fashion-saccades shows them, not mnist-saccades"):
        load("mnist-saccades", root=root, cache=tmp_path / "cache")


def test_an_interrupted_download_leaves_nothing(tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    there = idx_files(tmp_path / "mirror")
    digests = [hashlib.sha256(idx.unpack(there / f"{name}.gz")).hexdigest() for name in saccades.FILES]
    mirror = saccades.MNIST._replace(mirrors=(there.as_uri() + "/",), digests=tuple(digests))
    monkeypatch.setattr(saccades, "MNIST", mirror)

    def stop(source: Any, target: Any) -> None:
        target.write(source.read(10))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("spiking.datasets.sources.fetch.shutil.copyfileobj", stop)
        load("mnist-saccades", cache=tmp_path / "cache")
    assert not list((tmp_path / "cache" / "mnist").iterdir())
    assert len(load("mnist-saccades", cache=tmp_path / "cache")) == TRAIN


def test_downloads_are_checked(tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    there = idx_files(tmp_path / "mirror")
    digests = [hashlib.sha256(idx.unpack(there / f"{name}.gz")).hexdigest() for name in saccades.FILES]
    mirrors = ((tmp_path / "nowhere").as_uri() + "/", there.as_uri() + "/")
    monkeypatch.setattr(saccades, "MNIST", saccades.MNIST._replace(mirrors=mirrors, digests=tuple(digests)))
    cache = tmp_path / "cache"
    assert len(load("mnist-saccades", cache=cache)) == TRAIN
    assert sorted(path.name for path in (cache / "mnist").iterdir()) == sorted(f"{name}.gz" for name in saccades.FILES)

    (there / "t10k-images-idx3-ubyte.gz").write_bytes(b"<html>busy</html>")
    (cache / "mnist" / "t10k-images-idx3-ubyte.gz").unlink()
    message = r"the download failed \(.*nowhere.*mirror.*; put MNIST's train-images"
    with pytest.raises(DataError, match=message):
        load("mnist-saccades", cache=cache)
    spoil(there, "t10k-images-idx3", as_idx(images(TEST, 2)))
    with pytest.raises(DataError, match="what came has the checksum"):
        load("mnist-saccades", cache=cache)
    assert len(list((cache / "mnist").iterdir())) == 3
