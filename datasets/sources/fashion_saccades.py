"""fashion-saccades: Fashion-MNIST's 70,000 articles (Xiao et al. 2017) before the camera of N-MNIST; see `saccades`."""

from __future__ import annotations

from pathlib import Path

from spiking.datasets.sources import saccades
from spiking.datasets.sources.plan import Plan

ABOUT = "Fashion-MNIST's 70,000 articles before a simulated N-MNIST camera, 34x34x2, 315 ms (idx files or download)"


def plan(root: Path | None, cache: Path, skip_corrupt: bool, progress: bool) -> Plan:
    """What `load("fashion-saccades")` builds; nothing in an idx file can be skipped."""
    return saccades.plan(saccades.FASHION, root, cache, progress)
