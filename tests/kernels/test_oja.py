"""The subspace rule: backends against the specification, what it converges to, where it stops being stable."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking.events import Events
from spiking.kernels.oja import Lateral, oja, project, quantise
from spiking.kernels.oja.fold import fold, pays
from spiking.kernels.oja.project import cheaper, remaining

from .guard import poison

RULES = {
    "published": {},
    "folded": {"decay": 0.0, "clamp": None},
    "clamped": {"decay": 0.0, "clamp": 0.01},
    "quantised": {"lateral": Lateral(2.0, 40)},
}


def draw(rows: int, n: int, k: int, decay: float, seed: int = 0, dtype: torch.dtype = torch.float64):
    g = torch.Generator().manual_seed(seed)
    x, H = (torch.randn(*shape, generator=g, dtype=dtype) for shape in ((rows, n), (k, n)))
    V = torch.randn(k, n, generator=g, dtype=dtype) * 0.01 if decay else None
    return x, H / n**0.5, V


def agree(found, wanted, tolerance: float) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("frozen", [0, 3])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_numba_agrees(rule, frozen, monkeypatch):
    poison(monkeypatch)
    x, H, V = draw(7, 33, 9, rule.get("decay", 0.9))
    given = {"lr": 0.03, "frozen": frozen, **rule}
    agree(oja(x, H, V, **given), oja(x, H, V, backend="reference", **given), 1e-12)
    spikes = Events.from_dense((x.view(7, 1, 33) > 0.8).double(), 1.0, lengths=torch.tensor([6]))
    wanted = oja(spikes.to_dense(torch.float64)[:6].flatten(0, 1), H, V, backend="reference", **given)
    agree(oja(spikes, H, V, **given), wanted, 1e-12)
    agree(oja(spikes, H, V, backend="reference", **given), wanted, 1e-12)


@settings(max_examples=25, deadline=None)
@given(*(st.integers(1, most) for most in (12, 20, 9, 9, 6, 99)))
def test_folding_is_exact(rows, n, k, frozen, iterations, seed):
    x, H, _ = draw(rows, n, k, 0.0, seed)
    frozen = min(frozen, k - 1)
    rest = x - x @ H[:frozen].t() @ H[:frozen]
    wanted, _ = oja(
        x, H, lr=0.02, frozen=frozen, iterations=iterations, decay=0.0, clamp=None, backend="reference"
    )
    torch.testing.assert_close(fold(x, rest, H[frozen:], 0.02, iterations), wanted[frozen:], rtol=1e-9, atol=1e-9)


def test_folding_runs_where_it_pays():
    assert pays(64, 784, 80, 5) and not pays(64, 784, 80, 1) and not pays(5000, 784, 10, 5)


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_single_precision_and_half(decay):
    x, H, V = draw(7, 33, 9, decay)
    wanted = oja(x, H, V, lr=0.03, decay=decay, backend="reference")
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 2e-2)):
        narrow = H.to(dtype), None if V is None else V.to(dtype)
        found = oja(x, *narrow, lr=0.03, decay=decay)
        assert found[0].dtype == dtype
        agree([None if a is None else a.double() for a in found], wanted, tolerance)
        spikes = Events.from_dense((x.view(7, 1, 33) > 0.5).double(), 1.0)
        found = oja(spikes, *narrow, lr=0.03, decay=decay)
        assert found[0].dtype == dtype
        known = oja(spikes, H, V, lr=0.03, decay=decay, backend="reference")
        agree([None if a is None else a.double() for a in found], known, tolerance)


def test_nothing_to_learn_changes_nothing():
    x, H, V = draw(0, 5, 3, 0.9)
    agree(oja(x, H, V, lr=0.1), (H, V), 0)
    x, H, V = draw(4, 5, 3, 0.9)
    agree(oja(x, H, V, lr=0.1, frozen=3), (H, V), 0)


def cloud(n: int, k: int, top: float, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """(4000, n) rows whose second moment has the eigenvalues top, top * 0.7, ..., and its k principal directions."""
    g = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64))[0]
    spectrum = top * 0.7 ** torch.arange(n, dtype=torch.float64)
    left = torch.linalg.qr(torch.randn(4000, n, generator=g, dtype=torch.float64))[0] * 4000**0.5
    return left * spectrum.sqrt() @ basis.t(), basis[:, :k].t()


def test_frozen_and_new_rows_span_what_svd_finds():
    """Principal angles, residual energy within 5 % of the best, orthonormal rows, for two tasks on one layer."""
    x, _ = cloud(30, 8, 10.0)
    H = torch.linalg.qr(torch.randn(30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))[0].t()
    V = torch.zeros_like(H)
    for frozen in (0, 5):
        if frozen:
            new = torch.linalg.qr(torch.randn(30, 3, dtype=torch.float64))[0].t()
            H, V = torch.cat([H, new]), torch.cat([V, torch.zeros_like(new)])
        for batch in range(400):
            H, V = oja(x[batch % 20 :: 20], H.contiguous(), V, lr=0.1, frozen=frozen)
        best = torch.linalg.svd(x, full_matrices=False)[2][: H.shape[0]]
        assert torch.linalg.svdvals(H @ best.t()).min() > 0.98
        residual, least = (x - x @ P.t() @ P for P in (H, best))
        assert residual.square().sum() < 1.05 * least.square().sum()
        assert (H @ H.t() - torch.eye(H.shape[0])).abs().max() < 0.02


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_the_stability_bound_has_two_sides(decay):
    x, best = cloud(12, 3, 10.0)
    limit = (1 + decay) / (1 - decay) / 10.0

    def error(part: float) -> float:
        H = best + 1e-4 * torch.randn(3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        V = torch.zeros_like(H) if decay else None
        for _ in range(400):
            H, V = oja(x, H, V, lr=part * limit, iterations=1, decay=decay)
        return float((H @ H.t() - torch.eye(3)).abs().max())

    assert error(0.97) < 1e-4
    assert not error(1.03) < 1e-2


def test_quantised_neurons_have_that_many_levels():
    y = torch.linspace(-30, 30, 9999)
    said = quantise(y, Lateral(20.0, 40))
    assert said.unique().numel() == 81 and float(said.max()) == 20.0
    assert float((said - y.clamp(-20, 20)).abs().max()) <= 0.25 + 1e-5


@pytest.mark.parametrize("k", [0, 3, 8])
def test_projection_has_two_equal_forms(k):
    H = torch.linalg.qr(torch.randn(10, 10, dtype=torch.float64))[0][:k]
    x, g = torch.randn(20, 10, dtype=torch.float64), torch.randn(20, 4, dtype=torch.float64)
    G = g.t() @ x
    wanted = G - G @ H.t() @ H
    assert remaining(H).shape == (10 - k, 10)
    for Q in (None, remaining(H)):
        torch.testing.assert_close(project(G, H, Q), wanted)
        torch.testing.assert_close(project(G.t(), H, Q, axis=0), wanted.t())
        torch.testing.assert_close(g.t() @ project(x, H, Q), wanted)
    assert cheaper(20, 4) == "gradient" and cheaper(3, 4) == "activity"


def test_bad_input():
    x, H, V = draw(4, 5, 3, 0.9)
    for change, words in (
        ({"x": x[:, :4]}, r"x: expected rows \(R, 5\)"), ({"weight": H[0]}, "weight: expected"),
        ({"velocity": None}, "velocity: expected a tensor"), ({"velocity": V[:1]}, "velocity: expected"),
        ({"frozen": 4}, "frozen: expected 0 to 3"), ({"decay": 1.0}, "decay: expected"),
        ({"lr": math.nan}, "lr: expected a finite step above 0, got nan"),
        ({"iterations": 0}, "iterations: expected 1"),
        ({"lateral": (20.0, 0)}, r"lateral: expected .* got \(20.0, 0\)"),
        ({"lateral": 3}, "lateral: expected .* got 3"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            oja(**{"x": x, "weight": H, "velocity": V, "lr": 0.1, **change})
    with pytest.raises(TypeError, match="x: expected Events or a tensor"):
        oja([1.0], H, V, lr=0.1)
    with pytest.raises(ValueError, match="x: expected 5 inputs on axis -1"):
        project(torch.zeros(5, 3), H)
    with pytest.raises(ValueError, match="axis: expected"):
        project(torch.zeros(5, 3), H, axis=1)


@pytest.mark.parametrize("momentum", [True, False])
def test_opcheck(momentum):
    V = torch.zeros(3, 4) if momentum else None
    torch.library.opcheck(
        torch.ops.spiking.oja_step, (torch.ones(3, 4), V, torch.ones(3, 4), 0.1, 0.5, 0.9, 10.0, "numba")
    )
