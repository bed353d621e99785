"""The strongest segment: backends against the specification, forward and both gradients."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking.kernels.dendrites import strongest

from .guard import bounds, poison

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
SIZES = [(5, 7, 3, 33), (1, 1, 1, 1), (18, 3, 2, 70), (0, 4, 2, 5), (3, 4, 2, 130)]


def run(B: int, units: int, J: int, n: int, backend: str | None, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    c, u, weight = (torch.randn(*s, generator=g, dtype=torch.float64) for s in ((B, n), (units, J, n), (B, units)))
    c.requires_grad_(), u.requires_grad_()
    d = strongest(c, u, backend)
    return d, *torch.autograd.grad(d, (c, u), weight)


def agree(found, wanted) -> None:
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sizes", SIZES)
def test_numba_agrees(sizes, monkeypatch):
    wanted = run(*sizes, "reference")
    poison(monkeypatch)
    agree(run(*sizes, "numba"), wanted)


@settings(max_examples=20, deadline=None)
@given(*(st.integers(1, most) for most in (6, 9, 5, 40, 99)))
def test_any_sizes(B, units, J, n, seed):
    agree(run(B, units, J, n, "numba", seed), run(B, units, J, n, "reference", seed))


@pytest.mark.interpreter
@pytest.mark.skipif(not INTERPRETED, reason="needs a process of its own: TRITON_INTERPRET=1 pytest -m interpreter")
@pytest.mark.parametrize("sizes", SIZES)
def test_triton_agrees(sizes, monkeypatch):
    wanted = run(*sizes, "reference")
    poison(monkeypatch)
    with bounds():
        agree(run(*sizes, "triton"), wanted)


def test_the_sign_is_kept_and_the_first_of_equals_chosen():
    u = torch.tensor([[[1.0, 0.0], [-3.0, 0.0], [3.0, 0.0]]], requires_grad=True)
    d = strongest(torch.tensor([[1.0, 5.0]]), u)
    assert d.tolist() == [[-3.0]]
    d.sum().backward()
    assert u.grad.tolist() == [[[0.0, 0.0], [1.0, 5.0], [0.0, 0.0]]]


def test_opcheck():
    c, u = torch.randn(3, 4, requires_grad=True), torch.randn(2, 3, 4, requires_grad=True)
    torch.library.opcheck(torch.ops.spiking.strongest, (c, u, "numba"))


def test_bad_input():
    u = torch.zeros(2, 3, 4)
    for c, segments, words in (
        (torch.zeros(5), u, r"context: expected \(B, 4\)"), (torch.zeros(5, 3), u, r"context: expected \(B, 4\)"),
        (torch.zeros(5, 4), u[0], "segments: expected"), (torch.zeros(5, 4), u[:, :0], "segments: expected"),
        (torch.zeros(5, 4), u.bfloat16(), "segments: expected"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            strongest(c, segments)
