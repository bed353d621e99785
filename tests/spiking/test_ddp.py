"""Two processes give the losses of one that has batches of twice the size."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from spiking.cli.main import main
from spiking.training.tasks import TaskModel

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


# The last process alone finds no finite gradient in the second epoch's first batch.
SPOIL = """
from spiking.training.tasks import TaskModel

step = TaskModel.training_step


def spoilt(self, batch, number):
    bad = self.global_rank == self.trainer.world_size - 1 and self.current_epoch == 1 and number == 0
    return step(self, batch, number) * (float("nan") if bad else 1.0)


TaskModel.training_step = spoilt
"""


def read(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def twice(words: list[str], tmp_path: Path, batch_size: int, before: str = "") -> tuple[Path, Path, str]:
    """Run folders of one process, and of two with batches of this size that run some code before; what the two said."""
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([*words, "--data.batch_size", str(2 * batch_size), "--out", str(one)]) == 0
    script = tmp_path / "command.py"
    script.write_text(before + SCRIPT)
    both = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.batch_size", str(batch_size)]
    done = subprocess.run(
        [sys.executable, str(script), *words, *both, "--out", str(two)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return one, two, done.stdout


def test_two_processes_are_one(small: list[str], tmp_path: Path) -> None:
    one, two, said = twice([*small, *COMMON], tmp_path, 3)
    assert said.splitlines()[-1] == str(two) and said.count("epoch   2/2") == 1
    for alone, together in zip(read(one), read(two), strict=True):
        for name in ("loss", "train_accuracy", "valid_loss", "valid_accuracy", "spikes_per_sample"):
            assert together[name] == pytest.approx(alone[name], rel=1e-4, abs=1e-5), name
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (one, two))
    assert second["test_loss"] == pytest.approx(first["test_loss"], rel=1e-4)


def test_two_processes_are_one_on_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven sequences an epoch: two times three, and of three beside two; the last of seven for one process alone.

    A batch that is left out because of one process is left out by both.
    """
    monkeypatch.setattr(TaskModel, "training_step", TaskModel.training_step)  # put back in the end
    exec(SPOIL, {})
    words = [
        "train", "elm-adding", "--data.grow", "null", "--data.steps", "10", "--data.draws", "11", "--data.valid", "7",
        "--data.test", "20", "--model.options.memory", "6", "--model.options.scale", "5", "--trainer.max_epochs", "3",
        "--trainer.accelerator", "cpu", "--model.optimizer", "sgd", "--model.lr", "0.1", "--model.schedule", "constant",
        "--trainer.gradient_clip_val", "null",
    ]  # fmt: skip
    with pytest.warns(UserWarning, match="gradient: not finite in batch 2, which is left out"):
        one, two, _ = twice(words, tmp_path, 3, SPOIL)
    for alone, together in zip(read(one), read(two), strict=True):
        for name in ("loss", "valid_loss"):
            assert together[name] == pytest.approx(alone[name], rel=1e-4), name
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (one, two))
    assert second["test_mse"] == pytest.approx(first["test_mse"], rel=1e-4)
