"""The page and the example on neurons of one's own."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import torch

from spiking.init import poisson

T, B, IN, N = 40, 3, 12, 7
ROOT = Path(__file__).parents[2]


def test_the_page_on_own_neurons_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "own_neuron.md").read_text()
    assert len(page.splitlines()) <= 45
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(code) == 1
    exec(compile(code[0], "own_neuron.md", "exec"), {"__name__": "page"})
    printed = capsys.readouterr().out
    assert printed.startswith("Tired(20, 16, tau_mem=20 ms, tau_rest=100 ms, effort=0.5") and "tensor([" in printed


def test_the_example_of_an_own_neuron_goes_on_where_it_stopped() -> None:
    names = runpy.run_path(str(ROOT / "examples" / "own_neuron.py"))
    layer = names["QIF"](IN, N, dt=2.0)
    x = poisson(80.0, 2.0, T, B, IN)
    whole, _ = layer(x)
    first, state = layer(x[:9])
    assert torch.equal(whole, torch.cat([first, layer(x[9:], state)[0]])) and whole.sum() > 0
