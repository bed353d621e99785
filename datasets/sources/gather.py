"""Reading many recordings into one store: what all sources that read files share."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from spiking.datasets.errors import DataError
from spiking.datasets.progress import progress_bar

Unread = TypeVar("Unread")
Content = TypeVar("Content")


class Item(NamedTuple):
    """A recording to be read: its name in messages, "train" or "test" or "" if not yet known, its class and file."""

    name: str
    split: str
    label: str
    path: Path


def read_all(
    items: Sequence[Unread], read: Callable[[Unread], Content], skip_corrupt: bool, progress: bool
) -> tuple[list[Unread], list[Content]]:
    """The content of all recordings that can be read.

    Arguments:
        items: the recordings, or files of several.
        read: reads one, or raises DataError with its name.
        skip_corrupt: leave out those that can't be read, with one warning that names them.
        progress: show a bar.

    Raises:
        DataError: from the first that can't be read, unless they are skipped; if none is left.
    """
    kept: list[Unread] = []
    contents: list[Content] = []
    faults: list[str] = []
    for item in progress_bar(items, "reading recordings", progress):
        try:
            content = read(item)
        except DataError as error:
            if not skip_corrupt:
                raise DataError(f"{error}; --skip-corrupt (in Python: skip_corrupt=True) leaves such out") from error
            faults.append(str(error))
            continue
        kept.append(item)
        contents.append(content)
    if faults:
        shown = "; ".join(faults[:20]) + ("; ..." if len(faults) > 20 else "")
        if not kept:
            raise DataError(f"none of {len(items)} recordings can be read: {shown}")
        warnings.warn(f"left out {len(faults)} of {len(items)} recordings: {shown}", stacklevel=2)
    return kept, contents


def fingerprint(root: Path, files: Iterable[Path]) -> str:
    """sha256 over names below the root, sizes and times of change."""
    digest = hashlib.sha256()
    for path in files:
        stat = path.stat()
        digest.update(f"{path.relative_to(root).as_posix()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
