"""shd-adding: SHD's digits in pairs, to be added; see `adding`."""

from __future__ import annotations

from pathlib import Path

from spiking.datasets.sources import adding, shd
from spiking.datasets.sources.plan import Plan

ABOUT = "SHD's digits in pairs, whose sum is the class, 19 sums, 700 channels, 2 s (files or download)"


def plan(root: Path | None, cache: Path, skip_corrupt: bool, progress: bool) -> Plan:
    """What `load("shd-adding")` builds; see `adding.plan`."""
    return adding.plan(shd, root, cache, skip_corrupt, progress)
