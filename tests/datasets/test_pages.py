"""The page about data sets and the benchmark of loading run."""

from __future__ import annotations

import importlib.util
import json
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


def test_benchmark_loading_prints_what_it_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = module("benchmarks/loading.py")
    tonic = benchmark.tonic_loader
    monkeypatch.setattr(benchmark, "tonic_loader", lambda *sizes, workers: tonic(*sizes, workers=0))
    result = benchmark.measure(recordings=3, repeats=1)
    assert result["speedup"] == pytest.approx(
        min(result["tonic.median"], result["tonic_2_workers.median"]) / result["ours.median"]
    )
    monkeypatch.setattr(benchmark, "measure", lambda recordings, repeats: dict(result))
    monkeypatch.setattr("sys.argv", ["loading.py", "--augmented", "5", "--repeats", "1", "--out", str(tmp_path)])
    benchmark.main()
    said, kept = capsys.readouterr().out, json.loads((tmp_path / "metrics.json").read_text())
    assert "5 recordings as the preset shd bins them" in said and "everything" in said
    assert all(kept[f"{way}.min.recordings_per_second"] > 0 for way in ("plain", "preset", "everything"))


def test_benchmark_loading_refuses_other_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = module("benchmarks/loading.py")
    read = benchmark.shd.read
    monkeypatch.setattr(benchmark.shd, "read", lambda path: read(path).select([1, 0, 2]))
    with pytest.raises(SystemExit, match="the frames differ: no timings"):
        benchmark.measure(recordings=3, repeats=1)
