"""The Triton kernels of convolutions under Triton's interpreter, against the specification; see test_interpreter.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spiking.kernels.event_conv import gpu

from .conv_cases import CASES, Case, assert_close, build, run, specified
from .guard import INTERPRETED

pytestmark = INTERPRETED


def small(case: Case) -> Case:
    """A case cut to what the interpreter runs in a fraction of a second."""
    lengths = None if case.lengths is None else (2, 1)
    return replace(case, T=min(case.T, 2), B=min(case.B, 2), density=min(1.0, 2 * case.density), lengths=lengths)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case(case):
    case = small(case)
    p = build(case)
    assert_close(case, run(case, p, "triton"), specified(case, p), 1e-9)


def test_several_blocks_and_shares(monkeypatch):
    monkeypatch.setattr(gpu, "EACH", 5)
    case = Case("blocks", (3, 3), (1, 2), (1, 1), T=2, B=1, pixels=(3, 45), out=70, density=0.3)
    p = build(case)
    assert p.x.nnz > 30
    assert_close(case, run(case, p, "triton"), specified(case, p), 1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 8e-3)])
def test_narrow_storage(dtype, tolerance):
    case = Case("narrow", T=2, B=1, valued=True, density=0.3, out=20, bias=True)
    p = build(case, dtype)
    found = run(case, p, "triton")
    assert found.y.dtype == found.grad_weight.dtype == dtype
    assert_close(case, found, specified(case, p), tolerance)
    again = run(case, p, "triton")
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_events_in_any_order():
    """A row's events need not rise, and a pixel may fire twice."""
    case = Case("order", T=1, B=1, pixels=(4, 5))
    p = build(case)
    x = p.x
    index = torch.tensor([39, 3, 17, 3, 0, 22], dtype=torch.int32)
    p = p._replace(x=type(x)(torch.tensor([0, 6]), index, (1, 1, 40), 1.0, sensor=(5, 4, 2)))
    assert_close(case, run(case, p, "triton"), specified(case, p), 1e-9)


# `careful` may last over all examples: it holds no state.
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)), stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(2, 4), st.integers(2, 4)), dilation=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    pixels=st.tuples(st.integers(3, 8), st.integers(6, 9)), out=st.integers(1, 20), seed=st.integers(0, 99),
)
def test_any_sizes(kernel, stride, padding, dilation, pixels, out, seed):
    case = Case(
        "any", kernel, stride, padding, dilation, 1, 1, 2, pixels, 1 + seed % 3, out, 0.3, valued=seed % 2 == 0
    )
    p = build(case, seed=seed)
    if p.grad.numel():
        assert_close(case, run(case, p, "triton"), specified(case, p), 1e-9)
