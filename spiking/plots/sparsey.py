"""Sparse distributed codes in pictures: overlap, recall under noise, capacity, codes over time, time per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spiking.plots.style import BLUE, GREEN, GREY, INK, ORANGE, RED, figure, quiet

Array = np.ndarray[Any, Any]
COLOURS = (BLUE, ORANGE, GREEN, RED, GREY)


def code_overlap(series: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Share of a stored code that an item's code has, against the share of features that the items share.

    Arguments:
        series: by name, "similarity" and "theory" of a curve, "measured_at", "measured" and "error" of drawn codes,
            "chance"; all between 0 and 1.
    """
    chart = figure(5.6, 4.0)
    axes = quiet(chart.subplots())
    for colour, (name, one) in zip(COLOURS, series.items(), strict=False):
        axes.plot(one["similarity"], one["theory"], color=colour, linewidth=1.3, label=name)
        axes.errorbar(
            one["measured_at"], one["measured"], yerr=2 * np.asarray(one["error"]), fmt="o", color=colour,
            markersize=3.5, elinewidth=0.8,
        )  # fmt: skip
        axes.plot([0, 0.03], [one["chance"]] * 2, color=colour, linewidth=2.5, alpha=0.4)
    axes.set(
        xlabel="features shared with the stored item", ylabel="winners shared with its code", xlim=(-0.02, 1.02),
        ylim=(0, 1.03),
    )
    title = "closed form, and drawn codes (dots)"
    axes.legend(frameon=False, fontsize=8, loc="upper left", title=title, title_fontsize=8)
    return chart


def recall_noise(series: Mapping[str, Sequence[Mapping[str, float]]], chance: float) -> Figure:
    """Recall and familiarity of stored sequences against the share of every frame's features that have moved.

    Arguments:
        series: by name, points with "changed", "recall" and "familiarity".
        chance: recall without any memory.
    """
    chart = figure(8, 3.7)
    axes = [quiet(a) for a in chart.subplots(1, 2, sharex=True)]
    for a, key, label in zip(axes, ("recall", "familiarity"), ("winners right (%)", "familiarity G"), strict=True):
        factor = 100 if key == "recall" else 1
        for colour, (name, rows) in zip(COLOURS, series.items(), strict=False):
            a.plot(
                [100 * row["changed"] for row in rows], [factor * row[key] for row in rows], "o-", color=colour,
                markersize=3.5, linewidth=1.3, label=name,
            )
        a.set(xlabel="active features moved in every frame (%)", ylabel=label, ylim=(0, 1.03 * factor))
    axes[0].axhline(100 * chance, color=GREY, linestyle=":", linewidth=1)
    axes[0].text(0, 100 * chance + 1, "chance", fontsize=7, color=GREY)
    handles, labels = axes[1].get_legend_handles_labels()
    chart.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return chart


def capacity(series: Mapping[str, Sequence[Mapping[str, float]]], recall: float) -> Figure:
    """Sequences held, and what they are worth, against binary weights.

    Arguments:
        series: by name, points with "synapses", "sequences", "bits_per_synapse" and "units".
        recall: share of right winners that counts as holding.
    """
    chart = figure(8, 3.5)
    axes = [quiet(a) for a in chart.subplots(1, 2, sharex=True)]
    for k, (colour, (name, rows)) in enumerate(zip(COLOURS, series.items(), strict=False)):
        x = [row["synapses"] for row in rows]
        style: dict[str, Any] = {"color": colour, "label": name, "markersize": 3.5, "linewidth": 1.3}
        if k % 2:  # so that of two lines that coincide both show
            style |= {"linestyle": "--", "fillstyle": "none", "markersize": 6}
        for a, key in zip(axes, ("sequences", "bits_per_synapse"), strict=True):
            a.plot(x, [row[key] for row in rows], **{"marker": "o", "linestyle": "-"} | style)
    axes[0].set(xscale="log", xlabel="binary weights", ylabel=f"sequences of ten frames, {100 * recall:g} % recalled")
    axes[1].set(xlabel="binary weights", ylabel="bits per weight")
    for a in axes:
        a.set_ylim(bottom=0)
    axes[0].legend(frameon=False, fontsize=8)
    return chart


def codes(panels: Mapping[str, Any], stored: Any, units: int) -> Figure:
    """Codes of a sequence over time: the winner of every module, and where it is not the stored one.

    Arguments:
        panels: by name, (T, Q) winners.
        stored: (T, Q), what they should be.
        units: K.
    """
    chart = figure(2.6 * len(panels) + 1.2, 3.6)
    axes = chart.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    want = np.asarray(stored)
    T, Q = want.shape
    for a, (name, winners) in zip(axes, panels.items(), strict=True):
        found = np.asarray(winners)
        place = np.arange(Q)[None] * units + found
        right = found == want
        time = np.broadcast_to(np.arange(1, T + 1)[:, None], found.shape)
        for q in range(1, Q):
            a.axhline(q * units - 0.5, color=GREY, linewidth=0.4, alpha=0.5)
        a.scatter(time[right], place[right], s=14, marker="s", color=BLUE, linewidths=0, label="as stored")
        wrong = ~right
        a.scatter(time[wrong], place[wrong], s=14, marker="x", color=RED, linewidths=1, label="another")
        a.set_title(f"{name}\n{100 * right.mean():.0f} % as stored", fontsize=8)
        a.set(xlabel="frame", xlim=(0.3, T + 0.7), ylim=(-0.5, Q * units - 0.5))
        a.xaxis.set_major_locator(MaxNLocator(integer=True))
        quiet(a)
    axes[0].set_yticks([(q + 0.5) * units - 0.5 for q in range(Q)], [str(q + 1) for q in range(Q)])
    axes[0].set_ylabel(f"module, each of {units} units")
    axes[0].tick_params(axis="y", length=0)
    handles, labels = axes[-1].get_legend_handles_labels()
    chart.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
    return chart


def learning_time(seconds: Sequence[float], block: int) -> Figure:
    """Time for each image against how many were learned before it.

    Arguments:
        seconds: processor time of each block of images.
        block: images of a block.
    """
    chart = figure(5.6, 3.2)
    axes = quiet(chart.subplots())
    ms = 1e3 * np.asarray(seconds) / block
    axes.plot(block * np.arange(1, len(ms) + 1) / 1e3, ms, color=BLUE, linewidth=1.2)
    axes.axhline(float(np.median(ms)), color=INK, linestyle=":", linewidth=1, label=f"median {np.median(ms):.2f} ms")
    axes.set(xlabel="images learned (thousands)", ylabel="processor ms for each image", xlim=(0, None))
    axes.set_ylim(0, 1.25 * float(ms.max()))
    axes.legend(frameon=False, fontsize=8)
    return chart
