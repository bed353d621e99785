"""Pooling: neighbouring channels, or squares of a camera's pixels, become one channel that has all their events.

    c' = c // size,     (x', y', p') = (x // size, y // size, p)

At the far end a group may be smaller. SE-adLIF's recipe for SHD takes 140 channels for 700 so (Baronig et al. 2024).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from spiking.events import Sensor

Array = np.ndarray[Any, Any]


class Pooling(NamedTuple):
    """Which channels become one.

    Attributes:
        group: (N,) int32, the new channel of each.
        channels: how many new ones there are.
        sensor: (W, H, P) of the new ones, or `None`.
    """

    group: Array
    channels: int
    sensor: Sensor | None


def pooling(channels: int, sensor: Sensor | None, size: int) -> Pooling:
    """The groups of `size` channels, or of `size` x `size` pixels.

    Arguments:
        channels: N.
        sensor: (W, H, P) of a camera, or `None`.
        size: of a group.

    Raises:
        ValueError: if the size isn't a whole number from 1 up to the channels or to the sensor's longer side.
    """
    most = channels if sensor is None else max(sensor[:2])
    if isinstance(size, bool) or int(size) != size or not 1 <= size <= most:
        what = "channels" if sensor is None else "pixels"
        raise ValueError(f"pool: expected a whole number from 1 to {most} {what}, got {size!r}")
    channel = np.arange(channels, dtype=np.int32)
    if sensor is None:
        return Pooling(channel // int(size), -(-channels // int(size)), None)
    W, H, P = sensor
    w, h = -(-W // int(size)), -(-H // int(size))
    p, y, x = channel // (W * H), channel // W % H, channel % W
    return Pooling((p * h + y // int(size)) * w + x // int(size), w * h * P, (w, h, P))
