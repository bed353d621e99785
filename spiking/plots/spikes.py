"""Firing rates of layers, and a camera recording as an image."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from spiking.events import Events
from spiking.plots.style import BLUE, ORANGE, figure, quiet

Array = np.ndarray[Any, Any]


def rates(layers: Sequence[Any]) -> Figure:
    """How many neurons of each layer fire at which rate.

    Arguments:
        layers: of each layer, (N,) mean rates in Hz.
    """
    chart = figure(max(2.8 * len(layers), 4), 2.8)
    panels = chart.subplots(1, max(len(layers), 1), squeeze=False)[0]
    for k, (axes, layer) in enumerate(zip(panels, layers, strict=False)):
        hz = np.asarray(layer)
        quiet(axes).hist(hz, bins=30, range=(0, max(float(hz.max(initial=0)), 1.0)), color=BLUE)
        mean, silent = float(hz.mean()) if hz.size else 0.0, int((hz < 0.01).sum())
        axes.axvline(mean, color=ORANGE, linewidth=1.5)
        axes.set_title(f"layer {k + 1}: mean {mean:.1f} Hz, {silent} of {hz.size} silent", fontsize=8)
        axes.set_xlabel("rate (Hz)")
        if k == 0:
            axes.set_ylabel("neurons")
    return chart


def event_image(events: Events, parts: int = 3, title: str = "") -> Figure:
    """A camera recording: events summed over equal parts of time, polarity 1 red, polarity 0 blue.

    Arguments:
        events: (T, 1, N) with a sensor.
        parts: images side by side.
        title: above them.

    Raises:
        ValueError: if there is more than one recording or no sensor.
    """
    chart = figure(2.4 * parts, 2.9)
    draw_events(chart.subplots(1, parts, squeeze=False)[0], events)
    if title:
        chart.suptitle(title, fontsize=10)
    return chart


def draw_events(panels: Sequence[Any], events: Events) -> None:
    """Events summed over equal parts of time, one to a panel; arguments otherwise as in `event_image`."""
    edges = np.linspace(0, events.shape[0], len(panels) + 1).round().astype(int)
    frames = signed_frames(events, edges)
    high = max(1.0, max(float(np.percentile(np.abs(frame), 99.5)) for frame in frames))
    ends = edges * events.dt
    digits = 0 if ends[-1] >= 30 else 2
    for axes, frame, start, stop in zip(panels, frames, ends[:-1], ends[1:], strict=True):
        axes.imshow(frame, cmap="RdBu_r", vmin=-high, vmax=high, interpolation="nearest")
        axes.set_title(f"{start:.{digits}f} to {stop:.{digits}f} ms", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])


def signed_frames(events: Events, edges: Sequence[int] | Array) -> Array:
    """(parts, H, W) events of polarity 1 less those of polarity 0, in steps edges[k] to edges[k + 1].

    Raises:
        ValueError: if there is more than one recording or no sensor.
    """
    if events.shape[1] != 1 or events.sensor is None:
        raise ValueError(f"events: expected one recording (T, 1, N) of a sensor, got {events!r}")
    width, height, polarities = events.sensor
    frames = []
    for start, stop in itertools.pairwise(int(edge) for edge in edges):
        count = events[start:stop].counts()[0].cpu().numpy().reshape(polarities, height, width)
        frames.append(count[-1] - count[0] if polarities > 1 else count[0])
    return np.stack(frames)
