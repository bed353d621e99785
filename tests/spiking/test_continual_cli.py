"""`spiking continual` from end to end on a tiny MNIST, and what a user's mistakes come to."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from spiking.cli.jobs import Board, Steps
from spiking.cli.main import main
from spiking.plasticity.continual.methods import NAMES
from tests.datasets.mnist import as_idx
from tests.datasets.test_sources import nmnist_files

SMALL = ["--batch-size", "10", "--widths", "12", "10", "--steps", "3"]


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty training and thirty test digits, each class a bright row of its own."""
    root = tmp_path_factory.mktemp("mnist")
    rng = np.random.default_rng(0)
    for name, n in (("train", 60), ("t10k", 30)):
        labels = (np.arange(n) % 10).astype(np.uint8)
        pictures = rng.integers(0, 60, (n, 28, 28)).astype(np.uint8)
        pictures[np.arange(n), 2 * labels + 3] = 255
        (root / f"{name}-images-idx3-ubyte").write_bytes(as_idx(pictures))
        (root / f"{name}-labels-idx1-ubyte").write_bytes(as_idx(labels))
    return root


def words(mnist: Path, out: Path, *more: str, stream: str = "permuted-mnist") -> list[str]:
    tasks = [] if stream.startswith("split") else ["--tasks", "3"]
    return ["continual", stream, "--root", str(mnist), "--out", str(out), *tasks, *SMALL, *more]


