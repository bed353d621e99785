"""Spiking language models: spike counts of the layers, the bit planes of a token, perplexity against k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from spiking.coding import expand
from spiking.plots.style import BLUE, GREY, INK, ORANGE, RED, figure, quiet

LIMIT = 16


def spike_counts(magnitude: Mapping[str, Tensor], k: Mapping[str, float]) -> Figure:
    """How often each count occurs at the input of each weight.

    Arguments:
        magnitude: by weight, (m,) how many channels have |s| = 0, 1, 2, ...
        k: by weight, spikes a channel.
    """
    names = list(magnitude)
    shares = np.zeros((len(names), LIMIT + 1))
    for row, name in enumerate(names):
        counts = magnitude[name].double().numpy()
        shares[row, : min(len(counts), LIMIT)] = counts[:LIMIT]
        shares[row, LIMIT] = counts[LIMIT:].sum()
        shares[row] /= max(counts.sum(), 1)
    chart = figure(9, 1.4 + 0.19 * len(names))
    axes = chart.subplots()
    picture = axes.imshow(np.maximum(100 * shares, 1e-3), aspect="auto", cmap="viridis", norm=LogNorm(0.01, 100))
    axes.set_xticks(range(LIMIT + 1), [*map(str, range(LIMIT)), f"{LIMIT}+"])
    step = -(-len(names) // 60)
    labels = [f"{name.removesuffix('.weight')}  k={k[name]:g}" for name in names]
    axes.set_yticks(range(0, len(names), step), labels[::step], fontsize=6.5)
    axes.set_xlabel("|s|, spikes of a channel for one token")
    chart.colorbar(picture, ax=axes, label="channels (%)", shrink=0.9)
    return chart


def bit_planes(counts: Tensor, name: str, channels: int = 192) -> Figure:
    """One token's counts and the spikes that spell them.

    Arguments:
        counts: (n,) integers.
        name: of the weight whose input they are.
        channels: how many to show.
    """
    counts = counts[:channels]
    train = expand(counts, "bitwise-ternary")
    chart = figure(9, 3.4)
    upper, lower = chart.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for sign, colour in ((1, BLUE), (-1, RED)):
        step, channel = (train.spikes == sign).nonzero(as_tuple=True)
        upper.scatter(channel.tolist(), step.tolist(), marker="|", s=40, linewidth=1, color=colour, label=f"{sign:+d}")
    upper.set_yticks(range(len(train.weight)), [f"{2**t}" for t in range(len(train.weight))])
    upper.margins(y=0.15)
    upper.set_ylabel("worth of a spike")
    upper.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    upper.set_title(f"input of {name.removesuffix('.weight')}, one token", loc="left", fontsize=9)
    lower.bar(range(len(counts)), counts.tolist(), color=GREY, width=1.0)
    lower.set(xlabel="channel", ylabel="count", xlim=(-1, len(counts)))
    return chart


def perplexity_curve(
    curve: Sequence[tuple[float, float]], levels: Mapping[str, float], chosen: tuple[float, float] | None = None
) -> Figure:
    """Perplexity against k, with the controls as lines.

    Arguments:
        curve: (k, perplexity) with one k for all weights.
        levels: by name, perplexities without a k.
        chosen: mean k and perplexity where every weight has its own.
    """
    chart = figure(6.4, 3.8)
    axes = quiet(chart.subplots())
    axes.plot(*zip(*curve, strict=True), color=BLUE, marker="o", markersize=4, label="spikes, one k")
    if chosen is not None:
        axes.plot(*chosen, "*", color=ORANGE, markersize=13, label="spikes, k of each weight")
    styles = [(INK, "-"), (GREY, "-"), ("#1b7837", "--"), ("#9970ab", ":")]
    for (name, level), (colour, style) in zip(levels.items(), styles, strict=False):
        axes.axhline(level, color=colour, linestyle=style, linewidth=1.1, label=name)
    axes.set(xlabel="k, spikes a channel", ylabel="perplexity")
    everything = [value for _, value in curve] + list(levels.values())
    if max(everything) > 3 * min(everything):
        axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8)
    return chart
