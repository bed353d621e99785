"""The benchmark scripts run, and refuse a ratio when the two sides disagree."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture
def neurons(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "neurons.py"
    spec = importlib.util.spec_from_file_location("benchmark_neurons", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr("sys.argv", ["neurons.py", "--quick", "--threads", str(torch.get_num_threads())])
    return module


def test_neurons_agrees_with_snntorch_and_prints_ratios(
    neurons: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert neurons.main() == 0
    out = capsys.readouterr().out
    assert "load average" in out
    assert "| lif, weights inside |" in out


def test_neurons_refuses_when_the_layers_disagree(
    neurons: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(neurons, "TAU", 5.0)
    assert neurons.main() == 1
    out = capsys.readouterr().out
    assert "disagree" in out
    assert "ratio (median" not in out
