"""Every command from end to end on a tiny data set, and what a user's mistakes come to."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import yaml
from PIL import Image

from spiking.cli.main import COMMANDS, main
from spiking.datasets import EventStore, load

PICTURES = ("learning_curve.png", "confusion.png", "raster.png", "rates.png")


@pytest.fixture(scope="module")
def trained(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, shared by the tests that only look at it."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = [
        "train", "folder", "--root", str(recordings), "--out", str(folder), "--data.dt", "5", "--data.steps", "8",
        "--data.valid", "0.25", "--model.options.hidden", "[12]", "--trainer.max_epochs", "12", "--model.lr", "0.02",
        "--data.batch_size", "6", "--trainer.accelerator", "cpu",
    ]
    assert main(words) == 0
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_help_names_every_command_without_importing_torch() -> None:
    code = "import sys; from spiking.cli.main import main; s = main(['--help']); sys.exit(s or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in ("train", "evaluate", "datasets", "doctor"))


def test_run_folder_holds_everything(trained: Path) -> None:
    for name in ("config.yaml", "metrics.csv", "metrics.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        assert (trained / name).is_file(), name
    for name in PICTURES:
        assert (trained / name).read_bytes().startswith(b"\x89PNG"), name
    metrics = json.loads((trained / "metrics.json").read_text())
    assert all(isinstance(value, (int, float)) for value in metrics.values())
    wanted = {
        "test_accuracy", "valid_accuracy", "seconds", "epochs", "spikes_per_sample", "synops_per_sample",
        "control_counts_accuracy", "control_bins_accuracy",
    }
    assert wanted <= metrics.keys()
    assert metrics["epochs"] == 12 and metrics["seconds"] > 0
    assert metrics["spikes_per_sample"] > 0 and metrics["synops_per_sample"] > metrics["spikes_per_sample"]
    assert metrics["control_counts_accuracy"] == 1.0  # the halves of the camera tell the classes apart
    assert metrics["test_accuracy"] == 1.0
    assert [row["epoch"] for row in rows(trained)] == [str(n + 1) for n in range(12)]
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["model"]["options"] == {"hidden": [12], "dropout": 0.2} and config["trainer"]["max_epochs"] == 12


def test_evaluate_gives_the_run_s_numbers(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (trained / "metrics.json").read_text()
    assert main(["evaluate", str(trained)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(trained)
    metrics, found = json.loads(before), json.loads((trained / "evaluation.json").read_text())
    assert (trained / "metrics.json").read_text() == before
    assert found["test_accuracy"] == metrics["test_accuracy"]
    assert found["test_loss"] == pytest.approx(metrics["test_loss"], rel=1e-5)
    assert found["spikes_per_sample"] == metrics["spikes_per_sample"]


def test_weights_are_not_taken_for_others(
    trained: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, wider = tmp_path / "other", tmp_path / "wider"
    for root, names in ((other, ("down", "up")), (wider, ("left", "right"))):
        root.mkdir()
        (root / "sensor.json").write_text((recordings / "sensor.json").read_text())
        for name, source in zip(names, ("left", "right"), strict=True):
            shutil.copytree(recordings / source, root / name)
    (wider / "sensor.json").write_text('{"width": 7, "height": 6, "polarities": 2}')
    damaged = tmp_path / "damaged"
    shutil.copytree(trained, damaged)
    (damaged / "checkpoints" / "best.ckpt").write_bytes(b"PK")
    for words, said in (
        ([trained, "--root", other], "classes ['left', 'right'], the recordings have ['down', 'up']"),
        ([trained, "--root", wider], "does not fit the network"),
        ([damaged], "can't be read as a checkpoint"),
    ):
        assert main(["evaluate", *map(str, words)]) == 1
        err = capsys.readouterr().err
        assert said in err and "best.ckpt" in err and len(err.strip().splitlines()) == 1
    resumed = ["train", "folder", "--out", str(damaged), "--resume", "--model.options.hidden", "[13]"]
    assert main(resumed) == 1
    assert "last.ckpt: does not fit the network" in capsys.readouterr().err


def test_epochs_without_validation(small: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main([*small, "--out", str(out), "--trainer.check_val_every_n_epoch", "2"]) == 0
    scored = [row for row in rows(out) if row["valid_loss"]]
    best = min(scored, key=lambda row: float(row["valid_loss"]))
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["best_epoch"] == int(best["epoch"]) >= 2
    assert metrics["valid_accuracy"] == pytest.approx(float(best["valid_accuracy"]))


def test_seeds_give_mean_and_interval(small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    words = [*small, "--out", str(out), "--seeds", "2", "--trainer.max_epochs", "1"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    metrics = json.loads((out / "metrics.json").read_text())
    first, second = metrics["seed0.valid_accuracy"], metrics["seed1.valid_accuracy"]
    assert metrics["valid_accuracy"] == pytest.approx((first + second) / 2)
    assert metrics["test_loss_ci95"] > 0 and metrics["seed0.test_loss"] != metrics["seed1.test_loss"]
    assert (out / "seed1" / "raster.png").is_file()


def test_leaving_out_one_by_one(small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    known = load(f"folder:{small[3]}", split="all")
    known.metadata["speaker"] = np.array([4, 7, 9])[np.arange(30) % 3]

    def few(*_: Any, split: str, **__: Any) -> EventStore:
        return known.select(known.metadata["split"] == split)

    monkeypatch.setattr("spiking.training.data.load", few)
    words = [*small, "--out", str(out), "--trainer.max_epochs", "1"]
    assert main([*words, "--leave-out", "writer"]) == 2
    assert main([*words, "--leave-out", "speaker", "--seeds", "2"]) == 2
    assert main([*words, "--leave-out", "speaker"]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    found = [json.loads((out / f"speaker-{k}" / "metrics.json").read_text()) for k in (4, 7, 9)]
    assert sum(fold["valid_recordings"] for fold in found) == 24
    assert not any(name.startswith(("test", "control")) for fold in found for name in fold)
    right = sum(fold["valid_recordings"] * fold["valid_accuracy"] for fold in found)
    assert metrics["leave_one_out_accuracy"] == pytest.approx(right / 24)
    assert metrics["speaker-7.valid_accuracy"] == found[1]["valid_accuracy"] and "valid_accuracy_ci95" in metrics
    config = yaml.safe_load((out / "speaker-9" / "config.yaml").read_text())
    assert config["data"]["fold"] == 2 and config["data"]["valid_by"] == "speaker"


@pytest.mark.parametrize("words", [*([name] for name in COMMANDS), ["train", "tiny-llm"], ["datasets", "info"]])
def test_every_command_explains_itself(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """argparse expands % in help when it is asked for, and not before."""
    with contextlib.suppress(SystemExit):
        assert main([*words, "--help"]) == 0
    out = capsys.readouterr().out
    assert "usage" in out and "option_strings" not in out  # "5 % are" asks for all of argparse's own names


class Interrupt(pl.Callback):
    """Ctrl-C in the third epoch."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.current_epoch == 2:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_leaves_a_run_that_goes_on(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = import_module("spiking.training.fit")

    class Interrupted(pl.Trainer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**{**options, "callbacks": [*options["callbacks"], Interrupt()]})

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(module, "Trainer", Interrupted)
        assert main([*small, "--out", str(out)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["epochs"] == 2 and metrics["interrupted"] == 1 and "test_accuracy" not in metrics
    assert all((out / name).is_file() for name in PICTURES)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert main(["train", "folder", "--out", str(out), "--resume"]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["epochs"] == 4 and "interrupted" not in metrics and "test_accuracy" in metrics


def test_a_network_of_one_s_own(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Linear(torch.nn.Module):\n"
        "    def __init__(self, inputs, classes, gain=1.0):\n"
        "        super().__init__()\n"
        "        self.gain, self.weight = gain, torch.nn.Parameter(torch.zeros(inputs, classes))\n"
        "    def forward(self, x, trace=False):\n"
        "        out = self.gain * (x.to_dense() @ self.weight).cumsum(0)\n"
        "        return ((out, []) if trace else out), None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = ["--model.network", "mine.Linear", "--model.options", "{gain: 2.0}", "--trainer.max_epochs", "1"]
    out = tmp_path / "run"
    assert main([*[w for w in small if w not in ("--model.options.hidden", "[12]")], *own, "--out", str(out)]) == 0
    assert "synops_per_sample" not in json.loads((out / "metrics.json").read_text())


def test_corrupt_recordings_are_left_out_on_request(
    small: list[str], recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "root", tmp_path / "run"
    shutil.copytree(recordings, root)
    (root / "left" / "03.npz").write_bytes(b"PK")
    words = [*small, "--root", str(root), "--out", str(out), "--trainer.max_epochs", "1"]
    assert main(words) == 1
    err = capsys.readouterr().err
    assert "left/03.npz" in err and "--skip-corrupt" in err and "skip_corrupt=True" in err
    assert len(err.strip().splitlines()) == 1
    with pytest.warns(UserWarning, match=r"left out 1 of 30 recordings: left/03.npz"):
        assert main([*words, "--skip-corrupt"]) == 0
    assert main(["evaluate", str(out)]) == 0  # from the configuration, as the root
    (root / "right" / "04.npz").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"left out 2 of 30 recordings: left/03.npz.*right/04.npz"):
        assert main(["evaluate", str(out)]) == 0
    shutil.copytree(root, tmp_path / "other")
    config = out / "config.yaml"
    config.write_text(config.read_text().replace("skip_corrupt: true", "skip_corrupt: false"))
    elsewhere = ["evaluate", str(out), "--root", str(tmp_path / "other")]
    assert main(elsewhere) == 1
    assert main([*elsewhere, "--skip-corrupt"]) == 0


def test_a_warning_is_one_line(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "good.csv").write_text("t,channel\n1,0\n")
    (tmp_path / "a" / "bad.csv").write_text("t,channel\n1,-1\n")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *message: said.append(warnings.formatwarning(*message[:4]))
        assert main(["datasets", "prepare", f"folder:{tmp_path}", "--skip-corrupt"]) == 0
        warnings.warn("outside", stacklevel=1)
    line, outside = said
    assert line.startswith("spiking datasets: left out 1 of 2 recordings: a/bad.csv: channel") and line.count("\n") == 1
    assert "UserWarning: outside" in outside


def test_datasets(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["datasets", "list"]) == 0
    assert "digits" in capsys.readouterr().out
    assert main(["datasets", "prepare", f"folder:{recordings}"]) == 0
    assert "30 recordings, 2 classes, sensor 6x6x2" in capsys.readouterr().out
    picture = tmp_path / "one.png"
    assert main(["datasets", "info", "folder", "--root", str(recordings), "--out", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "left: 15, right: 15" in out and out.splitlines()[-1] == str(picture)
    assert "balance     15 (left) to 15 (left) recordings of a class" in out and "0 of 72 channels silent" in out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_info_of_channels_with_a_movie(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Facts that can be counted by hand, and an animated picture beside the still one."""
    for name, channels in (("low", [0, 1, 1]), ("high", [3, 3])):
        (tmp_path / "own" / name).mkdir(parents=True)
        for i in range(1 + len(channels) % 2):
            times = range(0, 1000 * len(channels), 1000)
            rows = "".join(f"{t},{c}\n" for t, c in zip(times, channels, strict=True))
            (tmp_path / "own" / name / f"{i}.csv").write_text(f"t,channel\n{rows}")
    (tmp_path / "own" / "sensor.json").write_text('{"channels": 5}')
    words = ["datasets", "info", f"folder:{tmp_path / 'own'}", "--out", str(tmp_path / "a.png"), "--recording", "2"]
    assert main([*words, "--gif", str(tmp_path / "a.gif")]) == 0
    out = capsys.readouterr().out
    assert "3 recordings, 2 classes, 5 channels" in out and "2 to 3 per recording, mean 3" in out
    assert "2 of 5 channels silent" in out and "balance     1 (high) to 2 (low) recordings of a class" in out
    assert out.splitlines()[-2:] == [str(tmp_path / "a.png"), str(tmp_path / "a.gif")]
    with Image.open(tmp_path / "a.gif") as movie:
        assert movie.format == "GIF" and movie.n_frames > 10


def test_info_s_mistakes(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["datasets", "info", f"folder:{recordings}", "--out", str(tmp_path / "a.png")]
    for more, message in (
        (["--recording", "30"], "--recording: expected 0 to 29, got 30"),
        (["--gif", str(tmp_path / "a.mp4")], "--gif: expected a name that ends in .gif"),
        (["--gif", str(tmp_path / "no" / "a.gif")], "--gif: .* can't be written"),
        (["--out", str(tmp_path / "no" / "a.png")], "--out: .* can't be written"),
    ):
        assert main([*words, *more]) == 2
        assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, ""),
        (["fly"], 2, "train"),
        (["train", "mnist"], 2, "mnist-saccades, nmnist, shd, shd-csilif, shd-delays, spoken"),
        (["train", "nmnist"], 2, "--root"),
        (["train", "folder"], 2, "--root"),
        (["train", "folder", "--root", "/nowhere/at/all"], 1, "/nowhere/at/all"),
        (["train", "digits", "--resume"], 2, "--out"),
        (["train", "digits", "--seeds", "0"], 2, "--seeds"),
        (["train", "digits", "--seeds", "2", "--seed", "1"], 2, "--seed"),
        (["evaluate", "/nowhere/at/all"], 2, "config.yaml"),
        (["datasets", "info", "mnist"], 2, "digits"),
        (["datasets", "prepare", "nmnist", "--root", "/nowhere/at/all"], 1, "/nowhere/at/all"),
    ],
)
def test_a_mistake_is_one_line_and_a_status(
    words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == status
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err
    assert not words or len(err.strip().splitlines()) == 1
    assert not any((tmp_path / "runs").glob("*/*"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (["--trainer.max_epochs", "many"], "max_epochs"),
        (["--model.lrr", "1"], "--model.lrr"),
        (["--model.readout", "median"], "readout"),
        (["--model.options.hiden", "[12]"], "hiden"),
        (["--model.network", "SpikingRNN"], "SpikingRNN"),
        (["--model.options.neuron", "izhikevich"], "izhikevich"),
        (["--data.valid_by", "writer"], "writer"),
        (["--data.dt", "-1"], "dt"),
        (["--trainer.accelerator", "abacus"], "abacus"),
        (["--data.batch_size", "0"], "batch_size"),
        (["--data.steps", "0"], "steps"),
        (["--data.valid", "1.5"], "valid"),
        (["--model.lr", "-1"], "lr"),
        (["--model.label_smoothing", "2"], "label_smoothing"),
        (["--model.synapse_rate", "2"], "synapse_rate: expected at least 0 and at most 1, got 2"),
        (["--seed", "-1"], "-1"),
        (["--trainer.max_epochs", "-1"], "schedule"),
        (["--trainer.max_epochs", "0"], "trainer.max_epochs: expected at least 1"),
        (["--trainer.fast_dev_run", "true"], "trainer.fast_dev_run: expected false"),
        (["--trainer.enable_checkpointing", "false"], "trainer.enable_checkpointing: expected true"),
        (["--trainer.sync_batchnorm", "true"], "trainer.sync_batchnorm: expected false"),
    ],
)
def test_a_wrong_override_is_named(
    override: list[str], said: str, small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*small, *override, "--out", str(tmp_path / "run")]
    try:
        status = main(words)
    except SystemExit as left:  # jsonargparse's own way out
        status = int(left.code or 0)
    assert status == 2
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err


def test_a_run_folder_is_not_overwritten(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").touch()
    assert main([*small, "--out", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert main([*small, "--out", str(tmp_path / "thesis.tex")]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_made_is_said_before_work(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spiking.datasets.storage.shutil.disk_usage", lambda _: type("full", (), {"free": 1000}))
    assert main([*small, "--out", str(tmp_path / "run")]) == 1
    assert "MB are free" in capsys.readouterr().err
    assert main([*small, "--out", "/proc/run"]) == 1
    assert "/proc/run" in capsys.readouterr().err
