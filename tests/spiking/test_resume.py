"""A run that is killed and resumed ends with the bits of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spiking.cli.main import main

KILL = """
import os, signal
import lightning.pytorch as pl

class Kill(pl.Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.current_epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("more", [[], ["--model.options.delays", "20", "--model.delays.anneal", "0.9"]])
def test_four_epochs_are_two_killed_and_two_resumed(
    more: list[str], small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = [*small, *more]
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert main([*small, "--out", str(straight)]) == 0
    (tmp_path / "killer.py").write_text(KILL)
    words = [*small, "--out", str(broken), "--trainer.callbacks+=killer.Kill"]
    code = "import sys; from spiking.cli.main import main; sys.exit(main())"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    killed = subprocess.run(
        [sys.executable, "-c", code, *words], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (broken / "metrics.json").exists()
    assert len((broken / "metrics.csv").read_text().splitlines()) == 1 + 2

    # the kept configuration names the killer: an override takes it out
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["train", "folder", "--out", str(broken), "--resume", "--trainer.callbacks", "null"]) == 0
    assert (broken / "metrics.csv").read_bytes() == (straight / "metrics.csv").read_bytes()
    one, two = (torch.load(p / "checkpoints" / "last.ckpt", weights_only=True) for p in (straight, broken))
    assert one["state_dict"].keys() == two["state_dict"].keys()
    for name, weight in one["state_dict"].items():
        assert torch.equal(weight, two["state_dict"][name]), name
    assert one["lr_schedulers"] == two["lr_schedulers"]
    for picture in straight.glob("*.png"):
        assert picture.read_bytes() == (broken / picture.name).read_bytes(), picture.name


def test_a_finished_run_is_not_run_again(small: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main([*small, "--out", str(out), "--trainer.max_epochs", "1"]) == 0
    written = (out / "metrics.csv").stat().st_mtime_ns
    assert main(["train", "folder", "--out", str(out), "--resume"]) == 0
    assert (out / "metrics.csv").stat().st_mtime_ns == written
