"""Two processes give the losses of one that has batches of twice the size."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from spiking.cli.main import main

# 24 training recordings, 7 of them held out: 17 are batches of six, six and five; or of two times three, twice, and of
# three beside two, which must count for three and for two. Of the seven, one is left for one process alone.
COMMON = [
    "--model.options.dropout", "0", "--trainer.max_epochs", "2", "--model.rates.lower_strength", "0.1",
    "--data.valid", "7",
]


SCRIPT = """
import sys
from spiking.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
"""


def read(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_two_processes_are_one(small: list[str], tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([*small, *COMMON, "--out", str(one)]) == 0
    script = tmp_path / "command.py"
    script.write_text(SCRIPT)
    both = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.batch_size", "3"]
    done = subprocess.run(
        [sys.executable, str(script), *small, *COMMON, *both, "--out", str(two)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(two) and done.stdout.count("epoch   2/2") == 1
    for alone, together in zip(read(one), read(two), strict=True):
        for name in ("loss", "train_accuracy", "valid_loss", "valid_accuracy", "spikes_per_sample"):
            assert together[name] == pytest.approx(alone[name], rel=1e-4, abs=1e-5), name
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (one, two))
    assert second["test_loss"] == pytest.approx(first["test_loss"], rel=1e-4)
