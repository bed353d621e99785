"""mnist-saccades: MNIST's 70,000 digits (LeCun et al. 1998) before the camera of N-MNIST; see `saccades`."""

from __future__ import annotations

from pathlib import Path

from spiking.datasets.sources import saccades
from spiking.datasets.sources.plan import Plan

ABOUT = "MNIST's 70,000 digits before a simulated N-MNIST camera, 34x34x2, 315 ms (idx files or download)"


def plan(root: Path | None, cache: Path, skip_corrupt: bool, progress: bool) -> Plan:
    """What `load("mnist-saccades")` builds; nothing in an idx file can be skipped."""
    return saccades.plan(saccades.MNIST, root, cache, progress)
