"""folder:PATH: one's own recordings, one sub-folder a class.

    PATH/<class>/*.npz|h5|csv                   divided by recording: a fifth of every class is the test split
    PATH/train/<class>/*, PATH/test/<class>/*   divided already
    PATH/sensor.json                            optional: {"width": 34, "height": 34, "polarities": 2}
                                                or {"channels": 700}; else the largest coordinates decide

`spiking.datasets.formats.folder` says what the files hold.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from spiking.datasets.errors import DataError
from spiking.datasets.formats.folder import SUFFIXES, Recording, read
from spiking.datasets.sources.gather import Item, fingerprint, read_all
from spiking.datasets.sources.plan import Plan
from spiking.datasets.split import hold_out_share
from spiking.datasets.store import EventStore

ABOUT = "your own recordings (.npz, .h5, .csv with t, x, y, p or t, channel), one sub-folder a class"
SENSOR = "sensor.json"
LAYOUT = "PATH/<class>/*.npz, .h5 or .csv (or PATH/train/<class>/* and PATH/test/<class>/*)"
TEST, SEED = 0.2, 0

Size = tuple[int, ...]


def plan(root: Path | None, cache: Path, skip_corrupt: bool, progress: bool) -> Plan:
    """What `load("folder:PATH")` builds.

    Raises:
        DataError: if there is no such folder or it holds no recordings in this layout.
    """
    if root is None or not root.is_dir():
        raise DataError(f"{root}: no such folder; expected {LAYOUT}")
    items = _items(root)
    size = _sensor(root)
    files = [item.path for item in items] + ([root / SENSOR] if size else [])
    key = {"files": fingerprint(root, files), "skip_corrupt": skip_corrupt}
    # a text or compressed file holds at most some four times its size in events
    room = 4 * sum(path.stat().st_size for path in files) + (1 << 20)
    missing = {split: f"put them into PATH/{split}/<class>" for split in ("train", "test")}
    return Plan(key, room, lambda: _build(items, size, skip_corrupt, progress), missing)


def _items(root: Path) -> list[Item]:
    splits = [split for split in ("train", "test") if any(p.is_dir() for p in (root / split).glob("*"))]
    items = []
    for split in splits or [""]:
        for folder in sorted(p for p in (root / split).glob("[!.]*") if p.is_dir()):
            for path in sorted(p for p in folder.glob("[!.]*") if p.is_file()):
                name = path.relative_to(root).as_posix()
                if path.suffix not in SUFFIXES:
                    raise DataError(f"{root / name}: expected recordings as {', '.join(SUFFIXES)}")
                items.append(Item(name, split, folder.name, path))
    if not items:
        raise DataError(f"{root}: no recordings; expected {LAYOUT}")
    known = {item.label for item in items if item.split != "test"}
    for item in items:
        if item.label not in known and "train" in splits:
            raise DataError(f"{item.name}: class {item.label!r} is not among the training classes {sorted(known)}")
    return items


def _sensor(root: Path) -> Size | None:
    """(W, H, P) or (channels,) from sensor.json."""
    path = root / SENSOR
    if not path.exists():
        return None
    try:
        given: Any = json.loads(path.read_text())
        keys = ("channels",) if "channels" in given else ("width", "height", "polarities")
        size = tuple(int(given[key]) for key in keys)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected width, height and polarities, or channels ({error!r})") from error
    if min(size) < 1:
        raise DataError(f"{path}: expected numbers of at least 1, got {size}")
    return size


def _build(items: list[Item], size: Size | None, skip_corrupt: bool, progress: bool) -> EventStore:
    def read_one(item: Item) -> Recording:
        recording = read(item.path, item.name, item.label)
        if size is not None:
            _check_inside(recording, size, item.name)
        return recording

    kept, recordings = read_all(items, read_one, skip_corrupt, progress)
    for item, recording in zip(kept, recordings, strict=True):
        if recording.place.shape[1] != recordings[0].place.shape[1]:
            raise DataError(f"{item.name}: cameras (x, y) and channels are mixed; {kept[0].name} has the other")
    place = np.concatenate([recording.place for recording in recordings])
    if size is None:
        size = tuple(int(most) + 1 for most in place.max(0))
        if len(size) == 3:
            size = (*size[:2], max(recording.polarities for recording in recordings))
    index = place[:, 0]
    if len(size) == 3:
        index = (place[:, 2] * size[1] + place[:, 1]) * size[0] + index
    classes = sorted({item.label for item in kept})
    labels = np.array([classes.index(item.label) for item in kept])
    split = [item.split for item in kept]
    if not split[0]:
        test = hold_out_share(labels, TEST, SEED) if len(kept) > 1 else np.zeros(len(kept), bool)
        split = np.where(test, "test", "train").tolist()
    sizes = [len(recording.time) for recording in recordings]
    return EventStore.from_arrays(
        index,
        np.concatenate([recording.time for recording in recordings]),
        np.concatenate([[0], np.cumsum(sizes)]),
        labels,
        (size[0], size[1], size[2]) if len(size) == 3 else None,
        int(np.prod(size)),
        classes,
        name=[item.name for item in kept],
        split=split,
    )


def _check_inside(recording: Recording, size: Size, name: str) -> None:
    if recording.place.shape[1] != len(size):
        given = "width, height, polarities" if len(size) == 3 else "channels"
        raise DataError(f"{name}: {SENSOR} speaks of {given}, the recording does not")
    outside = (recording.place >= size).any(1)
    if outside.any():
        i = int(outside.argmax())
        raise DataError(f"{name}: event {i} lies at {tuple(recording.place[i].tolist())}, outside {size}")
