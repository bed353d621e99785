"""nmnist: handwritten digits shown on a screen to a moving event camera (Orchard et al. 2015), 34x34x2, 300 ms.

The files lie as published, ROOT/Train/<digit>/*.bin and ROOT/Test/<digit>/*.bin, or in .zip or .tar archives of that
layout; Train.zip and Test.zip are compared with the published checksums. Without a root they are looked for in the
cache and, failing that, downloaded there through tonic.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from spiking.datasets.errors import DataError
from spiking.datasets.formats.nmnist import BYTES, SENSOR, decode
from spiking.datasets.sources.archive import archives, members
from spiking.datasets.sources.download import check_archive, through_tonic
from spiking.datasets.sources.gather import Item, fingerprint, read_all
from spiking.datasets.sources.plan import Plan
from spiking.datasets.store import EventStore

ABOUT = "N-MNIST: handwritten digits before a real moving event camera, 34x34x2, 300 ms (files or download)"
LAYOUT = re.compile(r"(?:^|.*/)(Train|Test)/([^/]+)/([^/.][^/]*\.bin)$")
DOWNLOAD = 3 << 30
ADVICE = "put the published Train.zip and Test.zip there (https://doi.org/10.17632/468j46mzdv)"
CLASSES = tuple("0123456789")
MD5 = {"train.zip": "20959b8e626244a1b502305a9e6e2031", "test.zip": "69ca8762b2fe404d9b9bad1103e97832"}


def plan(root: Path | None, cache: Path, skip_corrupt: bool, progress: bool) -> Plan:
    """What `load("nmnist")` builds from the files below a root.

    Raises:
        DataError: if the files aren't there, and without a root can't be downloaded either.
    """
    if root is None:
        root = cache / "nmnist"
        if not _sources(root):
            _download(root)
    sources = _sources(root)
    if not sources:
        raise DataError(
            f"{root}: no N-MNIST here; looked for Train/<digit>/*.bin and Test/<digit>/*.bin, and for .zip or .tar "
            f"archives of them; {ADVICE}, or have them downloaded by `spiking datasets prepare nmnist`"
        )
    files = sorted(path for path in sources if path.is_file())
    files += sorted(path for folder in sources if folder.is_dir() for path in folder.glob("*/*.bin"))
    key = {"files": fingerprint(root if root.is_dir() else root.parent, files), "skip_corrupt": skip_corrupt}
    size = sum(path.stat().st_size for path in files) // BYTES * 6 + (1 << 20)
    missing = {split: f"for these, {ADVICE}" for split in ("train", "test")}
    return Plan(key, size, lambda: _build(sources, skip_corrupt, progress), missing)


def _sources(root: Path) -> list[Path]:
    """The folders Train and Test, or else the archives, of a root."""
    for folder in (root, root / "NMNIST"):
        found = [folder / name for name in ("Train", "Test") if (folder / name).is_dir()]
        if found:
            return found
    return archives(root)


def _build(sources: list[Path], skip_corrupt: bool, progress: bool) -> EventStore:
    with ExitStack() as stack:
        content: dict[str, Callable[[], bytes]] = {}
        places: dict[str, Path] = {}
        for source in sources:
            check_archive(source, MD5, ADVICE)
            found = _folder(source) if source.is_dir() else members(source, LAYOUT, stack, ADVICE)
            for name, get in found.items():
                if name in content:
                    raise DataError(f"{name}: lies in {places[name]} and again in {source}; keep one of them")
                content[name], places[name] = get, source
        items = []
        for name in sorted(content, key=lambda n: (n.startswith("Test"), n)):
            split, digit, _ = name.split("/")
            if digit not in CLASSES:
                raise DataError(f"{name}: expected Train or Test, a folder for each digit 0 to 9, and its recordings")
            items.append(Item(name, split.lower(), digit, places[name]))
        if not items:
            raise DataError(f"{sources[0].parent}: no recordings below Train/<digit>/ or Test/<digit>/")
        kept, events = read_all(items, lambda item: decode(content[item.name](), item.name), skip_corrupt, progress)
    sizes = [len(time) for _, time in events]
    return EventStore.from_arrays(
        np.concatenate([index for index, _ in events]),
        np.concatenate([time for _, time in events]),
        np.concatenate([[0], np.cumsum(sizes)]),
        np.array([int(item.label) for item in kept]),
        SENSOR,
        classes=CLASSES,
        name=[item.name for item in kept],
        split=[item.split for item in kept],
    )


def _folder(source: Path) -> dict[str, Callable[[], bytes]]:
    """What reads each recording of a folder Train or Test, by name such as Train/3/00108.bin."""
    named = {f"{source.name}/{path.parent.name}/{path.name}": path for path in source.glob("*/*.bin")}
    return {name: path.read_bytes for name, path in named.items() if LAYOUT.match(name)}


def _download(root: Path) -> None:
    def fetch(where: str) -> None:
        from tonic.datasets import NMNIST

        for train in (True, False):
            NMNIST(where, train=train)

    through_tonic(fetch, root, DOWNLOAD, "N-MNIST", f"{ADVICE}, or give the root where they lie", MD5)
