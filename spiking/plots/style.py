"""What the pictures share: colours that differ for colour-blind eyes too, and quiet axes."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, GREY, INK = "#2166ac", "#e08214", "#1b7837", "#b2182b", "#707070", "#101010"


def figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches that makes room for its labels."""
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def quiet(axes: Axes) -> Axes:
    """Without the upper and the right frame line."""
    axes.spines[["top", "right"]].set_visible(False)
    return axes
