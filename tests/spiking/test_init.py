"""Fluctuation-driven initialisation: the discrete formula against simulation, and networks that start alive."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from spiking import Events
from spiking.datasets import load
from spiking.init import filter_energy, fluctuation_driven_, poisson, weight_std
from spiking.kernels import set_backend
from spiking.networks import SpikingConvNet, SpikingMLP
from spiking.neurons import ALIF, LI, LIF, AdLIF, CSiLIF, CubaLIF, Layer, SEAdLIF, SiLIF


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    torch.manual_seed(0)
    with set_backend("reference"):
        yield


def silent(layer: Layer) -> Layer:
    """The same layer with a threshold out of reach: only its filter is left."""
    if not isinstance(layer, LI):
        layer.threshold = 1e9
    return layer


@pytest.mark.parametrize(
    "layer",
    [
        LIF(1, 1), LIF(1, 1, input_scale="one"), CubaLIF(1, 1, tau_mem=20.0, tau_syn=20.0), LI(1, 1, tau_mem=50.0),
        CubaLIF(1, 1, tau_syn=5.0, current="previous"), LIF(1, 1, decay="euler", dt=2.0), ALIF(1, 1),
        AdLIF(1, 1, a=0.5, b=1.0, tau_mem=10.0, tau_adapt=30.0),
        SEAdLIF(1, 1, a=0.5, b=1.0, tau_mem=40.0, tau_adapt=240.0),
        SEAdLIF(1, 1, a=0.2, b=1.0, tau_mem=60.0, tau_adapt=240.0, coupling="euler"),
        SiLIF(1, 1, a=0.5, b=1.0, tau_mem=40.0, tau_adapt=240.0), CSiLIF(1, 1, tau_mem=40.0),
        CSiLIF(1, 1, tau_mem=40.0, frequency=125.0), CSiLIF(1, 1, tau_mem=80.0, frequency=3.0, input_scale="decay"),
    ],
    ids=repr,
)
def test_energy_is_that_of_the_impulse_response(layer: Layer) -> None:
    layer = layer.double()
    energy = filter_energy(layer, 2.0)
    torch.nn.init.ones_(layer.weight)
    impulse = torch.zeros(1500, 1, 1, dtype=torch.float64)
    impulse[0] = 1.0
    output, _ = silent(layer)(impulse, dt=2.0, **({} if isinstance(layer, LI) else {"trace": True}))
    membrane = output if isinstance(output, torch.Tensor) else output[1]
    torch.testing.assert_close(energy, membrane.square().sum((0, 1)).detach(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("tau", "dt"), [(1000.0, 0.1), (20.0, 1.0), (2.0, 5.0)])
def test_energy_is_the_formula_of_the_docstring(tau: float, dt: float) -> None:
    a, c = math.exp(-dt / tau), math.exp(-dt / 5.0)
    energy = (1 - a) ** 2 / (1 - a**2)
    lif, cuba = LIF(1, 1, tau_mem=tau).double(), CubaLIF(1, 1, tau_mem=tau, tau_syn=5.0).double()
    assert filter_energy(lif, dt).item() == pytest.approx(energy, rel=1e-4)
    synaptic = (1 - a) ** 2 * (1 + a * c) / ((1 - a * c) * (1 - a**2) * (1 - c**2))
    assert filter_energy(cuba, dt).item() == pytest.approx(synaptic, rel=1e-4)


@pytest.mark.parametrize("kind", [LIF, CubaLIF])
@pytest.mark.parametrize(("rate", "dt"), [(20.0, 1.0), (5.0, 10.0)])
def test_membrane_fluctuates_as_asked(kind: type[Layer], rate: float, dt: float) -> None:
    layer = kind(400, 300, threshold=0.5)
    fluctuation_driven_(layer, rate, dt, xi=2.0)
    (_, membrane), _ = silent(layer)(poisson(rate, dt, 300, 24, 400), trace=True)
    late = membrane[150:].detach()
    sigma = late.var((0, 1)).mean().sqrt()
    assert abs(sigma.item() / (0.5 / 2.0) - 1) < 0.03


def test_recurrent_input_gets_its_share() -> None:
    layer = LIF(200, 500, recurrent=True)
    fluctuation_driven_(layer, 20.0, 2.0, recurrent_share=0.36, recurrent_rate=40.0)
    assert layer.weight is not None and layer.recurrent is not None
    own = float(weight_std(layer, 200, 20.0, 2.0)[0])
    assert abs(layer.weight.std().item() / (0.8 * own) - 1) < 0.02
    assert abs(layer.recurrent.std().item() / (0.6 * own * (200 * 20 / (500 * 40)) ** 0.5) - 1) < 0.02
    fluctuation_driven_(layer, 20.0, 2.0, recurrent_share=0.36, recurrent_rate=40.0, orthogonal=True)
    gram = layer.recurrent.T @ layer.recurrent
    torch.testing.assert_close(gram / gram[0, 0], torch.eye(500), rtol=0, atol=1e-4)
    assert abs(layer.recurrent.std().item() / (0.6 * own * (200 * 20 / (500 * 40)) ** 0.5) - 1) < 0.02


def test_recurrent_input_has_the_rate_of_the_input_unless_told() -> None:
    first, second = (
        fluctuation_driven_(LIF(20, 30, recurrent=True), 5.0, 1.0, generator=torch.Generator().manual_seed(1), **more)
        for more in ({}, {"recurrent_rate": 5.0})
    )
    assert torch.equal(first.recurrent, second.recurrent)


def test_biases_begin_at_zero_and_a_norm_at_the_scale_of_the_input() -> None:
    layer = LIF(20, 30, bias=True, norm="batch", recurrent=True, dt=1.0)
    for bias in (layer.bias, layer.norm.bias):
        torch.nn.init.ones_(bias)
    fluctuation_driven_(layer, 10.0, dt=4.0, recurrent_share=0.36)
    assert not layer.bias.any() and not layer.norm.bias.any()
    # one input of variance 1 in every step, and the step is the one given
    torch.testing.assert_close(layer.norm.weight.detach(), 0.8 * weight_std(layer, 1, 250.0, 4.0).float())


def test_layers_are_drawn_for_their_own_step() -> None:
    for dt, step in ((None, 2.0), (8.0, 8.0)):
        layer = LIF(500, 400, dt=dt)
        assert layer.weight.std().item() == pytest.approx(weight_std(layer, 500, 10.0, step)[0].item(), rel=0.02)


def test_layers_can_be_planned_on_no_device() -> None:
    layer = LIF(20, 30, recurrent=True, bias=True, device="meta")
    assert all(parameter.is_meta for parameter in layer.parameters())


def test_poisson_counts() -> None:
    x = poisson(500.0, 4.0, 50, 20, 30, torch.Generator().manual_seed(3))
    dense = x.to_dense()
    assert x.dt == 4.0 and dense.mean().item() == pytest.approx(2.0, rel=0.03)
    assert dense.var().item() == pytest.approx(2.0, rel=0.05)  # as large as the mean
    again = poisson(500.0, 4.0, 50, 20, 30, torch.Generator().manual_seed(3))
    assert torch.equal(again.to_dense(), dense)


def test_unstable_adaptation_counts_without_it() -> None:
    layer = AdLIF(4, 2, a=torch.tensor([-1.0, 0.5]), tau_mem=20.0, tau_adapt=100.0)
    energy = filter_energy(layer, 1.0)
    plain = filter_energy(LIF(4, 2), 1.0)
    torch.testing.assert_close(energy[0], plain[0])
    assert energy[1] < plain[1] and torch.isfinite(energy).all()


@pytest.mark.parametrize("orthogonal", [False, True])
def test_same_generator_same_weights(orthogonal: bool) -> None:
    first, second = (
        fluctuation_driven_(
            LIF(5, 4, recurrent=True), 10.0, 1.0, orthogonal=orthogonal, generator=torch.Generator().manual_seed(3)
        )
        for _ in range(2)
    )
    assert torch.equal(first.weight, second.weight) and torch.equal(first.recurrent, second.recurrent)


def correlated(rate: float, dt: float) -> Events:
    """Trains whose rate goes up and down together, by patches of the sensor, as edges that pass do."""
    T, B = 30, 8
    wave = torch.rand(T, B, 17, 17).pow(4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    p = (wave / wave.mean() * rate * dt / 1000).clamp(max=1).reshape(T, B, 1, 1156).expand(-1, -1, 2, -1)
    return Events.from_dense(torch.bernoulli(p).reshape(T, B, 2312), dt, sensor=(34, 34, 2))


@pytest.fixture(scope="module")
def digits() -> Events:
    events, _ = load("digits", split="train").batch(list(range(8)), dt=10.0, steps=30)
    return events


SIZES, SENSOR = [2312, 96, 64, 10], (34, 34, 2)
NETS: list[Any] = [
    pytest.param(lambda: SpikingMLP(SIZES, dt=10.0), id="lif"),
    pytest.param(lambda: SpikingMLP(SIZES, "cuba", dt=10.0), id="cuba"),
    pytest.param(lambda: SpikingMLP(SIZES, "alif", recurrent=True, dt=10.0), id="alif-recurrent"),
    pytest.param(lambda: SpikingMLP(SIZES, "adlif", norm="batch", dt=10.0), id="adlif-norm"),
    pytest.param(lambda: SpikingMLP(SIZES, "seadlif", dt=10.0), id="seadlif"),
    pytest.param(lambda: SpikingMLP(SIZES, "silif", dt=10.0), id="silif"),
    pytest.param(lambda: SpikingMLP(SIZES, "csilif", recurrent=True, dt=10.0), id="csilif-recurrent"),
    pytest.param(lambda: SpikingConvNet(SENSOR, (4, 8), hidden=(32,), dt=10.0), id="conv"),
    pytest.param(lambda: SpikingConvNet(SENSOR, (4, 8), norm=None, skip=True, dt=10.0), id="conv-skip"),
]


@pytest.mark.parametrize("make", NETS)
@pytest.mark.parametrize("data", ["correlated", "digits"])
def test_no_layer_starts_silent_or_saturated(make: Any, data: str, digits: Events) -> None:
    x = correlated(6.0, 10.0) if data == "correlated" else digits
    net = make()
    net.init_(rate=1000 * x.density / x.dt)
    (out, spikes), _ = net(x, trace=True)
    assert len(spikes) == len(net.layers)
    for k, z in enumerate(spikes):
        active = float(z.detach().sum() / (x.lengths.sum() * z.shape[2]))
        assert 0.001 < active < 0.5, f"layers.{k}: {active:.4f} of neuron-steps spike"
    assert 0.1 < float(out.detach().std()) < 10


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fluctuation_driven_(LIF(3, 2), 10.0), "dt: expected the step in ms"),
        (lambda: fluctuation_driven_(LIF(3, 2), 0.0, 1.0), "rate: expected a finite number above 0"),
        (lambda: fluctuation_driven_(LIF(3, 2), float("inf"), 1.0), "rate: expected a finite number above 0"),
        (lambda: fluctuation_driven_(LIF(3, 2), 5.0, 0.0), "dt: expected a finite number above 0"),
        (lambda: fluctuation_driven_(LIF(3, 2), 5.0, 1.0, xi=-1.0), "xi: expected a finite number above 0"),
        (lambda: fluctuation_driven_(LIF(3, 2), 5.0, 1.0, recurrent_share=1.0), "recurrent_share: expected 0 or more"),
        (lambda: SpikingMLP([3, 2, 2]).init_(10.0), "dt: expected the step in ms"),
        (lambda: SpikingMLP([3, 2, 2]).init_(float("nan"), 1.0), "rate: expected a finite number above 0"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
