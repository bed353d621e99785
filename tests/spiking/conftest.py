"""A tiny data set for the commands: two classes whose events lie on the two halves of a small camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 2 x 15 recordings, 6x6x2 pixels, 40 ms."""
    root = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    (root / "sensor.json").write_text('{"width": 6, "height": 6, "polarities": 2}')
    for label, name in enumerate(("left", "right")):
        (root / name).mkdir()
        for i in range(15):
            t = np.sort(rng.integers(0, 40_000, 60))
            x, y = rng.integers(0, 3, 60) + 3 * label, rng.integers(0, 6, 60)
            np.savez(root / name / f"{i:02}.npz", t=t, x=x, y=y, p=rng.integers(0, 2, 60))
    return root


@pytest.fixture
def small(recordings: Path) -> list[str]:
    """Words of a training command that takes about a second."""
    return [
        "train", "folder", "--root", str(recordings), "--data.batch_size", "6", "--data.dt", "5", "--data.steps", "8",
        "--data.valid", "0.25", "--model.options.hidden", "[12]", "--trainer.max_epochs", "4",
        "--trainer.accelerator", "cpu",
    ]
