"""digits: the 1,797 handwritten digits that scikit-learn ships, seen by a simulated event camera.

Each 8x8 image is up-sampled smoothly to 20x20, put into the middle of 34x34, moved through three saccades and recorded
(`spiking.datasets.camera`). The images are the test part of Alpaydin & Kaynak's optical digits (UCI 1998), by 13
people, which scikit-learn keeps in UCI's order without saying who wrote what. Writers come one after another in that
order, so the last 20 % is the test split, by other writers, and the column `writer` numbers blocks of about 100
consecutive images: held-out blocks stand for held-out writers, and a block may hold the end of one and the beginning of
the next.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spiking.datasets import camera
from spiking.datasets.sources.plan import Plan
from spiking.datasets.store import EventStore

ABOUT = "1,797 handwritten digits of scikit-learn before a simulated event camera, 34x34x2, 300 ms (embedded)"
# raise it when the recordings change, so that nobody goes on with cached ones
VERSION = 1
SIZE, DIGIT, BLOCKS, TRAIN = 34, 20, 18, 0.8


def plan(root: Path | None, cache: Path, skip_corrupt: bool, progress: bool) -> Plan:
    """What `load("digits")` builds; the other arguments have no meaning here."""
    return Plan({"version": VERSION}, 64 << 20, lambda: _build(progress))


def _build(progress: bool) -> EventStore:
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.clip(digits.images / 16, 0, 1)
    factor = DIGIT / images.shape[1]
    large = zoom(images, (1, factor, factor), order=3, mode="grid-constant", grid_mode=True).clip(0, 1)
    edge = (SIZE - DIGIT) // 2
    padded = np.pad(large, ((0, 0), (edge, edge), (edge, edge)))
    film = camera.record(padded, motion="saccades", progress=progress)
    n = len(images)
    return film.store(
        digits.target,
        classes=[str(c) for c in digits.target_names],
        writer=np.arange(n) * BLOCKS // n,
        split=np.where(np.arange(n) < round(TRAIN * n), "train", "test"),
    )
