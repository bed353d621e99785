"""`spiking sdr` from end to end, small, and what a user's mistakes come to."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from spiking.cli.main import main
from spiking.cli.sdr import PARTS, SEGMENTS
from spiking.plasticity.memory import curves as memories
from spiking.plasticity.sdr import curves as segments
from spiking.plots import Panel, theory

SMALL = ["--pairs", "5000", "--scale", "0.01"]


def test_all_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sdr", "--out", str(tmp_path / "run"), *SMALL]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[1:-1]] == list(PARTS) and said[-1] == str(tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert all(isinstance(value, (int, float)) and math.isfinite(value) for value in metrics.values())
    assert metrics["threshold.least"] == 8 and 3.33e-8 < metrics["threshold.median_8"] < 3.34e-8
    assert abs(metrics["multitasking.kink"] - 0.618034) < 1e-6
    assert abs(metrics["multitasking.measured_kink"] - 0.618) < 0.08
    assert abs(metrics["hopfield.capacity"] - 0.1379) < 1e-4
    with (tmp_path / "run" / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["figure"] for row in rows} == set(PARTS)
    noise = [row for row in rows if row["figure"] == "noise" and math.isfinite(float(row["measured"]))]
    assert all(abs(float(row["measured"]) - float(row["theory"])) < 0.04 for row in noise) and len(noise) > 20
    for name in ("sdr.png", "memory.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")


def test_one_part_repeats_itself(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert main(["sdr", "stored", "--out", str(tmp_path / name), "--seed", "3", *SMALL]) == 0
    assert (tmp_path / "one" / "curves.csv").read_bytes() == (tmp_path / "two" / "curves.csv").read_bytes()
    assert not (tmp_path / "one" / "memory.png").exists()


def test_an_interrupted_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, asked = tmp_path / "run", ["sdr", "stored", "noise", *SMALL]
    assert main([*asked, "--out", str(tmp_path / "whole")]) == 0

    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    real = segments.FIGURES["stored"]
    monkeypatch.setitem(segments.FIGURES, "stored", stop)
    assert main([*asked, "--out", str(out)]) == 1
    assert f"--out {out} --resume goes on" in capsys.readouterr().err
    monkeypatch.setitem(segments.FIGURES, "stored", real)
    monkeypatch.setitem(segments.FIGURES, "noise", stop)  # is there already
    assert main([*asked, "--out", str(out)]) == 2
    assert "isn't empty" in capsys.readouterr().err
    assert main([*asked, "--out", str(out), "--resume", "--seed", "4"]) == 2
    assert "has seed 0, not 4" in capsys.readouterr().err
    assert main([*asked, "--out", str(out), "--resume"]) == 0
    assert (out / "curves.csv").read_bytes() == (tmp_path / "whole" / "curves.csv").read_bytes()
    (out / "pieces.json").write_text("no")
    assert main([*asked, "--out", str(out), "--resume"]) == 1
    assert "not what an interrupted run left" in capsys.readouterr().err


def test_every_part_has_a_figure() -> None:
    assert {*segments.FIGURES, *memories.FIGURES} == set(PARTS) and set(SEGMENTS) == set(segments.FIGURES)


def test_lines_are_theory_and_dots_are_measured() -> None:
    curve = segments.stored(5000, 0)[0]
    chart = theory([(Panel("a title", "x", "y", log=True, marks={3: "here"}), [curve])], across=3)
    (axes,) = chart.axes
    assert axes.get_yscale() == "log" and axes.get_title() == "a title"
    drawn = [list(line.get_ydata()) for line in axes.lines]
    assert curve.theory in drawn and curve.published in drawn
    seen = [m for m in curve.measured if m > 0]
    assert seen in drawn and len(seen) < len(curve.theory)
    chart.canvas.draw()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cell"], "no part 'cell'; there are cells, synapses"),
        (["--pairs", "10"], "--pairs: expected at least 1000, got 10"),
        (["--seed", "-1"], "--seed: expected 0 or more, got -1"),
        (["--scale", "0"], "--scale: expected above 0, at most 10, got 0.0"),
    ],
)
def test_mistakes(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sdr", *words, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "run").exists()
