"""dvsgesture: eleven hand and arm gestures of 29 people in five lights before an event camera (Amir et al. 2017).

As published, ROOT/user01_fluorescent.aedat (AEDAT 3.1) with ROOT/user01_fluorescent_labels.csv, which says when each
gesture begins and ends, and trials_to_train.txt and trials_to_test.txt; or DvsGesture.tar.gz of that, which is compared
with the published checksum. A recording is one gesture, its time counted from where the labels begin it. Columns: user,
lighting.

Without a root tonic downloads its own edition, which is read as well: ibmGestureTrain/<user>_<lighting>/<class>.npy,
cut into gestures already (fewer of them) and with times rounded to milliseconds.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from spiking.datasets.errors import DataError
from spiking.datasets.formats import aedat
from spiking.datasets.sources.archive import archives, members
from spiking.datasets.sources.download import check_archive, through_tonic
from spiking.datasets.sources.gather import fingerprint, read_all
from spiking.datasets.sources.plan import Plan
from spiking.datasets.spool import Spool
from spiking.datasets.store import EventStore
from spiking.datasets.webpage import refuse_page
from spiking.events import Sensor

Array = np.ndarray[Any, Any]
Files = dict[str, Callable[[], bytes]]

ABOUT = "DVS128 Gesture: 11 gestures of 29 people before a real event camera, 128x128x2, 6 s (files or download)"
# raise it when the same files make other recordings
VERSION = 1
SENSOR: Sensor = (128, 128, 2)
CLASSES = (
    "hand clapping", "right hand wave", "left hand wave", "right arm clockwise", "right arm counter-clockwise",
    "left arm clockwise", "left arm counter-clockwise", "arm roll", "air drums", "air guitar", "other gestures",
)  # fmt: skip
LISTS = {"train": "trials_to_train.txt", "test": "trials_to_test.txt"}
TONIC = {"train": "ibmGestureTrain", "test": "ibmGestureTest"}
USER = re.compile(r"user(\d+)_(\w+)$")
KNOWN = re.compile(
    r"(?:^|.*/)(user\d+_\w+(?:\.aedat|_labels\.csv)|trials_to_\w+\.txt|ibmGesture(?:Train|Test)/user\d+_\w+/\d+\.npy)$"
)
HOME = "https://research.ibm.com/interactive/dvsgesture"
ADVICE = f"put DvsGesture.tar.gz from {HOME} there, as it is or unpacked"
DOWNLOAD = 8 << 30
MD5 = {
    "dvsgesture.tar.gz": "8a5c71fb11e24e5ca5b11866ca6c00a1",
    "ibmgesturetrain.tar.gz": "3a8f0d4120a166bac7591f77409cb105",
    "ibmgesturetest.tar.gz": "56070e45dadaa85fff82e0fbfbc06de5",
}


def plan(root: Path | None, cache: Path, skip_corrupt: bool, progress: bool) -> Plan:
    """What `load("dvsgesture")` builds from the files below a root.

    Raises:
        DataError: if the files aren't there, and without a root can't be downloaded either.
    """
    if root is None:
        root = cache / "dvsgesture"
        if not _sources(root):
            through_tonic(_fetch, root, DOWNLOAD, "DVS128 Gesture", f"{ADVICE}, or give the root where it lies", MD5)
    sources = _sources(root)
    if not sources:
        raise DataError(
            f"{root}: no DVS128 Gesture here; looked for {LISTS['train']} and user*.aedat beside it, for "
            f"{TONIC['train']}/user*/*.npy, and for .tar.gz or .zip of them; {ADVICE}, or give no root to have it "
            "downloaded"
        )
    files = [path for source in sources for path in ([source] if source.is_file() else _known(source).values())]
    key = {"version": VERSION, "skip_corrupt": skip_corrupt, "files": fingerprint(root.parent, files)}
    # in unnamed files and in the store, six bytes an event each; packed, an event takes less
    size = sum(path.stat().st_size * (1 if path.suffix in (".aedat", ".npy") else 4) for path in files)
    missing = {split: f"for these, {ADVICE}" for split in LISTS}
    return Plan(key, 2 * size + (1 << 20), lambda: _build(sources, cache, skip_corrupt, progress), missing)


def _sources(root: Path) -> list[Path]:
    """The folder with the files, or else the archives, of a root."""
    for folder in (root, root / "DvsGesture", root / "DVSGesture"):
        if any((folder / name).exists() for name in (*LISTS.values(), *TONIC.values())):
            return [folder]
    return archives(root)


def _known(folder: Path) -> dict[str, Path]:
    """The files of a folder that belong to the data set, by name."""
    paths = sorted([*folder.glob("*.*"), *folder.glob("ibmGesture*/*/*.npy")])
    named = {path.relative_to(folder).as_posix(): path for path in paths if path.is_file()}
    return {name: path for name, path in named.items() if KNOWN.match(name)}


def _build(sources: list[Path], cache: Path, skip_corrupt: bool, progress: bool) -> EventStore:
    with ExitStack() as stack:
        files: Files = {}
        for source in sources:
            if source.is_dir():
                files |= {name: path.read_bytes for name, path in _known(source).items()}
            else:
                check_archive(source, MD5, ADVICE)
                files |= members(source, KNOWN, stack, ADVICE)
        spool = stack.enter_context(Spool(cache, CLASSES, SENSOR))
        items = _published(files) or _tonic(files)
        if not items:
            raise DataError(f"{sources[0]}: neither {LISTS['train']} nor {TONIC['train']}/user*/*.npy inside; {ADVICE}")
        if sources[0].is_file():
            # an archive is unpacked from its beginning for every step back
            place = {name: i for i, name in enumerate(files)}
            items.sort(key=lambda item: place.get(item[1], -1))

        def read(item: tuple[str, str]) -> None:
            split, name = item
            if name not in files:
                raise DataError(f"{name}: is named in {LISTS[split]}, but isn't there")
            (_add_tonic if name.endswith(".npy") else _add_published)(name, files, split, spool)

        read_all(items, read, skip_corrupt, progress)
        return spool.store()


def _published(files: Files) -> list[tuple[str, str]]:
    """(split, file) of what the lists name; a list of which no file is there is a split that is missing."""
    items = []
    for split, name in LISTS.items():
        if name in files:
            content = files[name]()
            refuse_page(content, name, ADVICE)
            listed = [line.strip() for line in content.decode(errors="replace").splitlines() if line.strip()]
            if any(trial in files for trial in listed):
                items += [(split, trial) for trial in listed]
    return items


def _tonic(files: Files) -> list[tuple[str, str]]:
    """(split, file) of tonic's edition."""
    return [(split, name) for split, folder in TONIC.items() for name in files if name.startswith(f"{folder}/")]


