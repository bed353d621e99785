"""Downloads through tonic, and the checks that tell a published file from a web page, a part of it or another file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spiking.datasets.errors import DataError
from spiking.datasets.storage import check_room
from spiking.datasets.webpage import refuse_page


def through_tonic(download: Callable[[str], Any], folder: Path, size: int, what: str, advice: str) -> None:
    """Have tonic download a data set; its files appear in the folder when all of them are there.

    Arguments:
        download: makes tonic's data set or sets, given where.
        folder: where the files go.
        size: bytes they need, about.
        what: the data set, for messages.
        advice: how to get the files without tonic.

    Raises:
        DataError: if there is no room, or the download fails for whatever reason.
    """
    check_room(folder, size)
    # tonic takes what an interrupted download or unpacking has left for the whole, so each starts from nothing
    unfinished = folder / ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        # tonic prints what it does, where a command's results belong
        with contextlib.redirect_stdout(sys.stderr):
            download(str(unfinished))
        for part in sorted(unfinished.glob("*/*")):
            place = folder / part.relative_to(unfinished)
            place.parent.mkdir(exist_ok=True)
            os.replace(part, place)
    # some of tonic's data sets end the program when their files aren't there
    except (Exception, SystemExit) as error:
        raise DataError(f"{folder}: {what} isn't here and the download failed ({reason(error)}); {advice}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def reason(error: BaseException) -> str:
    """Why tonic failed, in a few words."""
    if isinstance(error, SystemExit):
        return "it has to be fetched by hand"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def check_published(path: Path, md5: str, advice: str) -> None:
    """Make sure that a file is the published one.

    Arguments:
        path: the file.
        md5: the publisher's checksum.
        advice: how to get it.

    Raises:
        DataError: if it is a web page or has another checksum.
    """
    check_no_page(path, advice)
    with path.open("rb") as file:
        digest = hashlib.md5()
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != md5:
        raise DataError(
            f"{path}: its checksum is {digest.hexdigest()}, the published file's {md5}: "
            f"the download was cut off, or it is another file. Delete it; {advice}"
        )


def check_no_page(path: Path, advice: str) -> None:
    """Make sure that a file is not a web page that was saved in its place.

    Raises:
        DataError: if it is one.
    """
    with path.open("rb") as file:
        refuse_page(file.read(512), path, advice)
