"""Forgetting in pictures: accuracy of each task against tasks learned, accuracy matrices, ranks of subspaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spiking.plots.style import GREY, INK, figure, quiet

Array = np.ndarray[Any, Any]
ACROSS, PALETTE = 4, "viridis"


def forgetting(runs: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> Figure:
    """Accuracy of each task against the number of tasks learned, a panel a method, a band from least to greatest seed.

    Arguments:
        runs: by method, (seeds, T, T) accuracies R, rows are time.
        before: by method, (seeds, T) accuracies before any training.

    Lines are dotted until their task is learned; the black line is the mean of the tasks learned so far.
    """
    matrices = {name: _stack(name, runs[name]) for name in runs}
    chart, panels = _panels(len(matrices), 3.0, 2.7)
    least = min((float(np.nanmin(R)) for R in matrices.values()), default=0.0)
    T = 1
    for axes, (name, R) in zip(panels, matrices.items(), strict=False):
        T = R.shape[1]
        start = np.full_like(R[:, :1], np.nan)
        if before and name in before:
            start = np.asarray(before[name], float)[:, None]
        curve = 100 * np.concatenate([start, R], 1)
        least = min(least, float(np.nanmin(curve)) / 100)
        time = np.arange(T + 1)
        for j, colour in enumerate(_colours(T)):
            mean, low, high = curve[:, :, j].mean(0), curve[:, :, j].min(0), curve[:, :, j].max(0)
            known = time > j
            axes.plot(time[: j + 2], mean[: j + 2], color=colour, linestyle=":", linewidth=0.8, alpha=0.7)
            axes.plot(time[known], mean[known], color=colour, linewidth=1.4, marker="o", markersize=2.5)
            if len(R) > 1:
                axes.fill_between(time[known], low[known], high[known], color=colour, alpha=0.2, linewidth=0)
        learned = [100 * R[:, i, : i + 1].mean() for i in range(T)]
        axes.plot(time[1:], learned, color=INK, linewidth=1.8, zorder=5)
        axes.set_title(f"{name}: {learned[-1]:.1f} % at the end", fontsize=9)
        axes.set(xlabel="tasks learned", xlim=(0 if before else 0.8, T + 0.2))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in panels:
        axes.set(ylim=(100 * least - 3, 102), ylabel="accuracy (%)" if axes.get_subplotspec().is_first_col() else "")
    if T > 1:
        bar = ScalarMappable(Normalize(1, T), PALETTE)
        chart.colorbar(
            bar, ax=panels, label="task (black: mean)", shrink=0.8, aspect=30,
            ticks=MaxNLocator(integer=True),
        )
    return chart


def stability_gap(runs: Mapping[str, Any]) -> Figure:
    """Accuracy of each task begun, measured inside tasks: the stability gap, a dip when the next task begins.

    Arguments:
        runs: by method, (seeds, n, 2 + T): the task that is learned, the step, and the accuracy on each task, NaN for
            those not begun. Bands go from the least to the greatest seed, lines part the tasks.
    """
    chart, panels = _panels(len(runs), 4.2, 2.7)
    T = 1
    least = 100 * min(np.nanmin(np.asarray(table, float)[:, :, 2:]) for table in runs.values())
    for axes, (name, table) in zip(panels, runs.items(), strict=False):
        rows = np.asarray(table, float)
        T, learned, time = rows.shape[2] - 2, rows[0, :, 0], np.arange(1, rows.shape[1] + 1)
        for j, colour in enumerate(_colours(T)):
            begun, curve = learned >= j, 100 * rows[:, :, 2 + j]
            axes.plot(time[begun], curve[:, begun].mean(0), color=colour, linewidth=1.2)
            if len(rows) > 1:
                low, high = curve[:, begun].min(0), curve[:, begun].max(0)
                axes.fill_between(time[begun], low, high, color=colour, alpha=0.2, linewidth=0)
        for end in np.flatnonzero(np.diff(learned)):
            axes.axvline(time[end] + 0.5, color=GREY, linewidth=0.6, linestyle=":", zorder=0)
        axes.set_title(name, fontsize=9)
        axes.set(xlabel="measurement inside tasks", ylim=(least - 0.05 * (100 - least), 100))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel("accuracy (%)" if axes.get_subplotspec().is_first_col() else "")
    if T > 1:
        bar = ScalarMappable(Normalize(1, T), PALETTE)
        chart.colorbar(bar, ax=panels, label="task", shrink=0.8, aspect=30, ticks=MaxNLocator(integer=True))
    return chart


def accuracy_matrix(runs: Mapping[str, Any]) -> Figure:
    """R of each method, the mean over seeds: row i is the accuracy on every task after task i.

    Arguments:
        runs: by method, (seeds, T, T).
    """
    chart, panels = _panels(len(runs), 3.1, 2.9)
    picture = None
    for axes, name in zip(panels, runs, strict=False):
        R = 100 * _stack(name, runs[name]).mean(0)
        T = len(R)
        picture = axes.imshow(R, cmap=PALETTE, vmin=0, vmax=100)
        ticks = range(0, T, 1 if T <= 10 else 5)
        axes.set_xticks(ticks, [str(t + 1) for t in ticks])
        axes.set_yticks(ticks, [str(t + 1) for t in ticks])
        axes.set(xlabel="accuracy on task", ylabel="after task")
        axes.set_title(name, fontsize=9)
        if T <= 10:
            for i in range(T):
                for j in range(T):
                    colour = "white" if R[i, j] < 60 else INK
                    axes.text(j, i, f"{R[i, j]:.0f}", ha="center", va="center", fontsize=6, color=colour)
        axes.plot(*_stairs(T), color="white", linewidth=1.5)
    if picture is not None:
        chart.colorbar(picture, ax=panels, label="accuracy (%)", shrink=0.8, aspect=30)
    return chart


def subspaces(rank: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Rows of each layer's subspace against tasks learned, and the share of the layer's inputs' energy they capture.

    Arguments:
        rank: by method and layer, (seeds, T, 3): rows used, inputs of the layer, share of the energy (or NaN).
    """
    chart = figure(max(3.3 * len(rank), 4), 5.2)
    panels = chart.subplots(2, max(len(rank), 1), squeeze=False, sharex="col", sharey="row")
    for column, (name, layers) in zip(panels.T, rank.items(), strict=False):
        for layer, colour in zip(layers, _colours(len(layers)), strict=True):
            table = np.asarray(layers[layer], float)
            mean, low, high = table.mean(0), table.min(0), table.max(0)
            time = np.arange(1, len(mean) + 1)
            size = mean[-1, 1]
            for axes, values in zip(
                column, ([100 * v[:, 0] / size for v in (mean, low, high)], [100 * v[:, 2] for v in (mean, low, high)]),
                strict=True,
            ):
                if np.isfinite(values[0]).any():
                    label = f"{layer}: {mean[-1, 0]:.0f} of {size:.0f}"
                    axes.plot(time, values[0], color=colour, marker="o", markersize=3, label=label)
                    axes.fill_between(time, values[1], values[2], color=colour, alpha=0.2, linewidth=0)
        column[0].set_title(name, fontsize=9)
        column[0].legend(frameon=False, fontsize=7, loc="upper left")
        column[1].set_xlabel("tasks learned")
        column[1].xaxis.set_major_locator(MaxNLocator(integer=True))
        if not column[1].lines:
            column[1].text(0.5, 0.5, "not measured", ha="center", transform=column[1].transAxes, fontsize=8)
        for axes in column:
            quiet(axes).set_ylim(0, 105)
    panels[0, 0].set_ylabel("rows used (% of the inputs)")
    panels[1, 0].set_ylabel("energy captured (%)")
    return chart


def _stack(name: str, runs: Any) -> Array:
    R = np.asarray(runs, float)
    if R.ndim != 3 or R.shape[1] != R.shape[2]:
        raise ValueError(f"runs: expected (seeds, T, T) for {name}, got {R.shape}")
    return R


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    down = -(-max(count, 1) // ACROSS)
    across = -(-max(count, 1) // down)
    chart = figure(width * across + 1, height * down)
    cells = list(chart.subplots(down, across, squeeze=False).flat)
    for spare in cells[max(count, 1) :]:
        spare.remove()
    return chart, [quiet(axes) for axes in cells[: max(count, 1)]]


def _colours(count: int) -> Array:
    return np.asarray(colormaps[PALETTE](np.linspace(0, 0.92, max(count, 1))))[:count]


def _stairs(T: int) -> tuple[list[float], list[float]]:
    """The line under the diagonal's upper side, which parts tasks learned from those to come."""
    x, y = [], []
    for i in range(T):
        x += [i + 0.5, i + 0.5]
        y += [i - 0.5, i + 0.5]
    return x, y
