"""Liquids in pictures: connections, ranks, separation, spreading activity, memory, and accuracy against gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spiking.plots.style import BLUE, GREEN, GREY, INK, ORANGE, RED, figure, quiet

Array = np.ndarray[Any, Any]


def degrees(indptr: Any, index: Any, weight: Any, inhibitory: Any) -> Figure:
    """How many synapses neurons make and get, and how strong these are.

    Arguments:
        indptr, index, weight: (N + 1,), (nnz,), (nnz,) recurrent synapses as compressed sparse rows.
        inhibitory: (N,) bool.
    """
    out, into = np.diff(np.asarray(indptr)), np.bincount(np.asarray(index), minlength=len(indptr) - 1)
    source = np.repeat(np.asarray(inhibitory, bool), out)
    chart = figure(10, 2.9)
    panels = chart.subplots(1, 3)
    mask = np.asarray(inhibitory, bool)
    for axes, count, name in zip(panels, (out, into), ("targets of a neuron", "sources of a neuron"), strict=False):
        most = int(count.max(initial=0))
        edges = np.linspace(-0.5, most + 0.5, min(most + 2, 41))
        axes.hist([count[~mask], count[mask]], bins=edges, stacked=True, color=[BLUE, RED], label=["E", "I"])
        axes.set(xlabel=name, ylabel="neurons")
        axes.set_title(f"mean {count.mean():.1f}", fontsize=9)
        axes.legend(frameon=False, fontsize=8)
    values = np.asarray(weight)
    panels[2].hist([values[~source], values[source]], bins=50, stacked=True, color=[BLUE, RED])
    panels[2].set(xlabel="strength", ylabel="synapses")
    panels[2].set_title(f"{len(values)} recurrent synapses", fontsize=9)
    for axes in panels:
        quiet(axes)
    return chart


def ranks(values: Mapping[str, Any], effective: Mapping[str, float]) -> Figure:
    """Singular values of sets of states, such as those of different inputs and of variants of one.

    Arguments:
        values: by name, (N,) singular values, falling.
        effective: by name, the effective rank.
    """
    chart = figure(5, 3.2)
    axes = quiet(chart.subplots())
    for (name, each), colour in zip(values.items(), (BLUE, ORANGE, GREEN, RED, GREY) * len(values), strict=False):
        sigma = np.asarray(each, float)
        share = sigma / max(float(sigma.sum()), 1e-300)
        axes.plot(np.arange(1, len(sigma) + 1), share, color=colour, label=f"{name}: {effective[name]:.1f}")
        axes.axvline(effective[name], color=colour, linewidth=0.8, linestyle=":")
    axes.set(xlabel="number", ylabel="share of the singular values", yscale="log")
    axes.legend(frameon=False, fontsize=8, title="effective rank", title_fontsize=8)
    return chart


def separation(states: Any, labels: Any, classes: Sequence[str] = ()) -> Figure:
    """Distances between the classes' centres, and on the diagonal of states from their own.

    Arguments:
        states: (m, N).
        labels: (m,) whole numbers.
        classes: names.
    """
    X, y = np.asarray(states), np.asarray(labels)
    names = np.unique(y)
    centre = np.stack([X[y == k].mean(0, np.float64) for k in names])
    table = np.linalg.norm(centre[:, None] - centre[None], axis=2)
    for i, k in enumerate(names):
        table[i, i] = np.linalg.norm(X[y == k] - centre[i], axis=1).mean()
    chart = figure(4.6, 3.9)
    axes = chart.subplots()
    picture = axes.imshow(table, cmap="viridis")
    ticks = [classes[k] if k < len(classes) else str(k) for k in names]
    axes.set_xticks(range(len(names)), ticks)
    axes.set_yticks(range(len(names)), ticks)
    axes.set_title("distance of centres; diagonal: of states from their own", fontsize=8)
    chart.colorbar(picture, ax=axes, label="spikes", shrink=0.85)
    return chart


def branching(neurons: Any) -> Figure:
    """The branching factor of every neuron.

    Arguments:
        neurons: (N,), NaN where a neuron never spikes.
    """
    values = np.asarray(neurons, float)
    known = values[np.isfinite(values)]
    chart = figure(4.4, 2.9)
    axes = quiet(chart.subplots())
    axes.hist(known, bins=40, color=BLUE)
    axes.axvline(1.0, color=GREY, linewidth=1, linestyle=":")
    mean = float(known.mean()) if len(known) else float("nan")
    axes.axvline(mean, color=ORANGE, linewidth=1.5)
    axes.set(xlabel="branching factor", ylabel="neurons")
    axes.set_title(f"mean {mean:.2f}; {len(values) - len(known)} of {len(values)} silent", fontsize=9)
    return chart


def divergence(curves: Mapping[str, Any], dt: float) -> Figure:
    """Distance of two runs that differ by one spike, in time.

    Arguments:
        curves: by name, (T,) mean distance after the difference.
        dt: step, ms.
    """
    chart = figure(5, 3)
    axes = quiet(chart.subplots())
    for (name, curve), colour in zip(curves.items(), (BLUE, ORANGE, GREEN, RED, INK) * len(curves), strict=False):
        far = np.asarray(curve, float)
        axes.plot(np.arange(len(far)) * dt, np.where(far > 0, far, np.nan), color=colour, label=name)
    axes.set(xlabel="time after the difference (ms)", ylabel="distance of states", yscale="log")
    axes.legend(frameon=False, fontsize=8)
    return chart


def memory(curve: Any, dt: float) -> Figure:
    """How much of a signal the states still hold after each delay.

    Arguments:
        curve: (delays,) r^2.
        dt: of a delay, ms.
    """
    r2 = np.asarray(curve, float)
    chart = figure(5, 2.9)
    axes = quiet(chart.subplots())
    axes.fill_between(np.arange(len(r2)) * dt, r2, color=BLUE, alpha=0.3, linewidth=0)
    axes.plot(np.arange(len(r2)) * dt, r2, color=BLUE)
    axes.set(xlabel="delay (ms)", ylabel="$r^2$", ylim=(0, 1.02))
    axes.set_title(f"memory capacity {r2.sum():.1f} steps", fontsize=9)
    return chart


def gain_sweep(rows: Sequence[Mapping[str, float]], chosen: float | None = None, chance: float | None = None) -> Figure:
    """Accuracy, branching factor, KQ - GR and rate against gain.

    Arguments:
        rows: of each gain `gain`, `accuracy` (0 to 1), `branching`, `kernel_quality`, `generalisation_rank`, `rate_hz`.
        chosen: the calibrated gain, drawn as a line.
        chance: accuracy without knowledge.
    """
    table = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
    chart = figure(6, 7.6)
    panels = chart.subplots(4, 1, sharex=True)
    gain = table["gain"]
    panels[0].plot(gain, 100 * table["accuracy"], color=INK, marker="o", markersize=3)
    panels[0].set_ylabel("accuracy (%)")
    if chance is not None:
        panels[0].axhline(100 * chance, color=GREY, linewidth=0.8, linestyle=":")
    panels[1].plot(gain, table["branching"], color=BLUE, marker="o", markersize=3)
    panels[1].axhline(1.0, color=GREY, linewidth=0.8, linestyle=":")
    panels[1].set_ylabel("branching factor")
    for name, colour in (("kernel_quality", GREEN), ("generalisation_rank", RED)):
        panels[2].plot(gain, table[name], color=colour, linewidth=1, label=name.replace("_", " "))
    difference = table["kernel_quality"] - table["generalisation_rank"]
    panels[2].plot(gain, difference, color=INK, marker="o", markersize=3, label="KQ - GR")
    panels[2].legend(frameon=False, fontsize=8)
    panels[2].set_ylabel("effective rank")
    panels[3].plot(gain, table["rate_hz"], color=ORANGE, marker="o", markersize=3)
    panels[3].set(ylabel="rate (Hz)", xlabel="gain", ylim=(0, None))
    for axes in panels:
        quiet(axes).yaxis.set_major_locator(MaxNLocator(5))
        if chosen is not None:
            axes.axvline(chosen, color=RED, linewidth=0.8, linestyle="--")
    return chart


def unseen_pairs(accuracy: Mapping[str, Any]) -> Figure:
    """How well heads find classes that they have not seen, a histogram over the pairs of classes left out.

    Arguments:
        accuracy: by kind of features, (pairs, seeds), 0 to 1; chance is a half.
    """
    chart = figure(5.4, 1.9 * max(len(accuracy), 1) + 0.4)
    panels = chart.subplots(max(len(accuracy), 1), 1, sharex=True, squeeze=False)[:, 0]
    colours = (BLUE, ORANGE, GREEN) * len(accuracy)
    for axes, (name, each), colour in zip(panels, accuracy.items(), colours, strict=False):
        values = 100 * np.asarray(each, float).ravel()
        quiet(axes).hist(values, bins=20, range=(0, 100), color=colour)
        axes.axvline(50, color=GREY, linewidth=1, linestyle=":")
        axes.axvline(values.mean(), color=INK, linewidth=1.5)
        axes.set_title(f"{name}: mean {values.mean():.1f} %, sd {values.std():.1f}", fontsize=9)
        axes.set_ylabel("runs")
    panels[-1].set_xlabel("sounds of two unseen classes that find an image of their own (%)")
    return chart
