"""Learned delays before and after training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from spiking.plots.style import BLUE, GREY, figure, quiet

Array = np.ndarray[Any, Any]


def delays(before: Mapping[str, Any], after: Mapping[str, Any]) -> Figure:
    """How many delays of each layer are how long, and how far training has moved them.

    Arguments:
        before, after: by the layer's name, delays in ms, (in, out) or (in,).

    Raises:
        ValueError: if the two differ in their layers or shapes.
    """
    if before.keys() != after.keys():
        raise ValueError(f"after: expected the layers {list(before)}, got {list(after)}")
    chart = figure(max(3.0 * len(before), 4), 4.6)
    panels = chart.subplots(2, max(len(before), 1), squeeze=False)
    for k, name in enumerate(before):
        old, new = np.asarray(before[name]), np.asarray(after[name])
        if old.shape != new.shape:
            raise ValueError(f"after: expected delays {old.shape} of {name}, got {new.shape}")
        moved = np.abs(new - old)
        longest = max(float(old.max(initial=0)), float(new.max(initial=0)), 1e-9)
        upper, lower = quiet(panels[0, k]), quiet(panels[1, k])
        upper.hist(new.ravel(), bins=30, range=(0, longest), color=BLUE, label="after")
        upper.hist(old.ravel(), bins=30, range=(0, longest), color=GREY, histtype="step", label="before")
        upper.set_title(f"{name}: {moved.mean():.1f} ms moved on average", fontsize=8)
        upper.set_xlabel("delay (ms)")
        lower.hist(moved.ravel(), bins=30, range=(0, max(float(moved.max(initial=0)), 1e-9)), color=BLUE)
        lower.set_xlabel("moved by (ms)")
        if k == 0:
            upper.set_ylabel("delays")
            lower.set_ylabel("delays")
            upper.legend(frameon=False, fontsize=8)
    return chart
