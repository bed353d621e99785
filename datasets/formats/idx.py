"""idx, the format of MNIST and Fashion-MNIST (LeCun, Cortes & Burges 1998), packed with gzip or not, big-endian.

byte 0, 1: 0    byte 2: type of the numbers    byte 3: d, how many dimensions
d times 4 bytes: their sizes                   then the numbers, the last dimension running fastest
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from spiking.datasets.errors import DataError
from spiking.datasets.webpage import refuse_page

Array = np.ndarray[Any, Any]

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP = b"\x1f\x8b"


def read(path: Path) -> Array:
    """The array of one file.

    Arguments:
        path: the file, whatever its ending.

    Raises:
        DataError: with its name, if it can't be read or unpacked, isn't an idx file, or has more or fewer numbers than
            it says.
    """
    data = unpack(path)
    refuse_page(data, path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES or not data[3]:
        raise DataError(
            f"{path}: not an idx file, which begins with 00 00, the type of its numbers "
            f"(08 for bytes) and how many dimensions; this one begins with {data[:4].hex(' ') or 'nothing'}"
        )
    begin = 4 + 4 * data[3]
    sizes = tuple(np.frombuffer(data[4:begin].ljust(begin - 4, b"\0"), ">u4").tolist())
    number = np.dtype(TYPES[data[2]])
    if len(data) != begin + math.prod(sizes) * number.itemsize:
        raise DataError(
            f"{path}: {' x '.join(map(str, sizes))} numbers of {number.itemsize} bytes and {begin} in front of them "
            f"make {begin + math.prod(sizes) * number.itemsize} bytes, the file has {len(data)}; get it again"
        )
    return np.frombuffer(data, number, offset=begin).reshape(sizes)


def unpack(path: Path) -> bytes:
    """A file's bytes, out of gzip where it is packed.

    Raises:
        DataError: if it can't be read, or was cut off or damaged.
    """
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == GZIP else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: can't be read or unpacked ({error}); get it again") from error
