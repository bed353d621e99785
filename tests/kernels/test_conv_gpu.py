"""The kernels of convolutions on a real GPU, against the specification on the CPU; see test_gpu.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from .conv_cases import CASES, Case, Result, assert_close, build, run, specified
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


@pytest.mark.parametrize(("out", "kernel", "stride"), [(16, 5, 2), (32, 3, 1)])
def test_sizes_of_real_networks(out, kernel, stride):
    """The first layer for N-MNIST: gradients within a relative root mean square of 1e-3."""
    pair = (kernel // 2,) * 2
    case = Case("real", (kernel,) * 2, (stride,) * 2, pair, T=60, B=16, pixels=(34, 34), out=out, density=0.02)
    found, wanted = on_gpu(case, torch.float32), specified(case, build(case, torch.float32))
    for name in ("y", "grad_weight"):
        a, b = getattr(found, name).double(), getattr(wanted, name)
        assert float((a - b).square().mean().sqrt()) <= 1e-3 * float(b.square().mean().sqrt()), name


def test_ten_runs_give_the_same_bits():
    case = replace(CASES[0], T=40, B=16, pixels=(34, 34), out=33)
    p = build(case, torch.float32, "cuda")
    runs = [run(case, p, "triton") for _ in range(10)]
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))
