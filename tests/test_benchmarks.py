"""The benchmark scripts run, and refuse a ratio when the two sides disagree."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from spiking.datasets.nmnist_camera import NMNIST
from spiking.kernels import set_backend
from spiking.kernels.spike_linear import pack
from spiking.training import Outcome
from tests.datasets import mnist
from tests.datasets.test_sources import nmnist_files


def script(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def neurons(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr("sys.argv", ["neurons.py", "--quick", "--threads", str(torch.get_num_threads())])
    return script("neurons")


def test_neurons_agrees_with_snntorch_and_prints_ratios(
    neurons: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert neurons.main() == 0
    out = capsys.readouterr().out
    assert "load average" in out
    assert "| lif, weights inside |" in out


def test_neurons_refuses_when_the_layers_disagree(
    neurons: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(neurons, "TAU", 5.0)
    assert neurons.main() == 1
    out = capsys.readouterr().out
    assert "disagree" in out
    assert "ratio (median" not in out


@pytest.fixture
def recurrent(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr("sys.argv", ["recurrent.py", "--quick", "--threads", str(torch.get_num_threads())])
    return script("recurrent")


def test_recurrent_agrees_with_its_peers_and_prints_ratios(
    recurrent: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recurrent.main() == 0
    out = capsys.readouterr().out
    assert "| snntorch RLeaky |" in out
    assert all(f"| {kind}, {name}, forward" in out for kind in ("LIF", "ALIF") for name in ("triangle", "arctan"))


def test_recurrent_refuses_when_the_layers_disagree(
    recurrent: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recurrent, "TAU", 5.0)
    assert recurrent.main() == 1
    out = capsys.readouterr().out
    assert "disagree" in out
    assert "ratio (median" not in out


@pytest.fixture
def spikes(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr("sys.argv", ["spike_linear.py", "--quick", "--threads", str(torch.get_num_threads())])
    yield script("spike_linear")
    torch.set_grad_enabled(True)


def test_spike_linear_prints_the_curve_over_the_silent_share(
    spikes: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert spikes.main() == 0
    out = capsys.readouterr().out
    assert [line.split("|")[2].strip() for line in out.splitlines() if line.startswith("| 1 |")] == [
        "0%", "15%", "30%", "50%", "70%", "90%"
    ]  # fmt: skip
    assert "load average" in out and "| 8 | 15% |" in out


def test_spike_linear_refuses_when_the_layers_disagree(
    spikes: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spikes, "pack", lambda weight: pack(weight, bits=2))
    assert spikes.main() == 1
    out = capsys.readouterr().out
    assert "disagree" in out and "| 1 |" not in out


def test_gpu_recurrent_compares_first(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The loop is the neuron that the op is, on a CPU too; its timing needs a GPU."""
    recurrent = script("gpu_recurrent")
    surrogates = [recurrent.resolve(name) for name in recurrent.SURROGATES]
    with set_backend("reference"):
        assert all([recurrent.agree(9, 3, 20, surrogate, "cpu") for surrogate in surrogates])
        current, weights, _ = recurrent.problem(50, 10, 30, 0.1, "cpu", torch.float32)
        fired, active = recurrent.shares(current, weights, surrogates[0])
        assert fired == pytest.approx(0.1, rel=0.02) and 0.1 < active < 0.9
        monkeypatch.setattr(recurrent, "TAU", 5.0)
        assert not recurrent.agree(9, 3, 20, surrogates[0], "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu_recurrent.py"])
    assert recurrent.main() == 1
    assert capsys.readouterr().out.endswith("no GPU here\n")


def test_nmnist_folds_takes_every_override_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folds, runs = script("nmnist_folds"), []

    def run(model: Any, data: Any, trainer: Any, folder: Path, resume: bool) -> Any:
        runs.append((model.rates, data.augment, len(data.train), len(data.test), data.valid, trainer["max_epochs"]))
        if len(runs) == 2:  # Ctrl-C in the second fold
            (folder / "metrics.json").write_text('{"interrupted": 1}')
            return Outcome({}, interrupted=True)
        return trained(model, data, trainer, folder, resume)

    trained = folds.run
    monkeypatch.setattr(folds, "run", run)
    monkeypatch.setenv("SPIKING_CACHE", str(tmp_path / "cache"))
    root, out = nmnist_files(tmp_path / "data"), tmp_path / "out"
    overrides = [
        "--trainer.max_epochs", "1", "--model.rates.lower_strength", "0.25", "--model.rates.lower", "3",
        "--data.augment.shift", "1", "--model.options.channels", "[2, 2]", "--model.options.hidden", "[4]",
    ]  # fmt: skip
    words = ["nmnist_folds.py", "--root", str(root), "--out", str(out), "--folds", "2", *overrides]
    monkeypatch.setattr("sys.argv", words)
    folds.main()
    assert "interrupted in fold 1" in capsys.readouterr().out and not (out / "metrics.json").exists()
    folds.main()
    assert len(runs) == 3
    for rates, augment, train, test, valid, epochs in runs:
        assert (rates.lower_strength, rates.lower, augment.shift, valid, epochs) == (0.25, 3.0, 1, None, 1)
        assert train + test == 8 and 3 <= test <= 5
    metrics = json.loads((out / "metrics.json").read_text())
    for key in folds.NAMES:
        assert metrics[key] == pytest.approx((metrics[f"fold0.{key}"] + metrics[f"fold1.{key}"]) / 2)
    said = capsys.readouterr().out
    assert all(f"mean of 2 folds, {name}" in said for name in folds.NAMES.values()) and said.split()[-1] == str(out)


def test_saccades_to_real_leaves_the_real_images_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    transfer, runs = script("saccades_to_real"), []

    def run(model: Any, data: Any, trainer: Any, folder: Path, resume: bool) -> Any:
        runs.append(data)
        return trained(model, data, trainer, folder, resume)

    trained = transfer.run
    monkeypatch.setattr(transfer, "run", run)
    monkeypatch.setenv("SPIKING_CACHE", str(tmp_path / "cache"))
    real = mnist.nmnist_files(tmp_path / "real", NMNIST.record(mnist.images(mnist.TRAIN, 0)[:3], seed=1))
    overrides = ["--trainer.max_epochs", "1", "--model.options.channels", "[2, 2]", "--model.options.hidden", "[4]"]
    files = ["--real", str(real), "--images", str(mnist.idx_files(tmp_path / "files"))]
    monkeypatch.setattr(transfer, "FITTED", 1)
    words = ["saccades_to_real.py", *files, "--take", "9", "--out", str(tmp_path / "out"), *overrides]
    monkeypatch.setattr("sys.argv", words)
    transfer.main()
    (data,) = runs
    seen = [*data.train.metadata["image"], *data.valid.metadata["image"]]
    assert sorted(seen) == list(range(3, 12)) and len(data.valid) == 1
    assert [str(name) for name in data.test.metadata["name"]] == [f"Train/{i}/{i + 1:05d}.bin" for i in range(3)]
    said = capsys.readouterr().out
    assert "9 simulated recordings, images 3 to 11; 3 real ones" in said and "spiking network, test" in said
    kept = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert 0 <= kept["test_accuracy"] <= 1
    assert f"2 recordings that the camera's fit has not seen: {100 * kept['unfitted_accuracy']:.1f} %" in said

    (real / "Train" / "0" / "00001.bin").rename(real / "Train" / "0" / "00002.bin")
    (real / "Train" / "1" / "00002.bin").unlink()
    with pytest.raises(SystemExit, match="don't show MNIST's training images of their numbers"):
        transfer.main()
