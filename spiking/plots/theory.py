"""Theory as lines, what was measured as dots on them, in as many panels as there are figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spiking.plots.style import BLUE, GREEN, GREY, INK, ORANGE, RED, figure, quiet

Place = Literal["best", "lower left", "lower right", "upper left", "upper right"]
CAPTION = (
    "lines: theory; dots: simulated, with one standard error; dotted: as published, where that is approximate or ends"
)
COLOURS = (BLUE, ORANGE, GREEN, RED, GREY)


@dataclass(frozen=True)
class Panel:
    """How one figure is drawn.

    Attributes:
        title, xlabel, ylabel: its words.
        log, xlog: a logarithmic y axis, a logarithmic x axis.
        low, high: where the y axis begins and ends, `None` where its curves do.
        marks: x at which a vertical line stands, with what it says.
        legend: where matplotlib puts the legend.
    """

    title: str
    xlabel: str
    ylabel: str
    log: bool = False
    xlog: bool = False
    low: float | None = None
    high: float | None = None
    marks: Mapping[float, str] | None = None
    legend: Place = "best"


def theory(panels: Sequence[tuple[Panel, Sequence[Any]]], across: int = 3) -> Figure:
    """Panels of curves.

    Arguments:
        panels: how each is drawn, and its curves: objects with `name`, and lists `x`, `theory`, `measured`, `error`
            (NaN where there is none), `published` (or empty).
        across: panels in a row.
    """
    across = min(across, max(len(panels), 1))
    down = -(-len(panels) // across)
    chart = figure(3.7 * across, 3.1 * down + 0.3)
    cells = list(chart.subplots(max(down, 1), across, squeeze=False).flat)
    for axes, (panel, curves) in zip(cells, panels, strict=False):
        _draw(quiet(axes), panel, curves)
    for spare in cells[len(panels) :]:
        spare.remove()
    chart.supxlabel(CAPTION, fontsize=8, color=GREY)
    return chart


def _draw(axes: Axes, panel: Panel, curves: Sequence[Any]) -> None:
    for curve, colour in zip(curves, COLOURS, strict=False):
        x, said = np.asarray(curve.x, float), np.asarray(curve.theory, float)
        seen, error = np.asarray(curve.measured, float), np.nan_to_num(np.asarray(curve.error, float))
        axes.plot(x, _drawn(said, panel), color=colour, linewidth=1.3, label=curve.name)
        if len(curve.published):
            axes.plot(x, _drawn(np.asarray(curve.published, float), panel), ":", color=INK, linewidth=0.9, zorder=3)
        there = np.isfinite(_drawn(seen, panel))
        style: dict[str, Any] = {"color": colour, "linestyle": "", "marker": "o", "markersize": 3.2, "elinewidth": 0.8}
        axes.errorbar(x[there], seen[there], error[there], **style)
    if all(float(x).is_integer() for curve in curves for x in curve.x):
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
    axes.set_title(panel.title, fontsize=9)
    if panel.log:
        axes.set_yscale("log")
    if panel.xlog:
        axes.set_xscale("log")
    axes.set_ylim(panel.low, panel.high)
    for place, words in (panel.marks or {}).items():
        axes.axvline(place, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
        axes.annotate(
            words, (place, 0.98), xycoords=("data", "axes fraction"), xytext=(3, 0), textcoords="offset points",
            fontsize=7, color=GREY, va="top",
        )  # fmt: skip
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=7, loc=panel.legend, handlelength=1.4)


def _drawn(values: Any, panel: Panel) -> Any:
    """Without what a logarithmic axis can't show."""
    return np.where(values > 0, values, math.nan) if panel.log else values
