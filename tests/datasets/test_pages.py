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


def test_benchmark_loading_compares_before_it_measures() -> None:
    pytest.importorskip("tonic")
    benchmark = module("benchmarks/loading.py")
    result = benchmark.seconds_per_batch(lambda: 2, repeats=3)
    assert len(result) == 3 and all(seconds >= 0 for seconds in result)
