"""Files in archives, read where they lie."""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from spiking.datasets.errors import DataError
from spiking.datasets.sources.download import check_no_page

ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")


def archives(root: Path) -> list[Path]:
    """The root itself where it is an archive, else the archives in it."""
    if root.is_file():
        return [root] if root.name.endswith(ARCHIVES) else []
    return sorted(path for path in root.glob("*") if path.is_file() and path.name.endswith(ARCHIVES))


def members(path: Path, pattern: re.Pattern[str], stack: ExitStack, advice: str) -> dict[str, Callable[[], bytes]]:
    """What reads each file of an archive, in the archive's order.

    Arguments:
        path: the archive.
        pattern: what the names of wanted files match; the parts in its groups, joined by "/", become their names here.
        stack: keeps the archive open.
        advice: how to get the archive, for messages.

    Raises:
        DataError: if it is no archive, or a web page.
    """
    check_no_page(path, advice)
    opened: Any
    try:
        if path.suffix == ".zip":
            opened = stack.enter_context(zipfile.ZipFile(path))
            names, open_member = opened.namelist(), opened.open
        else:
            opened = stack.enter_context(tarfile.open(path))
            names, open_member = opened.getnames(), opened.extractfile
    except Exception as error:  # zipfile, tarfile and zlib raise nearly anything on a damaged archive
        raise DataError(f"{path}: can't be read as an archive ({error}). Delete it; {advice}") from error

    def get(name: str) -> bytes:
        try:
            content: bytes = open_member(name).read()
        except Exception as error:  # as above
            raise DataError(f"{path}/{name}: can't be unpacked ({error}); {advice}") from error
        return content

    matches = [match for match in map(pattern.match, names) if match]
    return {"/".join(match.groups()): partial(get, match.string) for match in matches}