def test_methods_and_seeds(mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    methods = "hlop,sequential,cumulative,ann-joint,dendrites"
    more = ["--method", methods, "--seeds", "2", "--jobs", "1", "--every", "3"]
    assert main(words(mnist, tmp_path / "run", *more)) == 0
    folder = tmp_path / "run"
    said = capsys.readouterr().out
    assert said.count("task 3/3") == 10 and said.splitlines()[-1] == str(folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert all(isinstance(value, float) for value in metrics.values())
    wanted = {
        "sequential.ACC", "sequential.ACC_ci95", "seed0.sequential.ACC", "sequential.BWT", "sequential.FWT",
        "sequential.intransigence", "ann-joint.ACC", "seed1.sequential.seconds", "hlop.stored",
    }
    assert wanted <= metrics.keys()
    assert not {"cumulative.intransigence", "ann-joint.intransigence"} & metrics.keys()
    assert np.isclose(metrics["sequential.ACC"], np.mean([metrics[f"seed{k}.sequential.ACC"] for k in (0, 1)]))
    with (folder / "R.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 2 * (3 + 1) * 3 and set(rows[0]) == {"method", "seed", "learned", "task", "accuracy"}
    last = [r for r in rows if (r["method"], r["seed"], r["learned"]) == ("sequential", "1", "3")]
    assert np.isclose(np.mean([float(r["accuracy"]) for r in last]), metrics["seed1.sequential.ACC"])
    with (folder / "inside.csv").open() as file:
        inside = list(csv.DictReader(file))
    assert {row["method"] for row in inside} == {"hlop", "sequential", "dendrites"}  # the bounds learn no task in turn
    steps = [(r["learning"], r["step"], r["task"]) for r in inside if (r["method"], r["seed"]) == ("hlop", "1")]
    assert steps == [(str(k), str(s), str(j)) for k in (1, 2, 3) for s in (3, 6) for j in range(1, k + 1)]
    for name in ("curves.png", "matrix.png", "rank.png", "inside.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG"), name
    page = (folder / "report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)|@import|url\(", page) and page.count("data:image/png;base64,") == 4
    assert ">ACC<br>(%)</th>" in page and "<br>± " in page and " ± " not in page  # so that all columns fit
    assert all(f"<td>{method}</td>" in page for method in methods.split(","))


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here to open the report")
def test_the_report_shows_its_pictures_without_a_network(mnist: Path, tmp_path: Path) -> None:
    assert main(words(mnist, tmp_path / "run", "--method", "sequential", "--seeds", "1", stream="split-mnist")) == 0
    report = tmp_path / "run" / "report.html"
    bare = without_pictures(report.read_text(), tmp_path)
    browser = str(shutil.which("chromium"))
    assert ink(browser, report, tmp_path) > 2 * ink(browser, bare, tmp_path)


def without_pictures(page: str, folder: Path) -> Path:
    path = folder / "bare.html"
    path.write_text(re.sub("<img[^>]*>", "", page))
    return path


def ink(browser: str, page: Path, folder: Path) -> float:
    """Share of a page that isn't white, in a browser without a network."""
    shot = folder / "page.png"
    how = ["--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    where = [f"--user-data-dir={folder / 'profile'}", "--window-size=1200,1600", f"--screenshot={shot}"]
    subprocess.run([browser, *how, *where, page.as_uri()], check=True, capture_output=True, timeout=60)
    return float((np.asarray(Image.open(shot).convert("L")) < 250).mean())


def test_bars_show_how_far_runs_are(capsys: pytest.CaptureFixture[str]) -> None:
    shown = io.StringIO()
    with Board(Console(file=shown, force_terminal=True, width=100)) as board:
        steps = Steps(board.take, "seed 0  hlop", 3)
        for done in range(1, 8):
            steps(1, done, 7)
        board.bars.refresh()
        board.take(("line", "task 2/3 is over"))
        board.take(("end", "seed 0  hlop"))
        assert not board.bars.tasks
    said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.getvalue())
    assert "seed 0  hlop  task 2/3" in said and "7/7 steps" in said
    assert capsys.readouterr().out == "task 2/3 is over\n"


def test_steps_are_not_told_faster_than_eyes_follow() -> None:
    told: list[tuple[Any, ...]] = []
    steps = Steps(told.append, "run", 2)
    for done in range(1, 2001):
        steps(0, done, 2000)
    assert told[0] == ("step", "run", "task 1/2", 1, 2000) and told[-1][3] == 2000 and len(told) < 100


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of another kind")
def test_an_interruption_ends_all_processes_and_says_what_goes_on(mnist: Path, tmp_path: Path) -> None:
    """Ctrl-C in a terminal, which all processes of the command hear."""
    import pty

    argv = words(mnist, tmp_path / "run", "--method", "sequential,hlop", "--jobs", "2", "--epochs", "2000")
    ours, theirs = pty.openpty()
    line = [sys.executable, "-c", "from spiking.cli.main import main; raise SystemExit(main())", *argv]
    started = subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                               env={**os.environ, "TERM": "xterm", "COLUMNS": "120"})  # fmt: skip
    os.close(theirs)
    said, until = "", time.monotonic() + 120
    while not re.search(r"hlop +task 1/3.*steps", said) and time.monotonic() < until:
        said += os.read(ours, 4096).decode(errors="replace")
    os.killpg(started.pid, signal.SIGINT)
    until, ended = time.monotonic() + 60, False
    while not ended and select.select([ours], [], [], max(0.0, until - time.monotonic()))[0]:
        try:
            said += os.read(ours, 4096).decode(errors="replace")
        except OSError:  # no process is left that could write
            ended = True
    os.close(ours)
    assert ended, said
    assert started.wait(30) == 1
    assert "interrupted" in said and f"--out {tmp_path / 'run'} --resume goes on" in said.replace("\r\n", "")
    assert "Traceback" not in said


def test_seeds_in_processes_are_those_of_one(mnist: Path, tmp_path: Path) -> None:
    for name, jobs in (("one", "1"), ("two", "2")):
        more = ["--method", "sequential", "--seeds", "2", "--jobs", jobs]
        assert main(words(mnist, tmp_path / name, *more, stream="split-mnist")) == 0
    assert (tmp_path / "one" / "R.csv").read_bytes() == (tmp_path / "two" / "R.csv").read_bytes()


def test_a_killed_run_goes_on(mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--method", "sequential", "--jobs", "1", "--epochs", "20"]
    line = [sys.executable, "-c", "from spiking.cli.main import main; raise SystemExit(main())"]
    killed = subprocess.Popen([*line, *words(mnist, tmp_path / "killed", *more)], stdout=subprocess.DEVNULL)
    checkpoint = tmp_path / "killed" / "seed0" / "sequential" / "last.pt"
    until = time.monotonic() + 90
    while not checkpoint.exists() and killed.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert checkpoint.exists()
    assert main([*words(mnist, tmp_path / "killed", *more), "--resume"]) == 0
    assert "task 1/3" not in capsys.readouterr().out
    assert main(words(mnist, tmp_path / "whole", *more)) == 0
    assert (tmp_path / "killed" / "R.csv").read_bytes() == (tmp_path / "whole" / "R.csv").read_bytes()
    capsys.readouterr()
    assert main([*words(mnist, tmp_path / "killed", *more[:-1], "9"), "--resume"]) == 1
    assert "another configuration: epochs 20, asked for 9" in capsys.readouterr().err
    assert main(words(mnist, tmp_path / "killed", *more)) == 2
    assert "isn't empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--method", "hlopp"], f"--method: expected one of {', '.join(NAMES)}, got 'hlopp'"),
        (["--method", "sequential,sequential"], "--method: expected different methods"),
        (["--seeds", "0"], "--seeds: expected at least 1, got 0"),
        (["--method", "sequential,hlop", "--set", "hlop.row=3"], "options: hlop does not take {'row': 3}"),
        (["--method", "dendrites", "--set", "dendrites.winners=3"], "winners: expected a share"),
        (["--method", "ann-dendrites"], "--method: dendrites has no spikes, so there is no ann-dendrites"),
        (["--lr", "nan"], "--lr: expected a number above 0, got nan"),
        (["--widths", "-3", "4"], "--widths: expected at least 1 each, got -3 4"),
        (["--run", "-1"], "--run: expected 0 or more, got -1"),
        (["--order", "-1"], "--order: expected 0 or more, got -1"),
        (["--setting", "class"], "--setting: permuted-mnist has no use for it; it is for split"),
        (["--dt", "3"], "--dt: permuted-mnist has no use for it; it is for nmnist"),
        (["--skip-corrupt"], "--skip-corrupt: permuted-mnist has no use for it; it is for nmnist"),
        (["--method", "ewc", "--set", "ewc.strength=[1"], "--set: ewc.strength=[1 can't be read as YAML"),
        (["--method", "hlop", "--set", "hlop.lr=-1e3"], "lr: expected a number above 0, got -1000.0"),
        (["--method", "hlop", "--set", "hlop.lr=fast"], "lr: expected a number above 0, got 'fast'"),
        (["--method", "ann-hlop", "--set", "ann-hlop.lr=-1"], "lr: expected a number above 0, got -1"),
        (["--set", "ewc=3"], "--set: expected METHOD.OPTION=VALUE"),
        (["--set", "ewc.strength=3", "--method", "sequential"], "--set: ewc is none of the methods sequential"),
        (["--method", "sequential", "--on", "valid"], "--on: the stream has no validation examples; hold some"),
        (["--method", "sequential", "--on", "train"], "--on: expected test or valid, got 'train'"),
    ],
)
def test_mistakes(
    mnist: Path, tmp_path: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(mnist, tmp_path / "run", "--jobs", "1", *more)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_recordings_that_cannot_be_read_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the option that the message names."""
    root = nmnist_files(tmp_path / "data")
    (root / "Train" / "7" / "00001.bin").write_bytes(b"1234567")
    argv = ["continual", "split-nmnist", "--classes", "10", "--root", str(root), "--method", "sequential"]
    argv += ["--jobs", "1", "--widths", "5", "--out", str(tmp_path / "run")]
    assert main(argv) == 1
    assert "Train/7/00001.bin: cut off" in (said := capsys.readouterr().err) and "--skip-corrupt" in said
    with pytest.warns(UserWarning, match=r"left out 1 of 8 recordings: Train/7/00001.bin"):
        assert main([*argv, "--skip-corrupt"]) == 0
    assert (tmp_path / "run" / "report.html").exists()


def test_mistakes_in_the_stream(mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv, status, said in (
        (["continual", "--seeds", "2", "permuted-cifar"], 2, "no stream 'permuted-cifar'; there are permuted-mnist, "),
        (words(mnist, tmp_path, "--classes", "1", stream="split-mnist"), 2, "classes: task 0 has one class, [0]"),
        (words(mnist, tmp_path, "--classes", "3", stream="split-mnist"), 2, "classes: task 3 has one class, [9]"),
        (words(mnist, tmp_path, "--tasks", "3", stream="split-mnist"), 2, "--tasks: split-mnist has as many as"),
        (words(tmp_path, tmp_path), 1, "no train-images-idx3-ubyte"),
    ):  # fmt: skip
        assert main(argv) == status
        assert said in capsys.readouterr().err
