"""One recording as an animated GIF, slowed down so that the eye can follow."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from matplotlib.animation import PillowWriter

from spiking.events import Events
from spiking.plots.raster import draw_spikes
from spiking.plots.spikes import signed_frames
from spiking.plots.style import ORANGE, figure, quiet

DPI, TRAIL = 90, 3


def movie(events: Events, path: str | os.PathLike[str], title: str = "", frames: int = 60, fps: int = 15) -> Path:
    """Write a recording as an animated GIF.

    A camera's events appear where they were, polarity 1 red and polarity 0 blue, and fade over three frames; the raster
    of any other recording is drawn from left to right.

    Arguments:
        events: (T, 1, N), one recording.
        path: the file.
        title: above the picture.
        frames: how many there are, at most T.
        fps: frames a second.

    Returns:
        the file's path.

    Raises:
        ValueError: if there is more than one recording or no step.
        OSError: if the file can't be written.
    """
    T, B, _ = events.shape
    if B != 1 or not T:
        raise ValueError(f"events: expected one recording (T, 1, N) of at least one step, got {events.shape}")
    edges = np.linspace(0, T, min(frames, T) + 1).round().astype(int)
    writer, path = PillowWriter(fps=fps), Path(path)
    if events.sensor is None:
        chart = figure(6.4, 3.2)
        axes = quiet(chart.subplots())
        image = draw_spikes(axes, events.to_dense()[:, 0].numpy(), events.dt, "channel")
        whole = np.asarray(image.get_array())
        now = axes.axvline(0, color=ORANGE, linewidth=1)
        axes.set(xlabel="time (ms)", title=title)
        with writer.saving(chart, str(path), DPI):
            for edge in edges[1:]:
                image.set_data(np.where(np.arange(T) < edge, whole, 0))
                now.set_xdata([edge * events.dt] * 2)
                writer.grab_frame()
        return path
    width, height, _ = events.sensor
    shown = signed_frames(events, edges)
    high = max(1.0, float(np.percentile(np.abs(shown[shown != 0]), 90)) if shown.any() else 1.0)
    chart = figure(4.2, 4.2 * height / width + 0.4)
    axes = chart.subplots()
    axes.set(xticks=[], yticks=[])
    image = axes.imshow(shown[0], cmap="RdBu_r", vmin=-high, vmax=high, interpolation="nearest")
    fading = np.zeros((height, width))
    with writer.saving(chart, str(path), DPI):
        for frame, edge in zip(shown, edges[1:], strict=True):
            fading = fading * (1 - 1 / TRAIL) + frame
            image.set_data(fading)
            axes.set_title(f"{title}  {edge * events.dt:.0f} ms".strip(), fontsize=9)
            writer.grab_frame()
    return path
