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
from typing import Any

import numpy as np

from spiking.datasets import storage
from spiking.datasets.errors import DataError
from spiking.datasets.sources.plan import Plan
from spiking.datasets.store import EventStore

# by name; a name such as folder takes what follows the colon, folder:PATH
SOURCES = {
    "digits": "", "nmnist": "", "mnist-saccades": "", "fashion-saccades": "", "shd": "", "ssc": "", "dvsgesture": "",
    "spoken": "", "shd-adding": "", "spoken-adding": "", "tonic": "NAME", "folder": "PATH",
}  # fmt: skip
SPLITS = ("train", "valid", "test", "all")


def available() -> tuple[tuple[str, str], ...]:
    """(name, one line about it) of every data set that `load` knows."""
    return tuple((f"{name}:{more}" if more else name, _module(name).ABOUT) for name, more in SOURCES.items())


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
        name: one of `available()`: "folder:PATH" for one's own recordings, "tonic:NAME" for others that tonic has.
        split: "train", "test" or "all", or "valid" where the data set has validation recordings of its own.
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
    if split not in SPLITS:
        raise DataError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    plan, store = _whole(name, root, cache, skip_corrupt, progress)
    if split == "all":
        return store
    part = store.select(store.metadata["split"] == split)
    if not len(part):
        there = ", ".join(np.unique(store.metadata["split"]))
        advice = plan.missing.get(split, "load(...).split(by=...) holds recordings out" if split == "valid" else "")
        where = f"{name} at {root}" if root else name
        raise DataError(f"split: {where} has no recordings in {split!r}, only in {there}" + (advice and f"; {advice}"))
    return part


def images(
    name: str, split: str = "train", root: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The pictures themselves of MNIST or Fashion-MNIST, for networks that see them as currents.

    Arguments:
        name: "mnist" or "fashion".
        split: "train" or "test".
        root, cache: as `load` takes them.

    Returns:
        (n, 28, 28) and (n,), bytes.

    Raises:
        ValueError: if there are no such images or no such split.
        DataError: if files are missing or wrong.
    """
    from spiking.datasets.sources import saccades

    kinds = {"mnist": saccades.MNIST, "fashion": saccades.FASHION}
    for argument, given, choices in (("name", name, kinds), ("split", split, ("train", "test"))):
        if given not in choices:
            raise DataError(f"{argument}: expected one of {', '.join(choices)}, got {given!r}")
    folder = Path(cache).expanduser() if cache else _cache_folder()
    return saccades.read(
        kinds[name], saccades.where(kinds[name], Path(root).expanduser() if root else None, folder), split
    )


def splits(name: str, root: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
    """The splits that a data set has, of "train", "valid" and "test"; it is built if it hasn't been yet.

    Arguments:
        name, root: as `load` takes them.
    """
    there = set(_whole(name, root, None, False, True)[1].metadata["split"].tolist())
    return tuple(split for split in SPLITS if split in there)


def _whole(
    name: str,
    root: str | os.PathLike[str] | None,
    cache: str | os.PathLike[str] | None,
    skip_corrupt: bool,
    progress: bool,
) -> tuple[Plan, EventStore]:
    """A data set's plan and all of its recordings."""
    kind, _, more = name.partition(":")
    if kind not in SOURCES or bool(more) != bool(SOURCES[kind]):
        names = ", ".join(known for known, _ in available())
        raise DataError(f"name: there is no data set {name!r}; there are {names}")
    given = more if kind == "folder" else root
    where = Path(given).expanduser() if given else None
    folder = Path(cache).expanduser() if cache else _cache_folder()
    named = {"name": more} if kind == "tonic" else {}
    plan = _module(kind).plan(where, folder, skip_corrupt, progress, **named)
    return plan, _stored(plan, kind, folder)


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
            warnings.warn(f"{error}; building it again", stacklevel=4)
    storage.check_room(folder, plan.size)
    plan.build().save(path)
    if plan.scratch is not None:
        shutil.rmtree(plan.scratch, ignore_errors=True)
    return EventStore.open(path)


def _cache_folder() -> Path:
    return Path(os.environ.get("SPIKING_CACHE") or Path.home() / ".cache" / "spiking" / "datasets")
