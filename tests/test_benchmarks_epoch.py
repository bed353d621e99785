"""The benchmarks of an epoch, its memory and growth run, and compare before they time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scripts import script


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts import each other from their own folder, as they do when run."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))


def test_epoch_compares_then_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    epoch = script("epoch")
    tonic = epoch.tonic_loader
    monkeypatch.setattr(epoch, "tonic_loader", lambda *sizes, workers, **more: tonic(*sizes, workers=0, **more))
    monkeypatch.setattr(epoch, "BATCH", 4)
    monkeypatch.setattr("sys.argv", ["epoch.py", "--recordings", "6", "--batches", "1", "--out", str(tmp_path)])
    assert epoch.main() == 0
    out, kept = capsys.readouterr().out, json.loads((tmp_path / "metrics.json").read_text())
    assert "frames equal" in out and "extrapolated from 1 batches" in out
    assert all(kept[f"{neuron}.ratio"] > 0 for neuron in ("lif", "alif"))
    assert kept["lif.ratio_with_converting"] < kept["lif.ratio"]

    monkeypatch.setattr(epoch, "like", lambda *_, **__: {"tau_mem": 77.0})
    assert epoch.main() == 1
    assert "the sides disagree" in capsys.readouterr().out


@pytest.mark.usefixtures("beside")
def test_memory_measures_each_side_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = script("memory")
    monkeypatch.setattr(memory, "SIDES", ("snntorch", "alif"))
    monkeypatch.setattr("sys.argv", ["memory.py", "--batch", "64", "--out", str(tmp_path)])
    assert memory.main() == 0
    kept = json.loads((tmp_path / "metrics.json").read_text())
    assert "| ours, recurrent alif |" in capsys.readouterr().out
    # 64 recordings, 100 steps, 128 neurons in float32 are 3.3 MB; autograd keeps several of them, in two layers
    alive = kept["given back"]
    assert 6 * 3.3e6 < alive["snntorch"] < 12 * 3.3e6
    assert alive["alif"] < alive["snntorch"]


def test_growth_fits_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth = script("growth")
    words = ["growth.py", "--most", "3e4", "--points", "2", "--rounds", "1", "--threads", "1", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", words)
    assert growth.main() == 0
    kept = json.loads((tmp_path / "growth.json").read_text())
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    for series in ("recordings", "steps", "density"):
        assert [point["events"] for point in kept["points"][series]] == pytest.approx([1e4, 3e4], rel=0.05)
    n = [1e6, 2e6, 4e6]
    rows = [{"events": each, "seconds": 1e-3 + 1e-8 * each, "bytes": 5e6 + 30 * each} for each in n]
    fits = growth.fitted("steps", rows)
    assert fits["ns_an_event"] == pytest.approx(10) and fits["bytes_an_event"] == pytest.approx(30)
    assert fits["ms_fixed"] == pytest.approx(1) and 0.9 < fits["time_exponent"] < 1
