"""The kernels of delays on a real GPU, against the specification on the CPU; see test_gpu.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from spiking.kernels import delay_linear

from .delay_cases import CASES, Case, Result, assert_close, build, run, specified
from .guard import poison

pytestmark = pytest.mark.gpu


def on_gpu(case: Case, dtype: torch.dtype) -> Result:
    return Result(*(x.cpu() for x in run(case, build(case, dtype, "cuda"), "triton")))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case(case, dtype, tolerance, monkeypatch):
    wanted = specified(case, build(case, dtype))
    poison(monkeypatch)
    assert_close(case, on_gpu(case, dtype), wanted, tolerance)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 12.0])
@pytest.mark.parametrize("axonal", [False, True])
def test_sizes_of_real_networks(sigma, axonal):
    """The first layer of the network for spoken digits: gradients within a relative root mean square of 1e-3."""
    case = Case("real", sigma, axonal=axonal, T=100, B=64, inputs=140, out=256, last=25, density=0.015)
    found, wanted = on_gpu(case, torch.float32), specified(case, build(case, torch.float32))
    for name in Result._fields:
        a, b = getattr(found, name).double(), getattr(wanted, name)
        if b.numel():
            assert float((a - b).square().mean().sqrt()) <= 1e-3 * float(b.square().mean().sqrt()), name


@pytest.mark.parametrize("case", [c for c in CASES if c.name in ("several_blocks", "axonal_several_blocks", "dense")])
def test_ten_runs_give_the_same_bits(case):
    case = replace(case, T=63, B=40)
    p = build(case, torch.float32, "cuda")
    runs = [run(case, p, "triton") for _ in range(10)]
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


def test_a_wrong_delay_is_named_there_too():
    x, weight = torch.zeros(20, 3, 6, device="cuda"), torch.ones(6, 5, device="cuda")
    with pytest.raises(ValueError, match="delay: expected finite numbers of steps"):
        delay_linear(x, weight, torch.full((6, 5), torch.nan, device="cuda"), 9)
    with pytest.raises(ValueError, match="delay: expected a tensor on cuda:0"):
        delay_linear(x, weight, torch.ones(6, 5), 9)
