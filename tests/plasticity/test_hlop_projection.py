"""Projected gradients: on every kind of layer, in both forms, and what would undo them."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

from spiking.kernels import Lateral
from spiking.kernels.oja import quantise
from spiking.networks import SpikingConvNet, SpikingMLP
from spiking.neurons import LIF
from spiking.plasticity import GPM, HLOP, OWM, logits
from spiking.plasticity.projection.guarantee import ProjectionWarning
from spiking.plasticity.projection.rows import complement


def test_old_outputs_of_a_layer_stay():
    """With all of its inputs inside the rows, a layer's outputs for old inputs do not move."""
    torch.manual_seed(0)
    basis = torch.randn(3, 20)
    model = nn.Linear(20, 4, bias=False)
    hlop = HLOP(model, {"": 3})
    for _ in range(300):
        model(torch.randn(16, 3) @ basis)
        hlop.learn()
    hlop.next_task()
    x = torch.randn(16, 3) @ basis
    before = model(x).detach()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(16, 20)).square().sum().backward()
        hlop.project()
        optimizer.step()
    assert (model(x) - before).abs().max() < 0.02 * before.abs().max()
    assert (model.weight.detach() @ hlop.basis[""].t()).abs().max() > 0.1


@pytest.mark.parametrize("lateral", [None, Lateral(2.0, 10)])
def test_our_layers_and_torchs_project_alike(lateral):
    """LIF with weights (in, out), and nn.Linear (out, in) before LIF without: equal weights, equal gradients."""
    torch.manual_seed(1)
    ours = LIF(20, 6, dt=1.0)
    linear, neurons = nn.Linear(20, 6, bias=False), LIF(6, dt=1.0)
    with torch.no_grad():
        ours.weight.mul_(5)
        linear.weight.copy_(ours.weight.t())
    x = (torch.rand(7, 5, 20) < 0.4).float()
    grads = []
    for layer, run in ((ours, lambda x: ours(x)), (linear, lambda x: neurons(linear(x)))):
        form = "activity" if lateral else "gradient"
        hlop = HLOP(layer, {"": 6}, seed=3, lateral=lateral, form=form, trace="steps")
        run(x)
        hlop.learn()
        hlop.next_task()
        run(x)[0].square().sum().backward()
        free = layer.weight.grad.clone()
        hlop.project()
        grads.append(layer.weight.grad if layer is ours else layer.weight.grad.t())
        assert (free - layer.weight.grad).abs().max() > 0.01 * free.abs().max()
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)


