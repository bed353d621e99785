"""Each preset from its files to its figures, on a few recordings in the published layout."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from spiking.cli.config import parse, parser
from spiking.cli.main import main
from spiking.cli.train import preset_file
from spiking.kernels.surrogate import arctan
from spiking.networks import SpikingMLP
from spiking.neurons import LIF, like
from tests.datasets import mnist, test_dvsgesture, test_heidelberg, test_spoken

SMALL = ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--data.batch_size", "8"]


def heidelberg(root: Path, name: str, classes: int, splits: dict[str, list[int]]) -> Path:
    """A word is a band of channels; by split, the speakers, each of whom says three words twice."""
    rng = np.random.default_rng(0)
    keys = [f"word {k}" for k in range(classes)]
    for split, speakers in splits.items():
        labels = [word for _ in speakers for word in (0, 1, 2)] * 2
        times = [np.sort(rng.uniform(0, 0.3, 60)) for _ in labels]
        units = [rng.integers(200 * word, 200 * word + 100, 60) for word in labels]
        who = [speaker for speaker in speakers for _ in range(3)] * 2
        test_heidelberg.write(root / f"{name}_{split}.h5", times, units, who, labels, keys)
    return root


def shd(root: Path) -> tuple[Path, list[str]]:
    heidelberg(root, "shd", 20, {"train": [0, 3, 7, 11], "test": [4]})
    return root, ["--model.options.hidden", "[6, 5]"]


def ssc(root: Path) -> tuple[Path, list[str]]:
    heidelberg(root, "ssc", 35, {"train": [0, 3], "valid": [9], "test": [4]})
    return root, ["--model.options.hidden", "[6, 5]"]


def dvsgesture(root: Path) -> tuple[Path, list[str]]:
    rng = np.random.default_rng(0)
    trials = {f"user{user:02d}_led": "test" if user > 6 else "train" for user in range(1, 8)}
    events = [(*rng.integers(0, 128, 2).tolist(), int(rng.integers(0, 2)), t) for t in range(1000, 4000, 10)]
    small = ["--model.options.channels", "[2, 2]", "--model.options.kernel", "3", "--model.options.hidden", "[4]"]
    return test_dvsgesture.files(root, trials, events), [*small, "--data.dt", "0.1", "--data.steps", "10"]


def saccades(root: Path) -> tuple[Path, list[str]]:
    small = ["--model.options.channels", "[2, 2]", "--model.options.hidden", "[4]", "--data.valid", "2"]
    return mnist.idx_files(root), small


def spoken(root: Path) -> tuple[Path, list[str]]:
    return test_spoken.folder(root), ["--model.options.hidden", "[6, 5]"]


def deep(root: Path) -> tuple[Path, list[str]]:
    return ssc(root)[0], ["--model.options.hidden", "[6, 5, 4]"]


MADE = {
    "shd": shd, "ssc": ssc, "dvsgesture": dvsgesture, "mnist-saccades": saccades, "spoken": spoken, "shd-csilif": shd,
    "ssc-csilif": ssc, "shd-delays": shd, "ssc-delays": deep, "spoken-delays": spoken,
}  # fmt: skip


@pytest.mark.parametrize("preset", MADE)
def test_a_preset_runs_from_end_to_end(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPIKING_CACHE", str(tmp_path / "cache"))
    root, small = MADE[preset](tmp_path / "root")
    assert main(["train", preset, "--root", str(root), "--out", str(tmp_path / "run"), *SMALL, *small]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {"test_accuracy", "control_bins_accuracy"} <= metrics.keys()
    # those of words train on all recordings, after held-out speakers have chosen
    assert ("valid_accuracy" in metrics) == (not preset.startswith("spoken"))
    assert (tmp_path / "run" / "delays.png").exists() == preset.endswith("-delays")
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert f"{100 * metrics['test_accuracy']:.1f} %" in capsys.readouterr().out


def test_one_run_for_each_speaker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKING_CACHE", str(tmp_path / "cache"))
    root, small = shd(tmp_path / "root")
    words = ["train", "shd", "--root", str(root), "--out", str(tmp_path / "run"), *SMALL, *small]
    assert main([*words, "--leave-out", "speaker"]) == 0
    assert sorted(path.name for path in (tmp_path / "run").glob("speaker-*")) == [f"speaker-{k}" for k in (0, 11, 3, 7)]
    assert "test_accuracy" not in json.loads((tmp_path / "run" / "metrics.json").read_text())


@pytest.mark.parametrize(
    ("preset", "column", "validates_on"),
    [
        ("shd", "speaker", "train"), ("ssc", "speaker", "valid"), ("dvsgesture", "user", "train"),
        ("shd-delays", "speaker", "train"), ("ssc-delays", "speaker", "valid"),
        ("shd-csilif", "speaker", "train"), ("ssc-csilif", "speaker", "valid"),
    ],
)
def test_the_test_recordings_choose_nothing(
    preset: str, column: str, validates_on: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKING_CACHE", str(tmp_path / "cache"))
    root, small = MADE[preset](tmp_path / "root")
    config = parse(preset, ["--data.root", str(root), *small], preset_file(preset))
    data = parser(preset, preset_file(preset)).instantiate(config).data
    data.setup()
    train, valid = data.train.metadata, data.valid.metadata
    assert set(train["split"]) == {"train"} and set(valid["split"]) == {validates_on}
    assert not set(train[column]) & set(valid[column])
    assert set(data.test.metadata["split"]) == {"test"}


@pytest.mark.parametrize(("preset", "tau", "longest"), [("shd-delays", 1.005, 24), ("ssc-delays", 1.5, 30)])
def test_published_delays(preset: str, tau: float, longest: int) -> None:
    """The neurons of Hammouamri et al., who used SpikingJelly's, and their sigma, to which their kernels add 0.27."""
    config = parse(preset, [], preset_file(preset))
    model = parser(preset, preset_file(preset)).instantiate(config).model
    hidden = model.options.pop("hidden")
    net = SpikingMLP([140, *hidden, 20], dt=config.data.dt, **model.options)
    given = like("spikingjelly", dt=10.0, tau=tau, decay_input=False, detach_reset=True)
    theirs = LIF(hidden[0], norm="batch", surrogate=arctan(5.0), **given)
    for layer in net.layers:
        assert layer.neurons.rule == theirs.rule and layer.neurons.surrogate == theirs.surrogate
        assert torch.equal(layer.neurons.tau_mem, theirs.tau_mem[: len(layer.neurons.tau_mem)])
        assert layer.neurons.norm is not None and layer.delay.max_delay == 10 * longest
    # their readout keeps 1 - 1/tau of its potential
    assert math.exp(-10 / float(net.readout.neurons.tau_mem[0])) == pytest.approx(1 - 1 / tau, abs=2e-3)
    assert model.delays.rate(10.0) == 1.0 and model.delays.anneal == 0.25
    for done, steps in ((0.0, longest // 2), (0.25, 0.23), (1.0, 0.23)):
        model.delays.narrow(net, done, 10.0)
        assert float(net.readout.delay.sigma) == pytest.approx(10 * (steps + 0.27), rel=2e-3)
