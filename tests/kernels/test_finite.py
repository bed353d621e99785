"""NaN and infinity are named with their place: weights and parameters always, everything else on demand."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from spiking import Events
from spiking.kernels import Adaptation, LIFState, delay_linear, event_linear, lif
from spiking.kernels.finite import demand
from spiking.networks import SpikingConvNet, SpikingMLP

NAN, INF = float("nan"), float("inf")
BACKENDS = pytest.mark.parametrize("backend", ["numba", "reference"])


def batch() -> Events:
    return Events.from_dense(torch.rand(20, 3, 30, generator=torch.Generator().manual_seed(0)) < 0.1, 1.0)


def matrix(rows: int = 30, columns: int = 12) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(1))


def with_one(x: Tensor, value: float, *place: int) -> Tensor:
    x = x.clone()
    x[place] = value
    return x


@BACKENDS
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_weight_that_is_not_finite_is_an_error_before_the_kernel(backend: str, value: float) -> None:
    bad, small = with_one(matrix(), value, 3, 5), with_one(matrix(12), value, 1, 2)
    delays = torch.zeros(30, 12)
    message = rf"^weight: expected finite numbers, got {value:g} at input 3, neuron 5 \(first of 1\)$"
    for x in (batch(), batch().to_dense()):
        dt = None if isinstance(x, Events) else 1.0
        for call in (
            lambda x=x: event_linear(x, bad, backend), lambda x=x, dt=dt: lif(x, weight=bad, dt=dt, backend=backend),
        ):
            with pytest.raises(ValueError, match=message):
                call()
        with pytest.raises(ValueError, match=r"^recurrent: expected finite numbers, got .* at input 1, neuron 2"):
            lif(x, weight=matrix(), recurrent=small, dt=dt, backend=backend)
        with pytest.raises(ValueError, match=r"^weight: expected finite numbers"):
            delay_linear(x, bad, delays, 3, backend=backend)


@BACKENDS
@pytest.mark.parametrize(("options", "message"), [
    ({"bias": NAN}, "bias: expected finite numbers, got nan at neuron 0"),
    ({"threshold": NAN}, "threshold: expected finite"), ({"threshold": -INF}, "threshold: expected finite"),
    ({"tau_mem": NAN}, "tau_mem: expected times above 0 ms"), ({"tau_syn": -2.0}, "tau_syn: expected times above 0 ms"),
    ({"strength": INF}, "adaptation.strength: expected finite"), ({"tau": -1.0}, "adaptation.tau: expected times"),
])
def test_a_parameter_that_is_not_finite_is_named(backend: str, options: dict[str, float], message: str) -> None:
    given: dict[str, Any] = {name: torch.full((12,), value) for name, value in options.items()}
    slow = {name: given.pop(name) for name in ("strength", "tau") if name in given}
    with pytest.raises(ValueError, match=f"^{message}"):
        lif(batch(), weight=matrix(), adaptation=Adaptation("threshold", **slow) if slow else None, backend=backend,
            **given)


def test_infinite_thresholds_and_large_weights_pass() -> None:
    lif(batch(), weight=matrix(), threshold=INF)
    lif(batch(), weight=torch.full((30, 12), 3e38))
    demand("x", torch.full((1000,), 6e4, dtype=torch.float16))


@BACKENDS
@pytest.mark.parametrize("lengths", [[1, -2, 3], [1, 2, 21]])
def test_lengths_outside_the_recording_are_an_error(backend: str, lengths: list[int]) -> None:
    with pytest.raises(ValueError, match=rf"^lengths: expected 0 to 20 steps, got {re.escape(str(lengths))}"):
        lif(batch().to_dense(), weight=matrix(), dt=1.0, lengths=torch.tensor(lengths), backend=backend)


@BACKENDS
def test_check_finite_names_the_first_step(backend: str) -> None:
    x, weight = with_one(batch().to_dense(), NAN, 4, 1, 7), matrix()
    options: dict[str, Any] = {"backend": backend, "check_finite": True}
    at = r"^x: expected finite numbers, got nan at step 4, sample 1, input 7 \(first of 1\)"
    for call in (lambda: lif(x, weight=weight, dt=1.0, **options), lambda: event_linear(x, weight, **options),
                 lambda: delay_linear(x, weight, torch.zeros(30), 3, **options)):
        with pytest.raises(ValueError, match=at):
            call()
    zero = torch.zeros(3, 12)
    with pytest.raises(ValueError, match=r"^state.current: expected finite numbers, got inf at sample 2, neuron 5"):
        lif(batch(), LIFState(zero, with_one(zero, INF, 2, 5), zero, zero, zero), weight=weight, **options)
    events = Events(torch.tensor([0, 0, 0, 2]), torch.tensor([4, 4]), (3, 1, 30), 1.0)
    with pytest.raises(FloatingPointError, match=r"^membrane: .*, got inf at step 2, sample 0, neuron 1"):
        lif(events, weight=with_one(weight, 3e38, 4, 1), **options)
    with pytest.raises(FloatingPointError, match=r"^output: .*, got inf at step 2, sample 0, neuron 1"):
        event_linear(events, with_one(weight, 3e38, 4, 1), **options)


@BACKENDS
def test_check_finite_names_gradients(backend: str) -> None:
    weight = matrix().requires_grad_()
    spikes, _ = lif(batch(), weight=weight, backend=backend, check_finite=True)
    with pytest.raises(FloatingPointError, match=r"^gradient of spikes: .*, got nan at step 7, sample 2, neuron 1"):
        spikes.backward(with_one(torch.ones_like(spikes), NAN, 7, 2, 1))
    out = event_linear(batch(), weight, backend, check_finite=True)
    with pytest.raises(FloatingPointError, match=r"^gradient of weight: .* at input"):
        out.backward(torch.full_like(out, 3e38))


def test_check_finite_changes_nothing_else() -> None:
    found = []
    for check in (False, True):
        weight, recurrent = matrix().requires_grad_(), (matrix(12) * 0.1).requires_grad_()
        spikes, state = lif(batch(), weight=weight, recurrent=recurrent, check_finite=check)
        slopes = torch.autograd.grad(spikes.sum() + state.membrane.sum(), (weight, recurrent))
        found.append([spikes, *state, *slopes])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("options", [{}, {"delays": 5.0}])
def test_networks_name_the_layer(options: dict[str, Any]) -> None:
    net = SpikingMLP([30, 12, 8, 5], dt=1.0, check_finite=True, **options).init_(50.0)
    net(batch())
    assert net.readout.delay.check_finite if options.get("delays") else net.readout.check_finite
    for k, layer in enumerate([*net.layers, net.readout]):  # all hidden neurons spike at once, more than float32 holds
        (layer.delay if options else layer).weight.data.fill_(10.0 if k < 2 else 3e38)
    with pytest.raises(FloatingPointError, match=r"^readout: (output|membrane): .*, got inf at step"):
        net(Events.from_dense(torch.ones(20, 3, 30), 1.0))
    conv = SpikingConvNet((6, 6, 2), (3,), 4, check_finite=True, dt=1.0).init_(50.0)
    assert conv.readout.check_finite and conv.layers[0].neurons.check_finite
