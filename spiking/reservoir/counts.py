"""Spikes counted in equal parts of time, which is what readouts see of a liquid."""

from __future__ import annotations

from typing import Any

import numpy as np

from spiking.events import Events

Array = np.ndarray[Any, Any]
PARTS = ("recording", "time")


def bin_counts(events: Events, bins: int = 1, parts: str = "recording") -> Array:
    """How often each channel was active in each part of time.

    Arguments:
        events: (T, B, N).
        bins: parts.
        parts: "recording" divides each recording's own steps, so that words said slowly or fast have the same parts;
            "time" divides the T steps, so that the same time lies in the same part of all.

    Returns:
        (B, bins * N) float32, column k*N + n for part k and channel n.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    check_parts(bins, parts)
    T, B, N = events.shape
    rows = events.rows().cpu().numpy()
    step, sample = rows // max(B, 1), rows % max(B, 1)
    whole = events.lengths.cpu().numpy()[sample] if parts == "recording" else max(T, 1)
    cell = (sample * bins + step * bins // np.maximum(whole, 1)) * N + events.index.cpu().numpy()
    value = None if events.value is None else events.value.cpu().numpy()
    return np.bincount(cell, value, B * bins * N).astype(np.float32).reshape(B, bins * N)


def check_parts(bins: int, parts: str) -> None:
    """Raise unless there are such parts of time.

    Raises:
        ValueError: naming the argument.
    """
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise ValueError(f"bins: expected a whole number of at least 1, got {bins!r}")
    if parts not in PARTS:
        raise ValueError(f"parts: expected one of {', '.join(PARTS)}, got {parts!r}")
