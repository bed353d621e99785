"""A data set at a glance: one of its recordings, and how many events and recordings there are."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spiking.datasets import EventStore
from spiking.plots.raster import draw_spikes
from spiking.plots.spikes import draw_events
from spiking.plots.style import BLUE, GREY, INK, ORANGE, RED, figure, quiet

STEPS, PARTS, SHORT = 300, 4, 14
BESIDE: dict[str, Any] = {  # the title
    "fontsize": 7, "frameon": False, "loc": "lower right", "bbox_to_anchor": (1.02, 0.98), "columnspacing": 1,
}  # fmt: skip


def overview(store: EventStore, show: int = 0, title: str = "") -> Figure:
    """One recording, its events over time, the events of all recordings, and the recordings of each class.

    Arguments:
        store: the data set; a camera's recording is drawn as images, any other as a raster.
        show: position of the recording that is drawn.
        title: above the picture; the recording's name and class follow it.
    """
    one = store.select([show])
    events, _ = one.batch([0], dt=max(float(one.duration[0]) / 1000 / STEPS, 0.001))
    chart = figure(9.6, 5.6)
    top, bottom = chart.subfigures(2, 1, squeeze=False, height_ratios=[1.15, 1])[:, 0]
    if events.sensor is None:
        axes = quiet(top.subplots())
        draw_spikes(axes, events.to_dense()[:, 0].numpy(), events.dt, "channel")
        axes.set_xlabel("time (ms)")
    else:
        draw_events(top.subplots(1, PARTS), events)
    name = f"{store.name(show)}, class {store.classes[int(store.labels[show])]}"
    top.suptitle(f"{title}: {name}" if title else name, fontsize=10)
    over_time, sizes, classes = (quiet(axes) for axes in bottom.subplots(1, 3, width_ratios=[1.3, 1, 1.3]))
    _over_time(over_time, one)
    _sizes(sizes, store, show)
    _classes(classes, store)
    return chart


def _over_time(axes: Any, one: EventStore) -> None:
    """Events per ms of one recording, of each polarity where there are two."""
    bins = 60
    counts = one.counts(bins, float(one.duration[0]) / 1000).reshape(bins, -1)
    width = float(one.duration[0]) / 1000 / bins
    edges = np.arange(bins + 1) * width
    two = one.sensor is not None and one.sensor[2] == 2
    kinds = [("polarity 0", BLUE), ("polarity 1", RED)] if two else [("", INK)]
    for (name, colour), part in zip(kinds, np.split(counts, len(kinds), axis=1), strict=True):
        axes.stairs(part.sum(1) / width, edges, color=colour, label=name)
    if two:
        axes.legend(**BESIDE, ncols=2)
    axes.set(xlabel="time (ms)", ylabel="events per ms", xlim=(0, edges[-1]), ylim=(0, None))
    axes.set_title("this recording", fontsize=9, loc="left")


def _sizes(axes: Any, store: EventStore, show: int) -> None:
    events = np.diff(store.arrays()[2])
    axes.hist(events, bins=30, color=GREY)
    axes.axvline(events[show], color=ORANGE, linewidth=1.5, label="this one")
    axes.set(xlabel="events", ylabel="recordings")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.legend(**BESIDE)
    axes.set_title("all recordings", fontsize=9, loc="left")


def _classes(axes: Any, store: EventStore) -> None:
    """How many recordings each class has, its splits on top of one another."""
    labels, before = store.labels.numpy(), np.zeros(len(store.classes))
    split = store.metadata.get("split", np.full(len(store), ""))
    found = [name for name in ("train", "valid", "test") if (split == name).any()] or [""]
    for name, colour in zip(found, (BLUE, ORANGE, GREY), strict=False):
        height = np.bincount(labels[split == name], minlength=len(store.classes))
        axes.bar(np.arange(len(height)), height, 0.8, before, color=colour, label=name)
        before += height
    names = [name if len(name) <= SHORT else f"{name[: SHORT - 1]}…" for name in store.classes]
    longest = max(map(len, names))
    if len(names) * longest <= 40:
        axes.set_xticks(range(len(names)), names)
    elif len(names) <= 40:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7 if len(names) <= 20 else 5)
    else:
        axes.set_xlabel("class")
    if len(found) > 1:
        axes.legend(**BESIDE, ncols=len(found))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_ylabel("recordings")
    axes.set_title("classes", fontsize=9, loc="left")