LAYERS = {
    "linear": (lambda: nn.Linear(12, 5), (9, 12)),
    "conv1": (lambda: nn.Conv1d(3, 5, 4, stride=2, padding=1), (2, 3, 9)),
    "conv2": (lambda: nn.Conv2d(3, 5, (3, 2), stride=(2, 1), padding=1, dilation=(1, 2)), (2, 3, 9, 8)),
    "conv3": (lambda: nn.Conv3d(2, 5, 3, padding="same"), (2, 2, 3, 4, 3)),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_both_forms_are_equal_for_linear_neurons_only(make):
    build, shape = make
    found = {}
    for label, form, lateral in (
        ("gradient", "gradient", None), ("activity", "activity", None), ("coarse", "activity", Lateral(4.0, 4)),
    ):  # fmt: skip
        torch.manual_seed(2)
        layer, x = build().double(), torch.randn(*shape, dtype=torch.float64)
        hlop = HLOP(layer, {"": 4}, form=form, lateral=lateral, time_first=False)
        layer(x)
        hlop.learn()
        hlop.next_task()
        hlop.keep("", complement(torch.randn(4, hlop.basis[""].shape[1], dtype=torch.float64), hlop.basis[""][:0]))
        layer(x).sin().sum().backward()
        free, H = layer.weight.grad.flatten(1).clone(), hlop.basis[""]
        hlop.project()
        found[label] = layer.weight.grad.flatten(1)
        if label == "coarse":  # the published definition, from rows of activity and the gradient of each output
            rows = hlop.sites[""].rows(x)
            g = layer(x).detach().cos().movedim(1, -1).reshape(-1, 5)
            y = quantise(rows @ H.t(), lateral)
            torch.testing.assert_close(g.t() @ rows, free)
            torch.testing.assert_close(found[label], g.t() @ (rows - y @ H))
    torch.testing.assert_close(found["gradient"], found["activity"])
    assert (found["coarse"] - found["gradient"]).norm() > 1e-3 * free.norm()


@pytest.mark.parametrize(("levels", "wanted"), [(1000, 0.004), (40, 0.097)])
def test_quantised_neurons_differ_as_in_the_published_code(levels, wanted):
    """For S = 20 the two forms of a convolution differ by 0.4 % at T_l = 1000 and 9.7 % at T_l = 40.

    Rounding adds to each of k activities an error of S / T_l / sqrt(12). So for inputs of variance 1 the difference is
    S / T_l sqrt(k / 12 / (n - k)) of the projected gradient, and these figures belong to 31 % of n directions.
    """
    torch.manual_seed(0)
    layer, x = nn.Conv2d(6, 8, 3, bias=False).double(), torch.randn(8, 6, 18, 18, dtype=torch.float64)
    n = 54
    H = complement(torch.randn(17, n, dtype=torch.float64), torch.zeros(0, n, dtype=torch.float64))
    grads = []
    for form, lateral in (("gradient", None), ("activity", None), ("activity", Lateral(20.0, levels))):
        layer.zero_grad()
        copy_ = copy.deepcopy(layer)
        hlop = HLOP(copy_, {"": 17}, form=form, lateral=lateral)
        hlop.task = 1
        hlop.keep("", H)
        g = torch.Generator().manual_seed(1)
        out = copy_(x)
        (out * torch.randn(out.shape, generator=g, dtype=torch.float64)).sum().backward()
        hlop.project()
        grads.append(copy_.weight.grad)
    gradient, activity, spiking = grads
    torch.testing.assert_close(gradient, activity, rtol=1e-9, atol=1e-9)
    found = float((spiking - gradient).norm() / gradient.norm())
    assert found == pytest.approx(20 / levels * (17 / 12 / (n - 17)) ** 0.5, rel=0.15)
    assert found == pytest.approx(wanted, rel=0.15)


def test_other_parameters_stay_after_the_first_task():
    model = nn.Sequential(nn.Linear(20, 6), nn.ReLU(), nn.Linear(6, 3))
    hlop = HLOP(model, {"0": 3}, time_first=False)
    for task in (0, 1):
        model(torch.randn(4, 20)).sum().backward()
        hlop.project()
        assert (model[0].bias.grad is None) == (task == 1)
        assert model[2].bias.grad is not None
        hlop.learn()
        hlop.next_task()


def normal_nets():
    yield nn.Sequential(nn.Linear(20, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 4)), ("0", "3")
    yield SpikingMLP([20, 12, 4], norm="batch", dt=1.0), ("layers.0", "readout")
    yield SpikingConvNet((2, 5, 2), (3,), 4, hidden=(6,), dt=1.0), ("layers.0", "readout")


@pytest.mark.parametrize("case", range(3))
@pytest.mark.parametrize("kind", ["hlop", "gpm", "owm"])
def test_batch_normalisation_stays_after_the_first_task(kind, case):
    torch.manual_seed(0)
    net, names = list(normal_nets())[case]
    norms = [m for m in net.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    assert norms
    x = torch.rand(5, 6, 20).round() if case else torch.randn(6, 20)
    forward = logits(net)
    made = {
        "hlop": lambda: HLOP(net, dict.fromkeys(names, 2)), "owm": lambda: OWM(net, names),
        "gpm": lambda: GPM(net, names, batch_axis=min(case, 1)),
    }  # fmt: skip
    method = made[kind]()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    seen = []
    for task in range(2):
        seen.append([(m.running_mean.clone(), m.running_var.clone(), m.weight.detach().clone()) for m in norms])
        for step in range(3):
            net.train()
            optimizer.zero_grad()
            forward(x + 0.1 * step).square().sum().backward()
            assert all(m.training == (not task) for m in norms)
            method.project()
            optimizer.step()
            method.learn()
        if not task:
            method.next_task(batches=[(x, torch.zeros(6))])
    seen.append([(m.running_mean.clone(), m.running_var.clone(), m.weight.detach().clone()) for m in norms])
    before, after, last = seen
    assert not torch.equal(before[0][0], after[0][0])  # the first task moves them
    for kept, still in zip(after, last, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(kept, still, strict=True))


def test_batch_normalisation_without_statistics_is_named():
    net = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=False))
    with pytest.warns(ProjectionWarning, match="1: has no running statistics to keep"):
        HLOP(net, {"0": 2})
    loose = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))
    hlop = HLOP(loose, {"0": 2}, fix_vectors=False)
    hlop.task = 1
    loose(torch.randn(4, 6))
    assert loose[1].training  # as one asked for


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: torch.optim.Adam(p, lr=0.1), "scale every weight"),
        (lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1), "weight decay"),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "momentum still holds"),
        (lambda p: torch.optim.SGD(p, lr=0.1), None),
    ],
)
def test_an_optimiser_that_undoes_the_projection_is_named_once(make, words):
    model = nn.Linear(6, 2)
    hlop = HLOP(model, {"": 2})
    optimizer = make(model.parameters())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(6):
            model(torch.randn(4, 6)).sum().backward()
            hlop.project()
            optimizer.step()
            hlop.learn()
            if step == 2:
                assert not caught
                hlop.next_task()
    assert [w.category for w in caught] == ([ProjectionWarning] if words else [])
    assert not words or words in str(caught[0].message)
