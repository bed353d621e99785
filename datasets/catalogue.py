"""`load`: a data set by its name, built on first use, kept in a cache and opened memory-mapped from then on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType

from spiking.datasets import storage
from spiking.datasets.errors import DataError
from spiking.datasets.sources.plan import Plan
from spiking.datasets.store import EventStore

SOURCES = ("digits", "nmnist", "mnist-saccades", "fashion-saccades", "folder")
SPLITS = ("train", "test", "all")


def available() -> tuple[tuple[str, str], ...]:
    """(name, one line about it) of every data set that `load` knows."""
    about = {name: _module(name).ABOUT for name in SOURCES}
    return tuple(("folder:PATH" if name == "folder" else name, about[name]) for name in SOURCES)


def load(
    name: str,
    split: str = "train",
    root: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    skip_corrupt: bool = False,
    progress: bool = True,
) -> EventStore:
    """A data set, from the cache if it has been built before from the same files.

    Arguments:
        name: one of `available()`; "folder:PATH" for one's own recordings.
        split: "train", "test" or "all".
        root: where the data set's own files lie; digits needs none.
        cache: where built stores are kept; `None` means $SPIKING_CACHE or ~/.cache/spiking/datasets.
        skip_corrupt: leave out recordings that can't be read, with a warning that names them.
        progress: show a bar while building.

    Returns:
        EventStore of the split, a view of the whole store, with a column `split`.

    Raises:
        ValueError: if there is no such data set or split.
        DataError: if files are missing or wrong, or the cache can't be written.
    """
    kind, _, path = name.partition(":")
    if kind not in SOURCES or bool(path) != (kind == "folder"):
        names = ", ".join(known for known, _ in available())
        raise DataError(f"name: there is no data set {name!r}; there are {names}")
    if split not in SPLITS:
        raise DataError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    given = path or root
    where = Path(given).expanduser() if given else None
    folder = Path(cache).expanduser() if cache else _cache_folder()
    plan = _module(kind).plan(where, folder, skip_corrupt, progress)
    store = _stored(plan, kind, folder)
    if split == "all":
        return store
    part = store.select(store.metadata["split"] == split)
    if not len(part):
        raise DataError(f"split: {name} at {where} has no recordings in {split!r}")
    return part


def _module(kind: str) -> ModuleType:
    return import_module(f"spiking.datasets.sources.{kind.replace('-', '_')}")


def _stored(plan: Plan, kind: str, folder: Path) -> EventStore:
    """The store of a plan, opened or else built."""
    key = {"source": kind, "format": storage.VERSION, **plan.key}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{kind}-{digest}.h5"
    if path.exists():
        try:
            return EventStore.open(path)
        except DataError as error:
            warnings.warn(f"{error}; building it again", stacklevel=3)
    storage.check_room(folder, plan.size)
    plan.build().save(path)
    if plan.scratch is not None:
        shutil.rmtree(plan.scratch, ignore_errors=True)
    return EventStore.open(path)


def _cache_folder() -> Path:
    return Path(os.environ.get("SPIKING_CACHE") or Path.home() / ".cache" / "spiking" / "datasets")
