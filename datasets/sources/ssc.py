"""ssc: 35 spoken commands heard by a simulated inner ear (Cramer et al. 2020), 700 channels, 1 s.

It has validation recordings of its own, the split `valid`.
"""

from __future__ import annotations

from pathlib import Path

from spiking.datasets.sources import heidelberg
from spiking.datasets.sources.plan import Plan

ABOUT = "SSC: 35 spoken commands through a simulated inner ear, 700 channels, 1 s (files or download)"


def _fetch(where: str, split: str) -> None:
    """Have tonic download a split."""
    from tonic.datasets import SSC

    SSC(where, split=split)


CORPUS = heidelberg.Corpus(
    "ssc",
    classes=35,
    md5={
        "train": "d102be95e7144fcc0553d1f45ba94170",
        "valid": "b4eee3516a4a90dd0c71a6ac23a8ae43",
        "test": "a35ff1e9cffdd02a20eb850c17c37748",
    },
    size=12 << 30,
    fetch=_fetch,
)


def plan(root: Path | None, cache: Path, skip_corrupt: bool, progress: bool) -> Plan:
    """What `load("ssc")` builds; see `heidelberg.plan`."""
    return heidelberg.plan(CORPUS, root, cache, skip_corrupt, progress)
