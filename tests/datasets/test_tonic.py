"""tonic:NAME: whatever tonic reads, in a store; with stand-ins for what only a download has, and tonic itself."""

from __future__ import annotations

import struct
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spiking.datasets import DataError, load
from tests.datasets.test_heidelberg import files as heidelberg_files
from tests.datasets.test_sources import nmnist_files

CAMERA = np.dtype([("x", np.int16), ("y", np.int16), ("p", bool), ("t", np.int64)])
CHANNELS = np.dtype([("t", int), ("x", int), ("p", int)])


def rows(kind: np.dtype[Any], *events: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.array(list(events), kind)


class Stand:
    """What tonic's data sets have in common; `download` writes the file that tells whether they are there."""

    sensor_size: Any = (4, 3, 2)
    classes: Any = ("left", "right")
    filename, url = "Stand.zip", "https://example.org/stand"
    online = True

    def __init__(self, save_to: str) -> None:
        self.location_on_system = str(Path(save_to) / type(self).__name__)
        if not (Path(self.location_on_system) / self.filename).exists():
            self.download()

    def download(self) -> None:
        print("Downloading https://...")
        if not self.online:
            raise OSError("no network")
        Path(self.location_on_system).mkdir(parents=True)
        (Path(self.location_on_system) / self.filename).write_text("all of it")

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> Any:
        return rows(CAMERA, (3, 2, i % 2, 5), (0, 1, 0, 7 + i)), i % 2


class Divided(Stand):
    """A camera with train and test, and targets by number."""

    def __init__(self, save_to: str, train: bool = True, gain: int = 1) -> None:
        super().__init__(save_to)
        self.train, self.gain = train, gain

    def __getitem__(self, i: int) -> Any:
        target = np.array([(i + 1 - self.train) % 2])
        return rows(CAMERA, (3, 2, i % 2, 5 * self.gain), (0, 1, 0, 9 * self.gain)), target


class Named(Stand):
    """Undivided, recordings of different size, classes by folder, a clock that runs, events out of order."""

    sensor_size = None
    classes = None

    def __init__(self, save_to: str) -> None:
        super().__init__(save_to)
        self.data = [f"{self.location_on_system}/{'ba'[i % 2]}/{i}.bin" for i in range(10)]

    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> Any:
        start = 1_500_000_000_000_000
        return rows(CAMERA, (1, 0, 1, start + 30), (i, 2, 0, start)), "ba"[i % 2]


class Scenes(Stand):
    """No classes, events among other things, two cameras."""

    classes = None

    def __getitem__(self, i: int) -> Any:
        left, right = rows(CAMERA, (1, 1, 1, i)), rows(CAMERA, (2, 2, 0, i))
        return ({"left": left, "right": right}, np.zeros(3)), {"pose": np.zeros((3, 6))}


class Cochlea(Stand):
    """Channels rather than pixels, its own words for the splits, classes as a mapping."""

    sensor_size = (64, 1, 1)
    classes = types.MappingProxyType({"two": 1, "one": 0})

    def __init__(self, save_to: str, split: str) -> None:
        super().__init__(save_to)
        if split not in ("train", "test"):
            raise ValueError("Invalid split name")
        self.split = split

    def __getitem__(self, i: int) -> Any:
        return rows(CHANNELS, (3, 63, 1), (4, i, 1)), 1


class Gone(Stand):
    """Must be fetched by hand, and ends the program to say so."""

    def __init__(self, save_to: str) -> None:
        exit()


@pytest.fixture
def tonic(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module like tonic with these data sets, and no trace of the real one."""
    package: Any = types.ModuleType("tonic")
    package.__version__ = "9"
    package.datasets = types.ModuleType("tonic.datasets")
    kinds = [Divided, Named, Scenes, Cochlea, Gone]
    package.datasets.__all__ = [kind.__name__ for kind in kinds]
    for kind in kinds:
        setattr(package.datasets, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "tonic", package)
    monkeypatch.setitem(sys.modules, "tonic.datasets", package.datasets)
    return package


def test_divided_data_sets_stay_divided(tonic: Any, tmp_path: Path) -> None:
    store = load("tonic:Divided", "all", cache=tmp_path)
    index, time, indptr = store.arrays()
    assert store.sensor == (4, 3, 2) and store.classes == ("left", "right")
    assert index[:4].tolist() == [11, 4, 23, 4] and time[:2].tolist() == [5, 9] and len(indptr) == 9
    assert store.labels.tolist() == [0, 1, 0, 1, 1, 0, 1, 0]
    assert store.metadata["split"].tolist() == ["train"] * 4 + ["test"] * 4
    assert store.metadata["name"].tolist()[3:5] == ["train:3", "test:0"]
    assert (tmp_path / "tonic" / "Divided" / "Stand.zip").is_file() and len(list((tmp_path / "tonic").iterdir())) == 1
    assert load("tonic:Divided,gain=3", cache=tmp_path).arrays()[1][:2].tolist() == [15, 27]


def test_undivided_ones_are_divided_by_class(tonic: Any, tmp_path: Path) -> None:
    store = load("tonic:Named", "all", root=tmp_path, cache=tmp_path / "cache")
    assert store.sensor == (10, 3, 2) and store.classes == ("a", "b") and store.labels.tolist() == [1, 0] * 5
    assert store.metadata["name"].tolist()[:2] == ["b/0.bin", "a/1.bin"]
    assert store.arrays()[1].tolist() == [0, 30] * 10 and store.arrays()[0][2:4].tolist() == [2 * 10 + 1, 31]
    test = load("tonic:Named", "test", root=tmp_path, cache=tmp_path / "cache")
    assert sorted(test.labels.tolist()) == [0, 1] and len(store) == 10


def test_channels_and_classes_as_a_mapping(tonic: Any, tmp_path: Path) -> None:
    store = load("tonic:Cochlea", "test", cache=tmp_path)
    assert store.sensor is None and store.channels == 64 and store.arrays()[0].tolist()[:2] == [63, 0]
    assert store.classes == ("one", "two") and store.labels.tolist() == [1] * 4


def test_data_sets_without_classes_get_one(tonic: Any, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="tonic:Scenes has no classes; all recordings are of the class 'recording'"):
        store = load("tonic:Scenes", "all", cache=tmp_path)
    assert store.classes == ("recording",) and set(store.arrays()[0]) == {(3 + 1) * 4 + 1}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tonic:MNIST", "tonic has no data set 'MNIST'; it has Divided, Named, Scenes, Cochlea, Gone"),
        ("tonic:", "there is no data set 'tonic:'; there are digits"),
        ("tonic:Divided,gain", "expected tonic:NAME,option=value, got tonic:Divided,gain"),
        ("tonic:Divided,colour=red", "tonic can't open Divided here .*unexpected keyword argument 'colour'"),
        ("tonic:Gone", r"Gone here \(it has to be fetched by hand\); tonic looks for Stand.zip .*/tonic/Gone; get it"),
    ],
)
def test_names_that_come_to_nothing(tonic: Any, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(name, cache=tmp_path)


def test_downloads_that_fail_say_where_the_file_goes(
    tonic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stand, "online", False)
    with pytest.raises(DataError, match=r"tonic's Named isn't here .*\(OSError: no network\); tonic looks for Stand"):
        load("tonic:Named", cache=tmp_path)
    (tmp_path / "tonic" / "Named").mkdir(parents=True)
    put = tmp_path / "tonic" / "Named" / "Stand.zip"
    put.write_text("<html>Are you a person?</html>")
    with pytest.raises(DataError, match=r"Named/Stand.zip: a web page was saved .*; tonic looks for Stand"):
        load("tonic:Named", cache=tmp_path)
    put.write_bytes(b"")  # put there by hand
    assert len(load("tonic:Named", "all", cache=tmp_path)) == 10


def test_tonic_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tonic", None)
    with pytest.raises(DataError, match=r"tonic:SMNIST: tonic can't be imported .* pip install tonic"):
        load("tonic:SMNIST", cache=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"__getitem__": lambda self, i: 1 / 0}, "train:0: tonic can't read it .ZeroDivisionError"),
        ({"__getitem__": lambda self, i: (np.zeros(3), 0)}, "train:0: no events with t and x"),
        ({"__getitem__": lambda self, i: (rows(CAMERA, (4, 0, 0, 1)), 0)}, r"event 0 lies at \(4, 0, 0\), out"),
        ({"__getitem__": lambda self, i: (rows(CAMERA), 0)}, "recording 'train:0': no events"),
        ({"__getitem__": lambda self, i: (rows(CAMERA, (0, 0, 0, -1)), 0)}, "'train:0': time -1 us is below 0"),
        ({"__len__": lambda self: 0}, "tonic:Divided: no recordings"),
    ],
)
def test_recordings_that_are_wrong(
    tonic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    for name, method in change.items():
        monkeypatch.setattr(Divided, name, method)
    with pytest.raises(DataError, match=message):
        load("tonic:Divided", cache=tmp_path)


def test_tonic_itself_on_written_files(tmp_path: Path) -> None:
    pytest.importorskip("tonic")
    heidelberg_files(tmp_path / "SHD")
    nmnist_files(tmp_path / "NMNIST")
    for name in ("SHD/shd_train.h5.zip", "SHD/shd_test.h5.zip", "NMNIST/train.zip", "NMNIST/test.zip"):
        (tmp_path / name).touch()  # tonic takes an archive's presence for a finished download
    smnist = tmp_path / "smnist"
    smnist.mkdir()
    for split, n in (("train", 3), ("t10k", 2)):
        images = np.random.default_rng(0).integers(0, 256, (n, 28, 28), np.uint8)
        (smnist / f"{split}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, n, 28, 28) + images.tobytes())
        (smnist / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, n) + bytes(range(n)))
    theirs = load("tonic:SHD", "all", root=tmp_path, cache=tmp_path / "cache")
    for path in (tmp_path / "SHD").glob("*.zip"):
        path.unlink()
    ours = load("shd", "all", root=tmp_path, cache=tmp_path / "cache")
    assert all(np.array_equal(a, b) for a, b in zip(ours.arrays(), theirs.arrays(), strict=True))
    assert ours.labels.tolist() == theirs.labels.tolist() and ours.classes == theirs.classes
    store = load("tonic:SMNIST,num_neurons=79", "all", root=tmp_path, cache=tmp_path / "cache")
    assert store.channels == 79 and len(store) == 5 and store.classes[1] == "1 - one"
    assert store.labels.tolist() == [0, 1, 2, 0, 1] and store.duration.max() > 1_000_000
