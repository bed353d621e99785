"""AEDAT 3.1: packets of events as jAER, cAER and the DVS128 Gesture data set write them (iniVation's specification).

    text header: lines beginning with #, the first "#!AER-DAT3.1", the last "#!END-HEADER"
    packet header, 28 bytes, little-endian:
        int16 type, source    int32 size of an event, offset of its time, overflow, capacity, number, valid
    polarity event (type 1), 8 bytes:
        uint32 data: bits 31-17 x, 16-2 y, 1 polarity, 0 valid    int32 time, microseconds

The time of an event is its own plus overflow * 2^31. Packets of other types are passed over; so are events that are
marked invalid, where the packet says that it holds any.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

from spiking.datasets.errors import DataError
from spiking.datasets.webpage import refuse_page

Array = np.ndarray[Any, Any]

HEADER = struct.Struct("<hhiiiiii")
POLARITY = 1


class CameraEvents(NamedTuple):
    """Events of a camera, (events,) each: int64 coordinates, polarity 0 or 1, microseconds."""

    x: Array
    y: Array
    p: Array
    time: Array


def decode(data: bytes, name: str, width: int, height: int) -> CameraEvents:
    """The polarity events of a file, in order of time.

    Arguments:
        data: the file's content.
        name: what errors call it.
        width, height: of the camera.

    Raises:
        DataError: with name and byte, if it is no AEDAT 3.1, is cut off, or has an event outside the camera.
    """
    refuse_page(data, name)
    at = _text_header(data, name)
    words, times, places = [np.zeros(0, np.uint32)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    while at < len(data):
        if at + HEADER.size > len(data):
            raise DataError(f"{name}: cut off in the packet header at byte {at}, the file ends at {len(data)}")
        kind, _, size, offset, overflow, capacity, number, valid = HEADER.unpack_from(data, at)
        end = at + HEADER.size + capacity * size
        if size <= 0 or capacity < 0 or not 0 <= valid <= number <= capacity:
            raise DataError(f"{name}: no packet header at byte {at}: {number} of {capacity} events of {size} bytes")
        if end > len(data):
            raise DataError(f"{name}: cut off in the packet at byte {at}, which ends at {end}, the file at {len(data)}")
        if kind == POLARITY:
            if size != 8 or offset != 4:
                raise DataError(f"{name}: polarity events of {size} bytes at byte {at}, expected 8, time at 4")
            pairs = np.frombuffer(data, "<u4", 2 * number, at + HEADER.size).reshape(-1, 2)
            used = (pairs[:, 0] & 1).astype(bool) if valid < number else np.ones(number, bool)
            words.append(pairs[used, 0])
            times.append(pairs[used, 1].astype(np.int64) + (overflow << 31))
            places.append(at + HEADER.size + 8 * np.flatnonzero(used))
        at = end
    word, time, place = np.concatenate(words).astype(np.int64), np.concatenate(times), np.concatenate(places)
    x, y, p = word >> 17, word >> 2 & 0x7FFF, word >> 1 & 1
    outside = (x >= width) | (y >= height)
    if outside.any():
        i = int(outside.argmax())
        raise DataError(f"{name}: the event at byte {place[i]} lies at ({x[i]}, {y[i]}), outside {width} x {height}")
    if (np.diff(time) < 0).any():
        order = np.argsort(time, kind="stable")
        return CameraEvents(x[order], y[order], p[order], time[order])
    return CameraEvents(x, y, p, time)


def _text_header(data: bytes, name: str) -> int:
    """Where the first packet begins."""
    first = data[:64].split(b"\n", 1)[0].strip()
    if not first.startswith(b"#!AER-DAT"):
        raise DataError(f"{name}: not an AEDAT file, it begins with {data[:16]!r}")
    version = first.removeprefix(b"#!AER-DAT").decode(errors="replace")
    if version != "3.1":
        raise DataError(f"{name}: AEDAT version {version}, expected 3.1, as the published files are")
    at = 0
    while data[at : at + 1] == b"#":
        end = data.find(b"\n", at) + 1 or len(data)
        line = data[at:end].strip()
        at = end
        if line == b"#!END-HEADER":
            return at
    raise DataError(f"{name}: no #!END-HEADER before byte {at}, where AEDAT 3.1 begins its packets")
