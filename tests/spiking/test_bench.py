"""`spiking bench`: it compares first, refuses a ratio when the sides differ, and says what it left out."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from spiking.bench import PEERS, WORKS, measure, memory, peers
from spiking.bench import run as bench_run
from spiking.bench.compare import Agreement, agree
from spiking.bench.memory import in_fresh_process, of_side, peak
from spiking.bench.pair import Pair
from spiking.bench.report import metrics, table
from spiking.bench.timing import Times, ratios
from spiking.bench.work import problem
from spiking.cli import bench
from spiking.cli.main import main

QUICK = ["bench", "--quick", "--rounds", "2", "--threads", str(torch.get_num_threads())]
LEFT_OUT = {"lif": 0, "lif-recurrent": 0, "alif-recurrent": 3, "event_linear": 4, "delay_linear": 4, "readouts": 3}


@pytest.fixture(autouse=True)
def _installed() -> None:
    for name in PEERS:
        if peers.version(name) is None:
            pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("op", WORKS)
def test_every_peer_agrees(op: str) -> None:
    """Equal spikes and gradients between ours and each library, with each surrogate."""
    work, without = WORKS[op].quick(), 0
    for surrogate in work.surrogates:
        made = problem(work, surrogate)
        for name in PEERS:
            pair = peers.peer(name).pair(made, False)
            if pair is None:
                without += 1
                continue
            for mode, found in agree(pair, made).items():
                assert not isinstance(found, str) and found.equal, f"{name}, {mode}: {found}"
                assert found.firing > 0.005
    assert without == LEFT_OUT[op] * len(work.surrogates)


def test_the_command_prints_and_writes_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["--op", "lif", "--op", "readouts", "--surrogate", "triangle", "--against", "snntorch,torch"]
    assert main([*QUICK, *words, "--out", str(out)]) == 0
    said, kept = capsys.readouterr().out, json.loads((out / "metrics.json").read_text())
    assert f"threads {torch.get_num_threads()}" in said and "dtype float32" in said and "snntorch 1" in said
    ratio = float(re.search(r"Fastest: snntorch, Leaky; ratio ([\d.]+)\.", said)[1])
    assert kept["lif.triangle.snntorch.Leaky.ratio"] == pytest.approx(ratio, abs=0.06)
    assert kept["lif.triangle.fastest.ratio"] == kept["lif.triangle.snntorch.Leaky.ratio"]
    assert all(isinstance(value, (int, float)) for value in kept.values())
    assert "readouts.torch.loop.ratio" in kept and not any("arctan" in key for key in kept)
    results = json.loads((out / "results.json").read_text())
    assert len(results["results"][0]["rows"][0]["theirs"]["forward"]) == 2
    assert (out / "ratios.png").read_bytes().startswith(b"\x89PNG")


def test_no_ratio_when_the_sides_differ(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(peers.peer("snntorch"), "like", lambda *_, **__: {"dt": 1.0, "tau_mem": 5.0})
    assert main([*QUICK, "--op", "lif", "--surrogate", "triangle", "--against", "snntorch"]) == 1
    said = capsys.readouterr().out
    assert "the sides disagree" in said and "No ratio for snntorch: Leaky, which disagrees" in said
    assert "Fastest" not in said


def test_a_number_that_is_none_is_no_agreement() -> None:
    assert Agreement(0.0, {"W": 1e-7, "V": 1e-7}, 0.1, True).equal
    for errors in ({"W": 1e-7, "V": math.nan}, {"W": math.nan, "V": 1e-7}):
        assert not Agreement(0.0, errors, 0.1, True).equal
    assert not Agreement(math.nan, {"W": 0.0}, 0.1, True).equal


def test_a_way_that_fails_is_said_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def pair(made: Any, compiled: bool) -> Pair:
        whole = peers.peer("torch").pair(made, False)

        def broken() -> Any:
            raise RuntimeError("no compiler\nand more")

        return Pair({**whole.modes, "loop, compiled": broken}, whole.ours)

    monkeypatch.setattr(bench_run, "peer", lambda name: SimpleNamespace(pair=pair))
    lines: list[str] = []
    result = measure(
        WORKS["lif"].quick(), "triangle", ["torch"], 1, compiled=True, remember=False, device="cpu", quick=True,
        say=lines.append,
    )
    assert result.failed == {"torch: loop, compiled": "RuntimeError: no compiler"} and len(result.rows) == 1
    assert "failed: RuntimeError: no compiler" in table(result)


def test_a_library_that_is_missing_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "version", lambda name: None if name == "norse" else "1")
    assert bench._peers("norse,torch") == ["torch"]
    assert "norse: not installed, left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--op", "lstm"], "--op: there is no 'lstm'; there are lif, lif-recurrent"),
        (["--against", "snntorch,brian"], "--against: there is no 'brian'; there are snntorch"),
        (["--surrogate", "sigmoid"], "--surrogate: there is no 'sigmoid'; there are triangle, arctan"),
        (["--rounds", "0"], "--rounds: expected a number of at least 1, got 0"),
        (["--device", "tpu"], "--device: expected cpu or cuda, got 'tpu'"),
    ],
)
def test_mistakes(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_fastest_is_a_library_where_one_can_do_it() -> None:
    work = WORKS["alif-recurrent"].quick()
    result = measure(
        work, "triangle", ["sinabs", "torch"], 1, compiled=False, remember=False, device="cpu", quick=True, say=print
    )
    assert {row.peer for row in result.rows} == {"sinabs", "torch"}
    assert result.fastest is not None and result.fastest.peer == "sinabs"
    assert metrics([result])["alif-recurrent.triangle.fastest.ratio"] == result.fastest.ratio[0]


def test_ratios_are_taken_round_by_round() -> None:
    slow, fast = Times([2.0, 6.0, 3.0], [2.0, 0.0, 3.0]), Times([1.0, 1.0, 1.0], [1.0, 0.0, 0.0])
    assert ratios(slow, fast) == (6.0, 2.0, 6.0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_sees_what_is_gone_again() -> None:
    def work() -> None:
        torch.ones(8_000_000)  # 32 MB, dropped at once

    assert 30e6 < peak(work, tries=memory.TRIES) < 40e6
    assert peak(lambda: None, tries=memory.TRIES) < 2e6


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_notices_that_pages_of_files_go(monkeypatch: pytest.MonkeyPatch) -> None:
    def sizes(field: str = "VmRSS") -> float:
        return seen[field].pop(0)

    monkeypatch.setattr(memory, "resident", sizes)
    seen = {"VmRSS": [9e8, 8e8], "VmHWM": [9e8, 8.5e8], "RssFile": [5e8, 4.6e8, 4.6e8, 4.6e8]}
    assert peak(lambda: None, tries=2) == 5e7
    seen = {"VmRSS": [9e8], "VmHWM": [9e8], "RssFile": [5e8, 4.6e8]}
    with pytest.raises(memory.Disturbed, match=r"took 40\.0 MB"):
        peak(lambda: None)


@pytest.mark.parametrize("times", [2, memory.TRIES])
def test_a_disturbed_process_is_run_again(tmp_path: Path, times: int) -> None:
    code = f"""
