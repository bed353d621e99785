"""The Triton kernels of delays under Triton's interpreter, against the specification; test_interpreter.py says how."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .delay_cases import CASES, Case, assert_close, build, run, specified
from .guard import INTERPRETED

pytestmark = INTERPRETED


def small(case: Case) -> Case:
    """A case cut to what the interpreter runs in a second, with kernels as wide against the positions as before."""
    lengths = None if case.lengths is None else (5, 2)
    sizes = {"T": min(case.T, 5), "B": min(case.B, 2), "inputs": min(case.inputs, 4), "out": min(case.out, 33)}
    return replace(case, **sizes, last=min(case.last, 15), density=max(case.density, 0.3), lengths=lengths)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case(case):
    case = small(case)
    p = build(case)
    assert_close(case, run(case, p, "triton"), specified(case, p), 1e-9)


def test_three_blocks_of_columns():
    case = Case("blocks", sigma=0.37, T=2, B=1, inputs=3, out=301, last=15, density=0.5)
    p = build(case)
    assert_close(case, run(case, p, "triton"), specified(case, p), 1e-9)


def test_more_events_than_are_summed_at_once():
    case = Case("many", T=2, B=1, inputs=40, out=16, last=2, density=0.9, valued=True)
    p = build(case)
    assert_close(case, run(case, p, "triton"), specified(case, p), 1e-9)


def test_single_precision():
    case = Case("single", sigma=0.37, T=5, B=2, inputs=4, out=20, last=15, density=0.4)
    p = build(case, torch.float32)
    found = run(case, p, "triton")
    assert found.y.dtype == torch.float32
    assert_close(case, found, specified(case, p), 1e-5)
    again = run(case, p, "triton")
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


# `careful` may last over all examples: it holds no state.
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 5), st.integers(0, 2), st.integers(1, 4), st.integers(1, 40), st.integers(0, 16),
    st.sampled_from([0.0, 0.3, 2.0]), st.booleans(), st.booleans(), st.integers(0, 99),
)
def test_any_sizes(T, B, inputs, out, last, sigma, rounded, axonal, seed):
    case = Case("any", sigma, rounded, axonal, T, B, inputs, out, last, 0.4, valued=seed % 2 == 0)
    p = build(case, seed=seed)
    assert_close(case, run(case, p, "triton"), specified(case, p), 1e-9)
