"""Real and simulated recordings of a camera side by side, with what `spiking.datasets.fidelity` measures of them."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from spiking.datasets import EventStore
from spiking.datasets.fidelity import image, intervals, rate
from spiking.plots.style import BLUE, INK, ORANGE, RED, figure, quiet

BINS, THIRDS = 60, ("first", "second", "last")


def fidelity(real: EventStore, simulated: EventStore, show: int = 0) -> Figure:
    """Rates over time, intervals, events of a recording, places, and one recording of each store.

    Arguments:
        real, simulated: of the same camera, with recordings of the same scenes in the same order.
        show: the recording that is drawn.
    """
    assert real.sensor is not None
    width, height, _ = real.sensor
    horizon = int(max(real.duration.max(), simulated.duration.max()))
    stores = (("real", real, "-", INK), ("simulated", simulated, "--", ORANGE))
    chart = figure(10, 7.4)
    grid = chart.add_gridspec(3, 12, height_ratios=[1.2, 1, 1])
    over_time, waits, sizes = (quiet(chart.add_subplot(grid[0, 4 * k : 4 * k + 4])) for k in range(3))
    windows = -(-horizon // 10_000)
    for name, store, line, colour in stores:
        for polarity, shade in enumerate((BLUE, RED)):
            curve = rate(store, windows)[polarity]
            over_time.plot(10 * np.arange(windows) + 5, curve, line, color=shade, label=f"{name}, polarity {polarity}")
        wait = np.maximum(intervals(store)[0] / 1000, 0.1)
        waits.hist(wait, np.geomspace(0.1, 500, BINS).tolist(), density=True, histtype="step", color=colour, label=name)
        sizes.hist(np.diff(store.arrays()[2]), BINS // 2, density=True, histtype="step", color=colour, label=name)
    over_time.set(xlabel="time (ms)", ylabel="events per ms")
    waits.set(xlabel="interval of a pixel (ms)", ylabel="density", xscale="log", yscale="log")
    sizes.set(xlabel="events of a recording", yticks=[])
    for axes in (over_time, waits, sizes):
        axes.legend(fontsize=6, frameon=False)
    places = [image(store).reshape(2, height, width).sum(0) for _, store, _, _ in stores]
    for row, (name, store, _, _) in enumerate(stores):
        frames = store.select([show]).counts(3, horizon / 1000).reshape(3, 2, height, width)
        for k, frame in enumerate(frames):
            axes = chart.add_subplot(grid[row + 1, 3 * k : 3 * k + 3])
            axes.imshow(frame[1] - frame[0], cmap="RdBu_r", vmin=-8, vmax=8, interpolation="nearest")
            axes.set_title(f"{name}, {THIRDS[k]} third", fontsize=8)
            axes.set_axis_off()
        axes = chart.add_subplot(grid[row + 1, 9:12])
        axes.imshow(places[row], cmap="viridis", vmin=0, vmax=max(place.max() for place in places))
        axes.set_title(f"{name}, mean of {len(store)}", fontsize=8)
        axes.set_axis_off()
    return chart
