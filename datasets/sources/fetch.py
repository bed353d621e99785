"""A published file from the first address that has it, whole and checked or not at all."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import shutil
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path

from spiking.datasets.errors import DataError
from spiking.datasets.storage import atomic, check_room

TIMEOUT, ROOM = 30, 1 << 28


def fetch(addresses: Sequence[str], path: Path, digest: str, advice: str) -> None:
    """Download a packed file; an interrupted download leaves nothing and starts again.

    Arguments:
        addresses: where it can be had, tried in order.
        path: where it goes.
        digest: sha256 of its content, unpacked.
        advice: how to get it by hand.

    Raises:
        DataError: with every address and what was wrong there.
    """
    check_room(path.parent, ROOM)
    faults = []
    for address in addresses:
        try:
            with atomic(path) as temporary:
                with urllib.request.urlopen(address, timeout=TIMEOUT) as answer, temporary.open("wb") as file:
                    shutil.copyfileobj(answer, file)
                with gzip.open(temporary) as content:
                    got = hashlib.sha256(content.read()).hexdigest()
                if got != digest:
                    raise ValueError(f"what came has the checksum {got}, expected {digest}")
            return
        except (OSError, EOFError, ValueError, zlib.error, http.client.HTTPException) as error:
            faults.append(f"{address}: {error}")
    raise DataError(f"{path} isn't here and the download failed ({'; '.join(faults)}); {advice}")
