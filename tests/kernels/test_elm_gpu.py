"""The kernels of ELM neurons on a real GPU, against the specification on the CPU; see test_gpu.py."""

from __future__ import annotations

import pytest
import torch

from .elm_cases import CASES, Case, assert_close, build, run, specified
from .guard import poison

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
@pytest.mark.parametrize("solver", ["serial", "newton"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case(case, solver, dtype, tolerance, monkeypatch):
    wanted = specified(case, build(case, dtype))
    poison(monkeypatch)
    found = run(case, build(case, dtype, "cuda"), "triton", solver)
    assert_close(case, {name: x.cpu() for name, x in found.items()}, wanted, tolerance)


def test_sizes_of_a_published_neuron():
    """700 inputs, 100 units: gradients within a relative root mean square of 1e-3, the same bits each time."""
    case = Case("real", T=100, B=64, inputs=700, hidden=200, units=100, density=0.015)
    p = build(case, torch.float32, "cuda")
    found, wanted = run(case, p, "triton"), specified(case, build(case, torch.float32))
    for name, b in wanted.items():
        a = found[name].cpu().double()
        assert float((a - b).square().mean().sqrt()) <= 1e-3 * float(b.square().mean().sqrt()), name
    for _ in range(5):
        again = run(case, p, "triton")
        assert all(torch.equal(found[name], again[name]) for name in found)