def _add_published(name: str, files: Files, split: str, spool: Spool) -> None:
    """Add all gestures of a file."""
    trial = name.removesuffix(".aedat")
    user, lighting = _user(trial, name)
    labels, start, stop = _labels(files.get(f"{trial}_labels.csv"), f"{trial}_labels.csv")
    events = aedat.decode(files[name](), name, *SENSOR[:2])
    first, last = (np.searchsorted(events.time, at) for at in (start, stop))
    if (first == last).any():
        i = int((first == last).argmax())
        raise DataError(f"{name}: no events in gesture {i}, from {start[i]} to {stop[i]} us")
    sizes = last - first
    take = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
    spool.add(
        _channel(events.x[take], events.y[take], events.p[take]),
        events.time[take] - np.repeat(start, sizes),
        np.concatenate([[0], np.cumsum(sizes)]),
        labels - 1,
        stop - start,
        name=[f"{trial}:{i}" for i in range(len(labels))],
        **_columns(split, user, lighting, len(labels)),
    )


def _labels(get: Callable[[], bytes] | None, name: str) -> tuple[Array, Array, Array]:
    """(class, start, stop) of each gesture in a file of labels: classes from 1 on, microseconds."""
    if get is None:
        raise DataError(f"{name}: isn't there")
    content = get()
    refuse_page(content, name, ADVICE)
    if len(content.splitlines()) < 2:
        raise DataError(f"{name}: expected rows of class,startTime_usec,endTime_usec, got none")
    try:
        table = np.loadtxt(io.StringIO(content.decode()), delimiter=",", skiprows=1, ndmin=2, dtype=np.int64)
    except ValueError as error:
        raise DataError(f"{name}: can't be read as class,startTime_usec,endTime_usec ({error})") from error
    if table.shape[1:] != (3,) or not len(table):
        raise DataError(f"{name}: expected rows of class,startTime_usec,endTime_usec, got {table.shape}")
    label, start, stop = table.T
    wrong = (label < 1) | (label > len(CLASSES)) | (start >= stop)
    if wrong.any():
        i = int(wrong.argmax())
        raise DataError(f"{name}: gesture {i} is of class {label[i]} and lasts from {start[i]} to {stop[i]} us")
    return label, start, stop


def _add_tonic(name: str, files: Files, split: str, spool: Spool) -> None:
    """Add a gesture of tonic's edition: x, y, polarity, milliseconds; the file's name is its class."""
    _, trial, file = name.split("/")
    user, lighting = _user(trial, name)
    try:
        table = np.load(io.BytesIO(files[name]()), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{name}: can't be read as an array ({error})") from error
    if table.ndim != 2 or table.shape[1] != 4 or table.dtype.kind not in "iuf":
        raise DataError(f"{name}: expected columns x, y, polarity, ms, got {table.dtype} {table.shape}")
    table = table[np.argsort(table[:, 3], kind="stable")]
    x, y, p = table[:, :3].astype(np.int64).T
    inside = (x >= 0) & (x < SENSOR[0]) & (y >= 0) & (y < SENSOR[1])
    if not inside.all():
        i = int((~inside).argmax())
        raise DataError(f"{name}: an event lies at ({x[i]}, {y[i]}), outside {SENSOR[0]} x {SENSOR[1]}")
    time = np.rint(table[:, 3].astype(np.float64) * 1000)
    spool.add(
        _channel(x, y, p > 0), time, [0, len(time)], [int(file.removesuffix(".npy"))],
        name=[f"{trial}:{file.removesuffix('.npy')}"], **_columns(split, user, lighting, 1),
    )  # fmt: skip


def _channel(x: Array, y: Array, p: Array) -> Array:
    width, height, _ = SENSOR
    return (p * height + y) * width + x


def _user(trial: str, name: str) -> tuple[int, str]:
    """user01_fluorescent_led is 1, fluorescent_led."""
    match = USER.match(trial)
    if match is None:
        raise DataError(f"{name}: expected a name such as user01_fluorescent.aedat")
    return int(match[1]), match[2]


def _columns(split: str, user: int, lighting: str, n: int) -> dict[str, Any]:
    return {"split": [split] * n, "user": [user] * n, "lighting": [lighting] * n}


def _fetch(where: str) -> None:
    """Have tonic download both splits of its edition."""
    from tonic.datasets import DVSGesture

    for train in (True, False):
        DVSGesture(where, train=train)
