"""The benchmark scripts run, and refuse a ratio when the two sides disagree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from spiking.datasets.nmnist_camera import NMNIST
from spiking.kernels import set_backend
from spiking.kernels.event_conv import from_torch
from spiking.kernels.spike_linear import pack
from spiking.training import Outcome
from tests.datasets import mnist, test_spoken
from tests.datasets.test_sources import nmnist_files
from tests.scripts import script
from tests.spiking.reservoir.conftest import recordings


@pytest.fixture
def sparse(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr("sys.argv", ["sparse.py", "--quick"])
    return script("sparse")


def test_sparse_agrees_with_its_peers_and_prints_times(sparse: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert sparse.main() == 0
    out = capsys.readouterr().out
    names = ("event_linear, sparse", "torch.sparse.mm, sparse synapses", "lif, dense")
    assert all(f"| {name} |" in out for name in names)
    assert "nan" not in out


def test_sparse_refuses_when_the_products_disagree(
    sparse: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    event_linear = sparse.event_linear
    monkeypatch.setattr(
        sparse, "event_linear", lambda x, w: event_linear(x, w) * (1.01 if isinstance(w, torch.Tensor) else 1.0)
    )
    assert sparse.main() == 1
    out = capsys.readouterr().out
    assert "event_linear, dense disagrees" in out and "| event_linear" not in out


@pytest.mark.parametrize("words", [[], ["--crossover"]])
def test_conv_agrees_with_conv2d_and_prints_ratios(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("SPIKING_DATA", str(tmp_path))  # without real recordings it takes simulated ones
    monkeypatch.setattr("sys.argv", ["conv.py", "--quick", "--threads", str(torch.get_num_threads()), *words])
    assert script("conv").main() == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert ("random" if words else "simulated digits, 20 ms") in last and last.count("|") == 6


def test_conv_refuses_when_the_results_differ(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conv = script("conv")
    monkeypatch.setattr("sys.argv", ["conv.py", "--quick", "--crossover", "--threads", str(torch.get_num_threads())])
    monkeypatch.setattr(conv, "from_torch", lambda weight: from_torch(weight).flip(1))
    assert conv.main() == 1
    out = capsys.readouterr().out
    assert "event_conv: off by" in out and "channels" not in out


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


@pytest.fixture
def liquid(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr("sys.argv", ["reservoir.py", "--quick"])
    return script("reservoir")


def test_reservoir_refuses_when_the_spikes_differ(
    liquid: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """NEST stands in by ourselves, so that this runs without it."""

    def stand_in(folder: Path, *cases: Any) -> Any:
        return [(liquid.ours(x, *network), 1.0) for x, *network, _, _, _ in cases]

    monkeypatch.setattr(liquid, "in_nest", stand_in)
    assert liquid.main() == 0
    out = capsys.readouterr().out
    assert "all equal to NEST's" in out and "| reservoir, float64 |" in out and "| 8.0 |" in out and "| 0.0 |" in out
    monkeypatch.setattr(liquid, "NEURON", liquid.NEURON._replace(refractory=1))
    monkeypatch.setattr(liquid, "in_nest", lambda folder, *cases: [((s[0][1:], s[1][1:]), t) for s, t in stand_in(
        folder, *cases)])  # fmt: skip
    assert liquid.main() == 1
    out = capsys.readouterr().out
    assert "the spikes differ" in out and "| reservoir" not in out


def test_reservoir_estimates_the_features_of_saccades(
    liquid: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPIKING_CACHE", str(tmp_path / "cache"))
    root = mnist.idx_files(tmp_path / "mnist")
    monkeypatch.setattr("sys.argv", ["reservoir.py", "--saccades", str(root), "--recordings", "3"])
    assert liquid.main() == 0
    assert "s for 70,000" in capsys.readouterr().out


def test_stdp_refuses_when_the_spikes_differ(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["stdp.py", "--quick"])
    learning = script("stdp")
    assert learning.main() == 0
    out = capsys.readouterr().out
    assert all(f"| {name} |" in out for name in (*learning.RULES, "`reservoir`", "`stdp` without a rule", "thresholds"))
    monkeypatch.setitem(learning.RULES, "triplets", learning.Rule(0.9, 0.0))
    assert learning.main() == 1
    out = capsys.readouterr().out
    assert "triplets: the spikes differ, no time" in out and "| pairs" not in out


def test_stdp_lets_a_liquid_learn_before_it_reads(capsys: pytest.CaptureFixture[str]) -> None:
    learning, store = script("stdp"), recordings(40)
    found = learning.accuracies([*learning.CANDIDATES], store, store, 0, 60)
    assert set(found) == set(learning.CANDIDATES) and found["plain"] > 0.8
    assert capsys.readouterr().out.count("Epoch(rate=") == len(found) - 1


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
    assert "9 simulated recordings, images 3 to 11; 3 real ones" in said and "network, test" in said
    kept = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert 0 <= kept["test_accuracy"] <= 1
    assert f"2 recordings that the camera's fit has not seen: {100 * kept['unfitted_accuracy']:.1f} %" in said

    (real / "Train" / "0" / "00001.bin").rename(real / "Train" / "0" / "00002.bin")
    (real / "Train" / "1" / "00002.bin").unlink()
    with pytest.raises(SystemExit, match="don't show MNIST's training images of their numbers"):
        transfer.main()


def test_recipes_learn_without_the_held_out_speakers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipes, runs = script("recipes"), []

    def run(model: Any, data: Any, trainer: Any, folder: Path, resume: bool) -> Any:
        runs.append((data, model.lr, trainer["max_epochs"]))
        return trained(model, data, trainer, folder, resume)

    trained = recipes.run
    monkeypatch.setattr(recipes, "run", run)
    monkeypatch.setenv("SPIKING_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "files"
    root.mkdir()
    for k, name in enumerate(test_spoken.names("abcd")):
        (root / name).write_bytes(test_spoken.wav(test_spoken.wave(k)))
    words = ["recipes.py", "--root", str(root), "--out", str(tmp_path / "out"), "--epochs", "1", "--width", "6"]
    monkeypatch.setattr("sys.argv", [*words, "--seeds", "1", "--data.steps", "20"])
    assert recipes.main() == 0
    assert [lr for _, lr, _ in runs] == [0.01, 0.005, 0.001, 0.01]
    for data, _, epochs in runs:
        heard, held = (set(store.metadata["speaker"]) for store in (data.train, data.test))
        assert len(heard) == len(held) == 2 and not heard & held and epochs == 1
        assert set(data.test.metadata["split"]) == {"train"} and data.valid is None and data.whole is data.train
    said = capsys.readouterr().out
    assert all(recipe.title in said for recipe in recipes.RECIPES.values())
    kept = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert f"| ridge regression on five time bins | {100 * kept['control_bins_accuracy']:.1f} %" in said
    assert kept["csilif.parameters"] == 140 * 6 + 6 * 6 + 2 * 4 * 6 + 6 * 2
    assert recipes.main() == 0 and len(runs) == 4  # what is done is not done again


def test_subspaces_agree_and_print_ratios(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    subspace = script("subspace")
    small = ["--rounds", "1", "--inputs", "96", "--threads", str(torch.get_num_threads())]
    monkeypatch.setattr(subspace, "TASKS", {"1": (0, 8), "2": (8, 4)})
    assert subspace.main(small) == 0
    assert capsys.readouterr().out.count("| 1 | 0 | 8 |") == 1
    monkeypatch.setattr(subspace, "AGREE", 0.0)
    assert subspace.main(small) == 1
    assert "disagree" in capsys.readouterr().out


def test_hlop_agrees_and_prints_what_it_adds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hlop = script("hlop")
    small = ["--rounds", "1", "--threads", str(torch.get_num_threads())]
    monkeypatch.setattr(hlop, "SIZES", (100, 120, 120, 10))
    monkeypatch.setattr(hlop, "published_rows", lambda layers, task: dict.fromkeys(layers, 5))
    assert hlop.main(small) == 0
    assert "| 10 | 45, 45, 45 |" in capsys.readouterr().out
    monkeypatch.setattr(hlop, "AGREE", 0.0)
    assert hlop.main(small) == 1
    assert "disagree" in capsys.readouterr().out


def test_elm_agrees_then_prints_ratios(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elm = script("elm")
    words = ["elm.py", "--steps", "9", "--long", "60", "--batch", "4", "--rounds", "1", "--newton", "50"]
    monkeypatch.setattr("sys.argv", [*words, "--out", str(tmp_path)])
    assert elm.main() == 0
    kept = json.loads((tmp_path / "metrics.json").read_text())
    assert kept["batch4.loop.ratio"] > 0 and kept["batch4.lean.ratio"] > 0
    assert kept["batch4.given back"] > 1 and 1 < kept["newton.50.iterations"] < 50

    monkeypatch.setattr(elm, "DT", 2.0)  # of the loop; the neuron brings its own
    monkeypatch.setattr(elm, "made", lambda device="cpu": elm.ELM(700, 20, memory=8))
    monkeypatch.setattr(elm, "batch", lambda T, B, device="cpu": (
        elm.Events.from_dense(x := torch.rand(T, B, 700) < 0.05, dt=1.0), x.float(), torch.randn(T, B, 20)))
    capsys.readouterr()
    assert elm.main() == 1
    out = capsys.readouterr().out
    assert "the sides disagree" in out and "loop / ours" not in out


def test_sparsey_prints_what_a_frame_costs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sparsey = script("sparsey")
    for name, small in (("SEQUENCES", 2), ("FRAMES", 3), ("REPEATS", 1)):
        monkeypatch.setattr(sparsey, name, small)
    found = sparsey.main()
    assert len(found) == 8 and all(cost >= 0 for cost in found.values())
    assert capsys.readouterr().out.count("us a frame") == 8
    nets = iter([sparsey.two_levels(), sparsey.Sparsey.from_preset("capacity")])
    monkeypatch.setattr(sparsey, "NETS", {"nets that differ": lambda: next(nets)})
    with pytest.raises(SystemExit, match="nets that differ: sequences together and one by one have other codes"):
        sparsey.main()
