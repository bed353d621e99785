"""The examples and the page about data sets run as they stand."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def module(path: str) -> ModuleType:
    """A script of the repository, imported."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_the_page_runs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKING_CACHE", str(cache))
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "datasets.md").read_text(), re.DOTALL):
        exec(compile(code, "docs/datasets.md", "exec"), names)
    assert len(names["own"]) == 2 and len(names["store"]) == 3


def test_example_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["camera.py", "--out", str(tmp_path)])
    module("examples/camera.py").main()
    assert (tmp_path / "camera.png").stat().st_size > 10_000
    assert re.match(r"\d{4} events in 480 ms", capsys.readouterr().out)


def test_example_own_recordings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    example = module("examples/own_recordings.py")
    monkeypatch.setattr(example, "RECORDINGS", 10)
    monkeypatch.setattr(example, "EPOCHS", 1)
    monkeypatch.setattr(sys, "argv", ["own_recordings.py"])
    example.main()
    assert re.search(r"test accuracy \d\.\d{3}", capsys.readouterr().out)


def test_benchmark_loading_compares_before_it_measures() -> None:
    pytest.importorskip("tonic")
    benchmark = module("benchmarks/loading.py")
    result = benchmark.seconds_per_batch(lambda: 2, repeats=3)
    assert len(result) == 3 and all(seconds >= 0 for seconds in result)
