"""Learning curves and confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spiking.plots.style import BLUE, GREEN, GREY, ORANGE, figure, quiet

Array = np.ndarray[Any, Any]


def learning_curve(rows: Sequence[Mapping[str, float]], levels: Mapping[str, float] | None = None) -> Figure:
    """Loss and accuracy against epochs.

    Arguments:
        rows: one mapping an epoch, with "epoch", "loss", "train_accuracy" and, where there are, "valid_loss" and
            "valid_accuracy"; several runs may follow one another, each beginning with a smaller epoch.
        levels: accuracies (0 to 1) to draw as labelled horizontal lines, such as the controls'.
    """
    chart = figure(10 if levels else 8, 3.4)
    left, right = (quiet(axes) for axes in chart.subplots(1, 2))
    left.set(xlabel="epoch", ylabel="loss")
    right.set(xlabel="epoch", ylabel="accuracy (%)")
    runs = _runs(rows)
    for axes, kind, factor in ((left, "loss", 1), (right, "accuracy", 100)):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for name, colour in (("training", BLUE), ("validation", ORANGE)):
            key = {"training": "train_accuracy", "validation": "valid_accuracy"}[name]
            if kind == "loss":
                key = "loss" if name == "training" else "valid_loss"
            for k, run in enumerate(runs):
                points = [(row["epoch"], factor * row[key]) for row in run if key in row]
                if points:
                    dot = "o" if len(points) < 30 else ""
                    label = name if k == 0 else None
                    axes.plot(*zip(*points, strict=True), color=colour, label=label, marker=dot, markersize=3)
        if kind == "loss" and runs:
            axes.set_ylim(bottom=0)
    colours = (GREEN, GREY, "#9970ab")
    for k, (name, level) in enumerate((levels or {}).items()):
        right.axhline(100 * level, color=colours[k % len(colours)], linestyle="--", linewidth=1.2, label=name)
    if runs:
        left.legend(frameon=False)
        # levels may lie anywhere, also where there is room between the curves
        beside = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
        right.legend(frameon=False, **(beside if levels else {"loc": "lower right"}))
    return chart


def bits_curve(rows: Sequence[Mapping[str, float]], every: int) -> Figure:
    """Bits per byte of a language model against training steps.

    Arguments:
        rows: one mapping an epoch of `every` steps, with "epoch", "loss" and "valid_loss" in bits per byte.
        every: steps of an epoch.
    """
    chart = figure(5, 3.4)
    axes = quiet(chart.subplots())
    axes.set(xlabel="training step", ylabel="bits per byte")
    for key, name, colour in (("loss", "training", BLUE), ("valid_loss", "held out to choose the step", ORANGE)):
        points = [(every * row["epoch"], row[key]) for row in rows if key in row]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, label=name, marker="o", markersize=3)
    if rows:
        axes.legend(frameon=False)
    return chart


def _runs(rows: Sequence[Mapping[str, float]]) -> list[list[Mapping[str, float]]]:
    runs: list[list[Mapping[str, float]]] = []
    for row in rows:
        if not runs or row["epoch"] <= runs[-1][-1]["epoch"]:
            runs.append([])
        runs[-1].append(row)
    return runs


def confusion(labels: Any, predictions: Any, classes: Sequence[str]) -> Figure:
    """How often each class was taken for which.

    Arguments:
        labels, predictions: (n,) whole numbers, positions in `classes`.
        classes: their names.

    Raises:
        ValueError: if labels and predictions differ in length or name no class.
    """
    truth, guess, n = np.asarray(labels), np.asarray(predictions), len(classes)
    if truth.shape != guess.shape or truth.ndim != 1:
        raise ValueError(f"predictions: expected {truth.shape}, one per label, got {guess.shape}")
    for name, values in (("labels", truth), ("predictions", guess)):
        if values.size and not (0 <= values.min() and values.max() < n):
            raise ValueError(f"{name}: expected 0 to {n - 1}, got {values.min()} to {values.max()}")
    table = np.zeros((n, n), dtype=int)
    np.add.at(table, (truth, guess), 1)
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    side = min(4 + 0.18 * n, 12)
    chart = figure(side + 0.8, side)
    axes = chart.subplots()
    picture = axes.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
    axes.set(xlabel="taken for", ylabel="class")
    if n <= 40:
        axes.set_xticks(range(n), classes, rotation=90 if max(map(len, classes)) > 3 else 0)
        axes.set_yticks(range(n), classes)
    if n <= 20:
        for i, j in zip(*table.nonzero(), strict=True):
            dark = share[i, j] > 0.5
            axes.text(j, i, table[i, j], ha="center", va="center", fontsize=8, color="white" if dark else "black")
    chart.colorbar(picture, ax=axes, label="share of the class (%)", shrink=0.8)
    right = float((truth == guess).mean()) if truth.size else 0.0
    axes.set_title(f"{100 * right:.1f} % of {truth.size} right", fontsize=10)
    return chart