import pathlib, spiking.bench.memory as memory
place = pathlib.Path({str(tmp_path / "runs")!r})
runs = len(place.read_text()) if place.exists() else 0
place.write_text("x" * (runs + 1))
if runs < {times}:
    raise memory.Disturbed("so many MB")
print(7)
"""
    if times == memory.TRIES:
        with pytest.raises(RuntimeError, match="Disturbed: so many MB"):
            in_fresh_process(["-c", code])
    else:
        assert in_fresh_process(["-c", code]) == 7


@pytest.mark.parametrize(("malloc", "found"), [("given back", 16384), ("as it comes", 0)])
def test_memory_is_given_back_unless_wanted_as_it_comes(
    monkeypatch: pytest.MonkeyPatch, malloc: str, found: int
) -> None:
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    code = "import os; print(os.environ.get('MALLOC_MMAP_THRESHOLD_', 0))"
    assert in_fresh_process(["-c", code], malloc) == found


def test_memory_of_a_side_comes_from_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 <= of_side("lif", "triangle", "torch", "ours", quick=True) < 50e6
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nKeyError: 'nothing'")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match="torch nothing --device cpu --quick: KeyError"):
        of_side("lif", "triangle", "torch", "nothing", quick=True)


def test_help_waits_for_no_library() -> None:
    code = "import sys; from spiking.cli import bench; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
