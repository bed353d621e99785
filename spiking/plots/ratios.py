"""How many times as long others take."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from matplotlib.figure import Figure

from spiking.plots.style import BLUE, GREY, INK, ORANGE, figure, quiet

Ratio = tuple[float, float, float]


def ratios(groups: Mapping[str, Mapping[str, Ratio]], note: str = "") -> Figure:
    """Bars of ratios, group by group; one bar of each group, its shortest, in another colour.

    Arguments:
        groups: title of a group -> name of a bar -> median, least and largest ratio.
        note: small print below.
    """
    rows = sum(len(bars) + 1.4 for bars in groups.values())
    chart = figure(8, 0.6 + 0.22 * rows + (0.5 if note else 0))
    axes = quiet(chart.subplots())
    place, places, labels = 0.0, [], []
    for title, bars in groups.items():
        axes.text(0, place, f" {title}", va="center", fontsize=8, fontweight="bold", color=INK)
        place += 1
        shortest = min(bars, key=lambda name: bars[name][0])
        for name, (middle, low, high) in bars.items():
            axes.barh(place, middle, height=0.75, color=ORANGE if name == shortest else BLUE)
            axes.plot([low, high], [place, place], color=GREY, linewidth=1)
            axes.text(max(high, middle), place, f" {middle:.1f}", va="center", fontsize=7)
            places.append(place)
            labels.append(name)
            place += 1
        place += 0.4
    axes.set_yticks(places, labels, fontsize=7)
    axes.axvline(1, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
    axes.set(xlabel="time, theirs over ours; lines: least to most; orange: the shortest")
    axes.set(ylim=(place, -0.8), xlim=(0, None))
    if note:
        chart.text(0.01, 0.005, textwrap.fill(note, 170), fontsize=5.5, color=GREY, va="bottom")
        space = 0.35 / chart.get_figheight()
        chart.set_layout_engine("constrained", rect=(0, space, 1, 1 - space))
    return chart
