"""shd: spoken digits, English and German, heard by a simulated inner ear (Cramer et al. 2020), 700 channels, 1 s.

There are no validation recordings, and two of the test speakers never occur in training: hold speakers out,
`load("shd").split(by="speaker", hold_out=2)`, and leave the test recordings for the end.
"""

from __future__ import annotations

from pathlib import Path

from spiking.datasets.sources import heidelberg
from spiking.datasets.sources.plan import Plan

ABOUT = "SHD: spoken digits in two languages through a simulated inner ear, 700 channels, 1 s (files or download)"


def _fetch(where: str, split: str) -> None:
    """Have tonic download a split."""
    from tonic.datasets import SHD

    SHD(where, train=split == "train")


CORPUS = heidelberg.Corpus(
    "shd",
    classes=20,
    md5={"train": "f3252aeb598ac776c1b526422d90eecb", "test": "1503a5064faa34311c398fb0a1ed0a6f"},
    size=1 << 30,
    fetch=_fetch,
)


def plan(root: Path | None, cache: Path, skip_corrupt: bool, progress: bool) -> Plan:
    """What `load("shd")` builds; see `heidelberg.plan`."""
    return heidelberg.plan(CORPUS, root, cache, skip_corrupt, progress)
