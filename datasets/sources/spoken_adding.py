"""spoken-adding: recorded digits in pairs, to be added; see `adding`."""

from __future__ import annotations

from pathlib import Path

from spiking.datasets.sources import adding, spoken
from spiking.datasets.sources.plan import Plan

ABOUT = "your spoken digits in pairs, whose sum is the class, 19 sums, 700 channels, 2 s (.wav, .flac)"


def plan(root: Path | None, cache: Path, skip_corrupt: bool, progress: bool) -> Plan:
    """What `load("spoken-adding")` builds; see `adding.plan`."""
    return adding.plan(spoken, root, cache, skip_corrupt, progress)
