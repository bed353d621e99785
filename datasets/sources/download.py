"""Downloads through tonic, and the checks that tell a published file from a web page, a part of it or another file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from spiking.datasets.errors import DataError
from spiking.datasets.storage import check_room
from spiking.datasets.webpage import refuse_page


def through_tonic(
    download: Callable[[str], Any], folder: Path, size: int, what: str, advice: str, published: Mapping[str, str]
) -> None:
    """Have tonic download a data set; its files appear in the folder when all of them are there.

    Arguments:
        download: makes tonic's data set or sets, given where.
        folder: where the files go.
        size: bytes they need, about.
        what: the data set, for messages.
        advice: how to get the files without tonic.
        published: as `check_archive` takes it.

    Raises:
        DataError: if there is no room, or the download fails for whatever reason.
    """
    check_room(folder, size)
    # tonic takes what an interrupted download or unpacking has left for the whole, so each starts from nothing
    unfinished = folder / ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    failed = f"{folder}: {what} isn't here and the download failed"
    try:
        # tonic prints what it does, where a command's results belong
        with contextlib.redirect_stdout(sys.stderr):
            download(str(unfinished))
        if wrong := _wrong(unfinished, published):
            raise DataError(f"{failed} ({wrong}); {advice}")
        for part in sorted(unfinished.glob("*/*")):
            place = folder / part.relative_to(unfinished)
            place.parent.mkdir(exist_ok=True)
            os.replace(part, place)
    except DataError:
        raise
    # some of tonic's data sets end the program when their files aren't there
    except (Exception, SystemExit) as error:
        # tonic compares checksums, too, but doesn't say which and with what
        why = _wrong(unfinished, published) or reason(error)
        raise DataError(f"{failed} ({why}); {advice}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _wrong(folder: Path, published: Mapping[str, str]) -> str:
    """Which archive in a folder isn't the published one, and why; empty if none is."""
    for path in sorted(folder.rglob("*")):
        want = published.get(path.name.lower())
        if want is not None and path.is_file() and (got := md5(path)) != want:
            return f"{path.name}: what came has the checksum {got}, the published file {want}"
    return ""


def reason(error: BaseException) -> str:
    """Why tonic failed, in a few words."""
    if isinstance(error, SystemExit):
        return "it has to be fetched by hand"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def check_archive(path: Path, published: Mapping[str, str], advice: str) -> None:
    """Make sure that an archive which bears a published one's name is that one.

    Arguments:
        path: the archive.
        published: the publisher's checksums by name, in small letters.
        advice: how to get it.

    Raises:
        DataError: if it is a web page or has another checksum.
    """
    if path.name.lower() in published:
        check_published(path, published[path.name.lower()], f"{advice}; what you packed yourself needs another name")


def check_published(path: Path, want: str, advice: str) -> None:
    """Make sure that a file is the published one.

    Arguments:
        path: the file.
        want: the publisher's checksum.
        advice: how to get it.

    Raises:
        DataError: if it is a web page or has another checksum.
    """
    check_no_page(path, advice)
    got = md5(path)
    if got != want:
        raise DataError(
            f"{path}: its checksum is {got}, the published file's {want}: the download was cut off, or it is another "
            f"file. Delete it; {advice}"
        )


def md5(path: Path) -> str:
    """A file's checksum."""
    digest = hashlib.md5()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_no_page(path: Path, advice: str) -> None:
    """Make sure that a file is not a web page that was saved in its place.

    Raises:
        DataError: if it is one.
    """
    with path.open("rb") as file:
        refuse_page(file.read(512), path, advice)
