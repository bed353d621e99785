"""Oja, Sanger and Foldiak against the eigenvectors of their inputs."""

from __future__ import annotations

import pytest
import torch

from spiking.events import Events
from spiking.kernels.oja import moment
from spiking.plasticity.hebbian import Foldiak, OjaPCA, Sanger


def cloud() -> tuple[torch.Tensor, torch.Tensor]:
    """(2000, 12) rows and their principal directions, best first."""
    g = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(12, 12, generator=g))[0]
    x = torch.randn(2000, 12, generator=g) * 0.65 ** torch.arange(12.0) @ basis.t()
    return x, torch.linalg.svd(x, full_matrices=False)[2]


def train(rule: OjaPCA) -> OjaPCA:
    x, _ = cloud()
    for step in range(6000):
        rule.learn(x[step % 4 :: 4])
    return rule


def test_oja_finds_the_subspace():
    rule, (_, axes) = train(OjaPCA(12, 4, 0.2)), cloud()
    assert torch.linalg.svdvals(rule.weight @ axes[:4].t()).min() > 0.999
    assert (rule.weight @ rule.weight.t() - torch.eye(4)).abs().max() < 0.01


def test_one_neuron_finds_the_first_direction():
    rule, (_, axes) = train(OjaPCA(12, 1, 0.2)), cloud()
    assert abs(float(rule.weight[0] @ axes[0])) > 0.999


def test_sanger_finds_the_directions_in_order():
    rule, (_, axes) = train(Sanger(12, 4, 0.2)), cloud()
    assert torch.einsum("kn,kn->k", rule.weight, axes[:4]).abs().min() > 0.99


def test_foldiak_decorrelates_and_finds_the_subspace():
    rule, (x, axes) = train(Foldiak(12, 3, 0.02)), cloud()
    y = rule.respond(x)
    power = y.t() @ y / len(x)
    scale = power.diagonal().sqrt()
    assert (power / scale / scale[:, None] - torch.eye(3)).abs().max() < 0.02
    F = torch.linalg.qr(rule._settled().t())[0].t()
    assert torch.linalg.svdvals(F @ axes[:3].t()).min() > 0.99
    assert not rule.lateral.diagonal().any()
    torch.testing.assert_close(y, x @ rule.weight.t() + y @ rule.lateral.t())


@pytest.mark.parametrize("kind", [OjaPCA, Sanger, Foldiak])
def test_events_teach_what_their_rows_do(kind):
    x = (torch.rand(6, 4, 12) < 0.2).float()
    spikes = Events.from_dense(x, 1.0)
    a, b = kind(12, 3, 0.1, iterations=2), kind(12, 3, 0.1, iterations=2)
    a.learn(spikes), b.learn(x.flatten(0, 1))
    torch.testing.assert_close(a.weight, b.weight)
    torch.testing.assert_close(a.respond(spikes).flatten(0, 1), b.respond(x.flatten(0, 1)))
    columns = torch.randn(12, 2)
    rows = x.flatten(0, 1)
    torch.testing.assert_close(moment(spikes, columns), rows.t() @ (rows @ columns) / 24)
    with pytest.raises(ValueError, match="neurons: expected 1 to 12"):
        kind(12, 13)
    with pytest.raises(ValueError, match="lr: expected"):
        kind(12, 3, 0.0)


@pytest.mark.parametrize("kind", [OjaPCA, Sanger, Foldiak])
def test_a_rule_that_diverges_says_so_and_keeps_what_it_had(kind):
    rule, (x, _) = kind(12, 3, 30.0), cloud()
    with pytest.raises(FloatingPointError, match=rf"{kind.__name__}: the weights diverge; lr=30 times"):
        for _ in range(200):
            rule.learn(x)
    assert rule.respond(x).isfinite().all()


@pytest.mark.parametrize("lr", [0.0, float("nan"), float("inf")])
def test_a_step_that_is_none(lr):
    with pytest.raises(ValueError, match="lr: expected a finite step above 0, got"):
        OjaPCA(4, 2, lr)
