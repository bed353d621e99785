"""N-MNIST's `.bin`: 40 bits an event, big-endian (Orchard et al. 2015).

    byte 0: x    byte 1: y    byte 2, bit 7: polarity    bits 22 to 0: time, microseconds

A word whose y is 240 marks an overflow of the clock: it is no event and adds 2^13 microseconds to all that follow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spiking.datasets.errors import DataError
from spiking.datasets.webpage import refuse_page
from spiking.events import Sensor

Array = np.ndarray[Any, Any]

SENSOR: Sensor = (34, 34, 2)
BYTES = 5
OVERFLOW, CLOCK = 240, 1 << 13


def decode(data: bytes, name: str) -> tuple[Array, Array]:
    """The events of one recording.

    Arguments:
        data: the file's content.
        name: what errors call it.

    Returns:
        (index, time): channels (p*34 + y)*34 + x, int16, and microseconds, int32.

    Raises:
        DataError: with name and byte, if the file is cut off, has no events, leaves the sensor or runs backwards.
    """
    refuse_page(data, name)
    if len(data) % BYTES:
        raise DataError(
            f"{name}: cut off in the event at byte {len(data) // BYTES * BYTES}, {len(data)} bytes are not whole events"
        )
    word = np.frombuffer(data, np.uint8).reshape(-1, BYTES).astype(np.int32)
    x, y = word[:, 0], word[:, 1]
    time = (word[:, 2] & 0x7F) << 16 | word[:, 3] << 8 | word[:, 4]
    marker = y == OVERFLOW
    time = time + np.cumsum(marker, dtype=np.int32) * CLOCK
    event = np.flatnonzero(~marker)
    if not len(event):
        raise DataError(f"{name}: no events in {len(data)} bytes")
    x, y, time = x[event], y[event], time[event]
    width, height, _ = SENSOR
    outside = (x >= width) | (y >= height)
    if outside.any():
        i = int(outside.argmax())
        raise DataError(
            f"{name}: the event at byte {event[i] * BYTES} lies at ({x[i]}, {y[i]}), outside {width} x {height}"
        )
    backwards = np.diff(time) < 0
    if backwards.any():
        i = int(backwards.argmax()) + 1
        raise DataError(
            f"{name}: times run backwards at byte {event[i] * BYTES}, {time[i - 1]} us and then {time[i]} us"
        )
    polarity = word[event, 2] >> 7
    return ((polarity * height + y) * width + x).astype(np.int16), time
