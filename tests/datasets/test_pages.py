"""The page about data sets and the benchmark of loading run."""

from __future__ import annotations

import importlib.util
import re
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


def test_the_page_runs() -> None:
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "datasets.md").read_text(), re.DOTALL):
        exec(compile(code, "docs/datasets.md", "exec"), names)
    assert len(names["own"]) == 2 and len(names["store"]) == 3


def test_benchmark_loading_compares_before_it_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = module("benchmarks/loading.py")
    tonic, read = benchmark.tonic_loader, benchmark.shd.read
    monkeypatch.setattr(benchmark, "tonic_loader", lambda folder, workers: tonic(folder, 0))
    result = benchmark.measure(recordings=3, repeats=1)
    assert result["speedup"] == pytest.approx(
        min(result["tonic.median"], result["tonic_2_workers.median"]) / result["ours.median"]
    )
    monkeypatch.setattr(benchmark.shd, "read", lambda path: read(path).select([1, 0, 2]))
    with pytest.raises(SystemExit, match="the frames differ: no timings"):
        benchmark.measure(recordings=3, repeats=1)
