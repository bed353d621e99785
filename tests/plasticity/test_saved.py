"""Projection of what layers save: the same gradients as projecting them, and nothing that slips past."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from spiking.plasticity import GPM, HLOP, Method
from spiking.plasticity.continual.models import CurrentMLP

SIZES, NAMES = (20, 32, 32, 4), ("layers.0", "layers.1", "readout")


def hlop(model: nn.Module) -> Method:
    return HLOP(model, dict.fromkeys(NAMES, 6), seed=1)


def gpm(model: nn.Module) -> Method:
    return GPM(model, list(NAMES), threshold=0.8)


def images(seed: int, samples: int = 5) -> Tensor:
    return torch.randn(samples, 20, generator=torch.Generator().manual_seed(seed))


def second_task(make: Callable[[nn.Module], Method], dtype: torch.dtype = torch.float64) -> tuple[CurrentMLP, Method]:
    torch.manual_seed(0)
    model = CurrentMLP(SIZES, steps=4).to(dtype)
    method = make(model)
    for seed in range(20):
        model(images(seed).to(dtype))
        method.learn()
    method.next_task([(images(30, 40).to(dtype), torch.zeros(40))])
    return model, method


def gradients(
    model: nn.Module, method: Method, x: Tensor, observed: bool, penalty: Callable[[nn.Module], Tensor] | None = None
) -> list[Tensor]:
    model.zero_grad()
    if observed:
        method.observe(x, torch.zeros(len(x)))
    loss = model(x).square().sum()
    (loss if penalty is None else loss + penalty(model)).backward()
    method.project()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("make", [hlop, gpm])
@pytest.mark.parametrize("samples", [1, 5, 40])
def test_saved_activity_gives_the_projected_gradient(make, samples):
    """40 samples are more rows than outputs in all layers, 1 and 5 are fewer in some."""
    model, method = second_task(make)
    x = images(99, samples).double()
    saved, afterwards = (gradients(model, method, x, observed) for observed in (True, False))
    for a, b in zip(saved, afterwards, strict=True):
        assert a.norm() > 0
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12 * float(b.norm()))


def test_single_precision_counts_as_orthogonal():
    """In float32 no gradient is projected a second time: what rounding leaves is below what `spared` allows."""
    model, method = second_task(hlop, torch.float32)
    assert isinstance(method, HLOP) and method.saved is not None
    gradients(model, method, images(99), True)
    weight = model.layers[1].weight
    assert weight.grad is not None and method.saved.rest["layers.1"]
    assert method.saved.spared("layers.1", weight.grad, -1)
    assert not method.saved.spared("layers.1", weight.grad + 1e-3 * weight.detach(), -1)


def test_a_penalty_on_weights_is_projected_too():
    model, method = second_task(hlop)
    x = images(99).double()

    def decay(model: nn.Module) -> Tensor:
        return 1e-4 * torch.stack([p.square().sum() for p in model.parameters()]).sum()

    saved, afterwards = (gradients(model, method, x, observed, decay) for observed in (True, False))
    for a, b in zip(saved, afterwards, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12 * float(b.norm()))


def test_several_calls_before_a_step():
    """Gradients add up over calls, of which one has more rows than the layer has outputs."""
    model, method = second_task(hlop)
    found = []
    for observed in (True, False):
        model.zero_grad()
        for samples in (5, 40, 3):
            x = images(samples, samples).double()
            if observed:
                method.observe(x, torch.zeros(samples))
            model(x).square().sum().backward()
        method.project()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12 * float(b.norm()))


def test_new_rows_learn_the_same_from_what_was_saved():
    x = images(99).double()
    rows = []
    for observed in (True, False):
        model, method = second_task(hlop)
        assert isinstance(method, HLOP)
        before = {name: H.clone() for name, H in method.weight.items()}
        gradients(model, method, x, observed)
        method.learn()
        rows.append(method.weight)
    for name in NAMES[1:]:  # the new rows of the first span all that is left
        torch.testing.assert_close(rows[0][name], rows[1][name], rtol=0, atol=1e-12)
        assert (rows[0][name] - before[name]).abs().max() > 1e-4


def test_a_step_without_observe_learns_from_its_own_activity():
    """What an earlier, observed step has saved is not taken for this one's."""
    rows = []
    for observed in (True, False):
        model, method = second_task(hlop)
        assert isinstance(method, HLOP)
        gradients(model, method, images(99).double(), observed)
        method.learn()
        gradients(model, method, images(7).double(), False)
        method.learn()
        rows.append(method.weight)
    for name in NAMES:
        torch.testing.assert_close(rows[0][name], rows[1][name], rtol=0, atol=1e-12)


def test_only_between_observe_and_project():
    """A model that is trained on without its method, and a copy of it, have their own gradients."""
    model, method = second_task(hlop)
    assert isinstance(method, HLOP)
    x = images(99).double()
    free = [torch.autograd.grad(copy.deepcopy(model)(x).square().sum(), model.parameters(), allow_unused=True)]
    assert free[0][0] is None  # the copy's gradients are its own
    gradients(model, method, x, True)
    model.zero_grad()
    model(x).square().sum().backward()
    weight, H = model.layers[0].weight, method.basis["layers.0"]
    assert weight.grad is not None and (weight.grad @ H.t()).norm() > 1e-3 * weight.grad.norm()


def test_an_error_inside_a_layer_leaves_nothing_open(monkeypatch):
    model, method = second_task(hlop)
    assert isinstance(method, HLOP) and method.saved is not None

    def fail(x: Tensor) -> Tensor:
        raise RuntimeError("inside")

    monkeypatch.setattr(model.layers[0], "forward", fail)
    method.observe(images(99), torch.zeros(5))
    with pytest.raises(RuntimeError, match="inside"):
        model(images(99).double())
    assert method.saved.rest["layers.0"]
    model.layers[1](torch.zeros(5, 32, dtype=torch.float64))  # the next layer's own hooks open and close
    a = torch.randn(3, requires_grad=True)
    node = (a * a).grad_fn
    assert node is not None and node._saved_self is a  # what a hook left open has packed would be another tensor


def test_automatic_mixed_precision_projects_gradients():
    model, method = second_task(hlop, torch.float32)
    assert isinstance(method, HLOP) and method.saved is not None
    method.observe(images(99), torch.zeros(5))
    with torch.autocast("cpu", torch.bfloat16):
        model.layers[0](images(99)).float().square().sum().backward()
    assert not method.saved.rest["layers.0"]
    method.project()
    grad, H = model.layers[0].weight.grad, method.basis["layers.0"]
    assert grad is not None and (grad @ H.t()).norm() < 1e-5 * grad.norm()
