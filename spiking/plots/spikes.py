"""Firing rates of layers, and a camera recording as an image."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from spiking.events import Events
from spiking.plots.style import BLUE, ORANGE, figure, quiet


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
    T, B, _ = events.shape
    if B != 1 or events.sensor is None:
        raise ValueError(f"events: expected one recording (T, 1, N) of a sensor, got {events!r}")
    width, height, polarities = events.sensor
    edges = np.linspace(0, T, parts + 1).round().astype(int)
    frames = []
    for start, stop in itertools.pairwise(edges):
        count = events[int(start) : int(stop)].counts()[0].cpu().numpy().reshape(polarities, height, width)
        frames.append(count[-1] - count[0] if polarities > 1 else count[0])
    high = max(1.0, max(float(np.percentile(np.abs(frame), 99.5)) for frame in frames))
    chart = figure(2.4 * parts, 2.9)
    for axes, frame, start, stop in zip(
        chart.subplots(1, parts, squeeze=False)[0], frames, edges[:-1], edges[1:], strict=True
    ):
        axes.imshow(frame, cmap="RdBu_r", vmin=-high, vmax=high, interpolation="nearest")
        axes.set_title(f"{start * events.dt:g} to {stop * events.dt:g} ms", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    if title:
        chart.suptitle(title, fontsize=10)
    return chart
