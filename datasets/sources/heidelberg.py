"""What shd and ssc share: one HDF5 file for each split, as published or in its .zip, read into one store.

A .zip is compared with the published checksum, an unpacked file is taken as it is. Without a root the files are looked
for in the cache and, failing that, downloaded there through tonic.
"""

from __future__ import annotations

import contextlib
import filecmp
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spiking.datasets.errors import DataError
from spiking.datasets.formats import shd
from spiking.datasets.sources.download import check_no_page, check_published, through_tonic
from spiking.datasets.sources.gather import fingerprint, read_all
from spiking.datasets.sources.plan import Plan
from spiking.datasets.spool import Spool
from spiking.datasets.store import EventStore

HOME = "https://zenkelab.org/datasets/"
# raise it when the same files make other recordings
VERSION = 1


@dataclass(frozen=True)
class Corpus:
    """One of the two data sets.

    Attributes:
        name: as its files begin.
        classes: how many there are.
        md5: of the published .zip of each split.
        size: bytes of a download, unpacked files included.
        fetch: has tonic download a split, given where and the split.
    """

    name: str
    classes: int
    md5: dict[str, str]
    size: int
    fetch: Callable[[str, str], Any]

    def advice(self, split: str = "") -> str:
        """How to get the files without tonic."""
        files = " and ".join(f"{self.name}_{part}.h5.zip" for part in ([split] if split else self.md5))
        return f"put {files} from {HOME} there, as they are or unpacked"


def plan(corpus: Corpus, root: Path | None, cache: Path, skip_corrupt: bool, progress: bool) -> Plan:
    """What `load` builds from the files below a root, or else from downloaded ones.

    Raises:
        DataError: if none of the files is there, and without a root they can't be downloaded either.
    """
    if root is None:
        root = cache / corpus.name
        _download(corpus, root)
    found = _files(corpus, root)
    if not found:
        looked = ", ".join(f"{corpus.name}_{split}.h5" for split in corpus.md5)
        raise DataError(
            f"{root}: no {corpus.name.upper()} here; looked for {looked}, and for .zip of them; {corpus.advice()}, "
            "or give no root to have them downloaded"
        )
    key = {"version": VERSION, "skip_corrupt": skip_corrupt, "files": fingerprint(root, found.values())}
    # unpacked, in unnamed files, and in the store
    room = 3 * sum(_unpacked_size(path, corpus) for path in found.values()) + (1 << 20)
    missing = {split: f"for these, {corpus.advice(split)}" for split in corpus.md5 if split not in found}
    return Plan(key, room, lambda: _build(corpus, found, cache, skip_corrupt, progress), missing)


def _files(corpus: Corpus, root: Path) -> dict[str, Path]:
    """By split, the .zip or else the file below a root; a .zip is whole, what was unpacked from it may not be."""
    found = {}
    for split in corpus.md5:
        name = f"{corpus.name}_{split}.h5"
        places = [folder / file for folder in (root, root / corpus.name.upper()) for file in (f"{name}.zip", name)]
        for path in places:
            if path.is_file():
                found[split] = path
                break
    return found


def _unpacked_size(path: Path, corpus: Corpus) -> int:
    if path.suffix != ".zip":
        return path.stat().st_size
    advice = corpus.advice()
    check_no_page(path, advice)
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: can't be read as an archive ({error}). Delete it; {advice}") from error


def _build(corpus: Corpus, found: dict[str, Path], cache: Path, skip_corrupt: bool, progress: bool) -> EventStore:
    spool: Spool | None = None
    splits: list[str] = []
    read: list[Path] = []
    with contextlib.ExitStack() as stack:
        for split, path in found.items():
            file = stack.enter_context(_opened(corpus, split, path, cache))
            classes = file.classes or ()
            if len(classes) != corpus.classes:
                given = f"{path}: has {len(classes)} classes, {corpus.name.upper()} has {corpus.classes}"
                raise DataError(f"{given}; {corpus.advice(split)}")
            for earlier in read:
                if filecmp.cmp(earlier, path, shallow=False):
                    raise DataError(f"{path}: the same file as {earlier}, so not of {split!r}; {corpus.advice(split)}")
            read.append(path)
            if spool is None:
                spool = stack.enter_context(Spool(cache, classes, channels=shd.CHANNELS))
            elif classes != spool.classes:
                raise DataError(f"{path}: its classes are not those of {next(iter(found.values()))}")
            splits += [split] * _read(file, path, spool, skip_corrupt, progress)
        assert spool is not None
        return spool.store(split=np.array(splits))


@contextlib.contextmanager
def _opened(corpus: Corpus, split: str, path: Path, cache: Path) -> Iterator[shd.Reader]:
    """The reader of a file, or of the one in a .zip, which is unpacked into a file without a name."""
    advice = corpus.advice(split)
    if path.suffix != ".zip":
        check_no_page(path, advice)
        with shd.Reader(path) as reader:
            yield reader
        return
    check_published(path, corpus.md5[split], f"{advice}; what you packed yourself is read unpacked")
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryFile(dir=cache) as unpacked:
        inside = [name for name in archive.namelist() if Path(name).name == f"{corpus.name}_{split}.h5"]
        if len(inside) != 1:
            raise DataError(f"{path}: no {corpus.name}_{split}.h5 inside; {advice}")
        with archive.open(inside[0]) as packed:
            while block := packed.read(1 << 20):
                unpacked.write(block)
        with shd.Reader(unpacked, f"{path}/{inside[0]}") as reader:
            yield reader


def _read(file: shd.Reader, path: Path, spool: Spool, skip_corrupt: bool, progress: bool) -> int:
    """Add all recordings of a file; returns how many."""

    def add(i: int) -> None:
        index, time = file[i]
        columns = {column: values[i : i + 1] for column, values in file.columns.items()}
        name = f"{path.name.removesuffix('.zip')}:{i}"
        spool.add(index, time, [0, len(time)], file.labels[i : i + 1], name=[name], **columns)

    return len(read_all(range(len(file)), add, skip_corrupt, progress)[0])


def _download(corpus: Corpus, folder: Path) -> None:
    """Download what isn't there."""
    found = _files(corpus, folder)

    def fetch(where: str) -> None:
        for split in corpus.md5.keys() - found.keys():
            corpus.fetch(where, split)

    if len(found) < len(corpus.md5):
        advice = f"{corpus.advice()}, or give the root where they lie"
        published = {f"{corpus.name}_{split}.h5.zip": md5 for split, md5 in corpus.md5.items()}
        through_tonic(fetch, folder, corpus.size, corpus.name.upper(), advice, published)
