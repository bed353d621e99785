"""`spiking reservoir` from end to end on tiny recordings, and what a user's mistakes come to."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from spiking.cli.main import main
from spiking.reservoir import Ensemble
from spiking.reservoir import lsm as liquids


def words(recordings: Path, out: Path, *more: str) -> list[str]:
    return ["reservoir", "nalsm", "--data", f"folder:{recordings}", "--out", str(out), "--neurons", "40", *more]


FIXED = ("--gain", "1", "--input-gain", "6", "--bins", "2")


def test_a_run(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert main(words(recordings, folder, "--rate", "30", "--drive", "20", "--seeds", "2", "--ensemble", "2")) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == str(folder)
    assert "control: ridge regression on five time bins" in said and "test accuracy" in said
    metrics = json.loads((folder / "metrics.json").read_text())
    assert all(isinstance(value, (int, float)) for value in metrics.values())
    wanted = {
        "test_accuracy", "test_accuracy_ci95", "seed1.test_accuracy", "control_counts_accuracy", "gain", "input_gain",
        "control_bins_accuracy", "control_same_accuracy", "rate_hz", "seconds_features", "seconds", "separation",
    }  # fmt: skip
    assert wanted <= metrics.keys() and metrics["test_accuracy"] > 0.8 and metrics["neurons"] == 80
    for name in ("raster.png", "degrees.png", "branching.png", "separation.png", "confusion.png"):
        assert (folder / "seed1" / name).read_bytes().startswith(b"\x89PNG"), name
    assert len(Ensemble.open(folder / "seed1" / "liquid.json").members) == 2


def test_folds_and_sweep(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    more = ("--folds", "2", "--pool", "2", "--sweep", "both", "--neurons", "4", "--gains", "0", "0.4", "1.5")
    assert main(words(recordings, folder, *FIXED, *more)) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test_accuracy"] == pytest.approx(np.mean([metrics[f"fold{k}.test_accuracy"] for k in (0, 1)]))
    with (folder / "fold1" / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["gain"]) for row in rows] == [0, 0.4, 1.5] and "kernel_quality" in rows[0]
    assert float(rows[0]["silent"]) == 1 and float(rows[0]["rate_hz"]) == 0 and float(rows[2]["silent"]) < 1
    assert (folder / "fold1" / "sweep.png").stat().st_size > 10_000
    assert capsys.readouterr().out.count("test accuracy") == 2


def test_ctrl_c_leaves_what_is_known(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped in the second batch of recordings: the first one's features, the liquid and the numbers stay."""
    monkeypatch.setattr(liquids, "BATCH", 10)
    whole, calls = liquids.LSM._count, []

    def count(self: liquids.LSM, *given: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(self, *given)

    monkeypatch.setattr(liquids.LSM, "_count", count)
    folder = tmp_path / "run"
    assert main(words(recordings, folder, *FIXED)) == 1
    said = capsys.readouterr().out
    assert "interrupted (after recording 10 of 24" in said and said.splitlines()[-1] == str(folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["interrupted"] == 1 and metrics["rate_hz"] > 0 and "test_accuracy" not in metrics
    assert np.load(folder / "features.npy").shape == (10, 80)
    assert Ensemble.open(folder / "liquid.json").members[0].size == 40


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--bins", "0"], "--bins: expected at least 1, got 0"),
        (["--folds", "1"], "--folds: expected 0 or at least 2, got 1"),
        (["--rate", "5", "--branching", "1"], "--branching, --rate: expected one target, got both"),
        (["--gains", "1", *FIXED], "--gains: these are of --sweep"),
        (["--sweep", "gain", "--neurons", "20", *FIXED], "--sweep: expected at least 40 training recordings beside"),
        (["--gains", "-1", "--sweep", "gain", *FIXED], "--gains: expected factors of at least 0, got -1"),
        (["--set", "colour"], "--set: expected FIELD=VALUE"),
        (["--set", "colour=red"], "colour: no option of a liquid and no field of a preset"),
        (["--set", "tau_mem=[-1, 5]"], "tau_mem: expected a time constant above 0 ms, got -1"),
        (["--set", "C=[2, 0, 0, 0]"], "C EE: expected a probability, 0 to 1, got 2"),
        (["--set", "tau_mem=20"], "tau_mem: expected two finite numbers, such as [1.0, 2.0], got 20"),
        (["--dt", "5"], "delay EE: expected 1 to 255 steps of 5 ms, got 1.0 ms"),
        (["--parts", "days", *FIXED], "parts: expected one of recording, time, got 'days'"),
        (["--readout", "forest", *FIXED], "readout: expected one of ridge, logistic, sgd, got 'forest'"),
        (["--rate", "9000", "--drive", "20"], "to 64 gives 9000 Hz; nearest is"),
        (["--input-gain", "-1", "--gain", "1"], "input_gain: expected a factor of at least 0, got -1.0"),
    ],
)
def test_mistakes(
    recordings: Path, tmp_path: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(recordings, tmp_path / "run", *more)) == 2
    assert said in capsys.readouterr().err


def test_recordings_that_cannot_be_read_are_left_out(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the option that the message names."""
    root = tmp_path / "root"
    shutil.copytree(recordings, root)
    (root / "left" / "03.npz").write_bytes(b"PK")
    argv = words(root, tmp_path / "run", *FIXED, "--neurons", "10")
    assert main(argv) == 1
    assert "left/03.npz" in (said := capsys.readouterr().err) and "--skip-corrupt" in said
    with pytest.warns(UserWarning, match=r"left out 1 of 30 recordings: left/03.npz"):
        assert main([*argv, "--skip-corrupt"]) == 0
    both = [word for side in ("--images", "--sounds") for word in (side, f"folder:{root}")]
    pairs = ["reservoir", "zeroshot", *both, "--neurons", "10", "--out", str(tmp_path / "pairs")]
    assert main(pairs) == 1 and "left/03.npz" in capsys.readouterr().err
    assert main([*pairs, "--skip-corrupt"]) == 2  # on to the liquid, which is too small to be calibrated
    assert "branching: no gain" in capsys.readouterr().err


def test_mistakes_in_the_preset_and_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv, status, said in (
        (["reservoir", "water"], 2, "no preset 'water'; there are maass2002, nalsm"),
        (["reservoir", "nalsm", "--data", f"folder:{tmp_path}"], 1, "no recordings"),
        (["reservoir", "nalsm", "--data", "sand"], 1, "no data set 'sand'"),
    ):
        assert main(argv) == status
        assert said in capsys.readouterr().err
    assert main(["reservoir", "--help"]) == 0 and "Presets: maass2002" in capsys.readouterr().out
