"""How time and memory grow with the number of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from spiking.plots.style import BLUE, GREEN, GREY, ORANGE, figure, quiet

COLOURS = (BLUE, ORANGE, GREEN)


def growth(series: Mapping[str, Sequence[Mapping[str, float]]], fits: Mapping[str, Mapping[str, float]]) -> Figure:
    """Seconds and bytes against events, both axes logarithmic, beside lines of slope 1.

    Arguments:
        series: what grows -> points with "events", "seconds" and "bytes".
        fits: what grows -> "time_exponent" and "memory_exponent", where they were fitted.
    """
    chart = figure(8, 3.6)
    for axes, key, unit, label, name in zip(
        chart.subplots(1, 2), ("seconds", "bytes"), (1e3, 1e-6), ("ms, forward and backward", "peak memory, MB"),
        ("time_exponent", "memory_exponent"), strict=True,
    ):  # fmt: skip
        quiet(axes)
        for colour, (what, points) in zip(COLOURS, series.items(), strict=False):
            x, y = [p["events"] for p in points], [unit * p[key] for p in points]
            exponent = fits[what].get(name)
            more = "" if exponent is None else f": exponent {exponent:.2f}"
            axes.plot(x, y, "o-", color=colour, markersize=3, linewidth=1.2, label=f"more {what}{more}")
        first = next(iter(series.values()))
        end = first[-1]["events"], unit * first[-1][key]
        start = first[0]["events"]
        axes.plot([start, end[0]], [end[1] * start / end[0], end[1]], ":", color=GREY, linewidth=1, label="slope 1")
        axes.set(xscale="log", yscale="log", xlabel="events", ylabel=label)
        axes.legend(frameon=False, fontsize=7)
    return chart
