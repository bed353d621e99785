"""Pictures of tasks: a neuron's voltage told from its input, spikes told from silence, sums, time constants, losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from spiking.plots.style import BLUE, GREY, ORANGE, RED, figure, quiet

Array = np.ndarray[Any, Any]


def membrane(true: Any, said: Any, fired: Any, chance: Any, dt: float = 1.0) -> Figure:
    """A voltage and its prediction, with the spikes and their predicted probability below.

    Arguments:
        true, said: (T,) mV.
        fired: (T,) 1 where the neuron fires.
        chance: (T,) probability of a spike.
        dt: step in ms.

    Raises:
        ValueError: if they differ in length.
    """
    rows = {"true": true, "said": said, "fired": fired, "chance": chance}
    given = {name: np.asarray(row) for name, row in rows.items()}
    T = len(given["true"])
    for name, row in given.items():
        if row.shape != (T,):
            raise ValueError(f"{name}: expected ({T},) as true, got {row.shape}")
    chart = figure(8, 4)
    upper, lower = (quiet(axes) for axes in chart.subplots(2, 1, sharex=True, height_ratios=(2, 1)))
    time = np.arange(T) * dt
    upper.plot(time, given["true"], color=GREY, linewidth=1.6, label="simulated")
    upper.plot(time, given["said"], color=BLUE, linewidth=1.0, label="predicted")
    upper.set_ylabel("soma (mV)")
    upper.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    spikes = time[given["fired"] > 0]
    lower.vlines(spikes, 0, 1, color=GREY, linewidth=1.6, label=f"{len(spikes)} spikes")
    lower.plot(time, given["chance"], color=RED, linewidth=1.0, label="predicted probability")
    lower.set(xlabel="time (ms)", ylabel="spike", ylim=(0, 1.05))
    lower.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return chart


def detection(fired: Any, chance: Any) -> Figure:
    """How well spikes are told from silence: the ROC curve, and precision against recall.

    Arguments:
        fired: 1 where the neuron fires, any shape.
        chance: probability of a spike, the same shape.

    Raises:
        ValueError: if the shapes differ, or all steps are alike.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    truth, score = np.asarray(fired).ravel(), np.asarray(chance).ravel()
    if truth.shape != score.shape or not 0 < truth.sum() < len(truth):
        raise ValueError(f"fired: expected spikes and silence {score.shape}, got {truth.shape}, {truth.sum()} spikes")
    chart = figure(8, 3.6)
    left, right = (quiet(axes) for axes in chart.subplots(1, 2))
    false, hit, _ = roc_curve(truth, score)
    left.plot(np.maximum(false, 1e-5), hit, color=BLUE, label=f"area {roc_auc_score(truth, score):.4f}")
    left.axvline(0.01, color=GREY, linestyle="--", linewidth=1, label=f"{np.interp(0.01, false, hit):.3f} at 1 %")
    left.set(xscale="log", xlim=(1e-4, 1), ylim=(0, 1.02), xlabel="false positives", ylabel="true positives")
    precision, recall, _ = precision_recall_curve(truth, score)
    right.plot(recall, precision, color=BLUE, label=f"average {average_precision_score(truth, score):.3f}")
    right.axhline(truth.mean(), color=GREY, linestyle="--", linewidth=1, label=f"chance {truth.mean():.4f}")
    right.set(xlim=(0, 1), yscale="log", ylim=(truth.mean() / 2, 1.1), xlabel="recall", ylabel="precision")
    for axes in (left, right):
        axes.legend(frameon=False)
    return chart


def agreement(true: Any, said: Any, what: str = "sum") -> Figure:
    """What was said against what was right, a dot for each sequence.

    Arguments:
        true, said: (n,).
        what: what they are.
    """
    true, said = np.asarray(true), np.asarray(said)
    chart = figure(4.2, 4)
    axes = quiet(chart.subplots())
    axes.plot(true, said, ".", color=BLUE, markersize=3, alpha=0.6)
    ends = [float(true.min(initial=0)), float(true.max(initial=1))]
    axes.plot(ends, ends, color=GREY, linewidth=1)
    error = float(((true - said) ** 2).mean()) if true.size else 0.0
    axes.set(xlabel=f"{what}, right", ylabel=f"{what}, said")
    axes.set_title(f"mean squared error {error:.4f}", fontsize=10)
    return chart


def time_constants(before: Mapping[str, Any], after: Mapping[str, Any]) -> Figure:
    """Time constants before and after training, in rising order.

    Arguments:
        before, after: by the layer's name, (n,) ms.

    Raises:
        ValueError: if the two differ in their layers or shapes.
    """
    if before.keys() != after.keys() or any(np.shape(before[k]) != np.shape(after[k]) for k in before):
        raise ValueError(f"after: expected the layers and sizes of before, {list(before)}, got {list(after)}")
    chart = figure(max(3.4 * len(before), 4.4), 3.2)
    panels = chart.subplots(1, max(len(before), 1), squeeze=False)[0]
    for axes, name in zip(panels, before, strict=False):
        old, new = np.asarray(before[name]), np.asarray(after[name])
        order = np.argsort(old)
        place = np.arange(len(old))
        axes = quiet(axes)
        axes.vlines(place, old[order], new[order], color=GREY, linewidth=0.8)
        axes.plot(place, old[order], "o", color=GREY, markersize=3, label="before")
        axes.plot(place, new[order], "o", color=BLUE, markersize=3, label="after")
        moved = float(np.abs(np.log(new / old)).mean())
        axes.set(yscale="log", xlabel="memory unit", ylabel="time constant (ms)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(f"{name}: moved by {100 * np.expm1(moved):.0f} % on average", fontsize=8)
        axes.legend(frameon=False, fontsize=8)
    return chart


def loss_curve(rows: Sequence[Mapping[str, float]]) -> Figure:
    """Loss against epochs.

    Arguments:
        rows: one mapping an epoch, with "epoch", "loss" and, where there is one, "valid_loss".
    """
    chart = figure(5, 3.4)
    axes = quiet(chart.subplots())
    axes.set(xlabel="epoch", ylabel="loss", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for key, name, colour in (("loss", "training", BLUE), ("valid_loss", "validation", ORANGE)):
        points = [(row["epoch"], row[key]) for row in rows if row.get(key, 0) > 0]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, label=name, marker="o", markersize=3)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))  # losses often stay within one power of ten
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    if rows:
        axes.legend(frameon=False)
    return chart
