"""Delay and Delayed: times in ms, ranges, schedules, evaluation, parts of recordings, networks, errors."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from spiking import Events, detach, readout
from spiking.init import poisson
from spiking.kernels import delay_linear
from spiking.networks import SpikingMLP
from spiking.neurons import ALIF, LI, LIF, Delay, Delayed

T, B, IN, N, DT = 40, 3, 12, 7, 5.0


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def events(lengths: list[int] | None = None) -> Events:
    x = poisson(20.0, DT, T, B, IN).to_dense()
    return Events.from_dense(x, DT, None if lengths is None else torch.tensor(lengths))


@pytest.mark.parametrize("kind", ["synaptic", "axonal"])
def test_it_is_the_op_in_ms(kind: str) -> None:
    layer = Delay(IN, N, 90.0, kind, sigma=12.0)
    assert layer.delay.shape == ((IN, N) if kind == "synaptic" else (IN,))
    assert 0 <= float(layer.delay.detach().min()) and 60 < float(layer.delay.detach().max()) <= 90
    x = events([T, 20, 0])
    currents, state = layer(x)
    wanted, after = delay_linear(x, layer.weight, layer.delay / DT, 18, sigma=12.0 / DT)
    assert torch.equal(currents, wanted) and torch.equal(state, after) and state.shape == (18, B, N)
    again, _ = layer(x.to_dense(), dt=DT, lengths=x.lengths)
    torch.testing.assert_close(again, currents)
    assert layer(events(), dt=DT)[0].shape == (T, B, N)
    assert Delay(IN, N, 91.0, dt=DT).rest(2).shape == (19, 2, N)  # a part of a step counts whole


def test_a_spike_arrives_when_its_delay_says() -> None:
    layer = Delay(1, 1, 100.0, dt=DT, sigma=20.0).eval()
    nn.init.ones_(layer.weight)
    x = torch.zeros(T, 1, 1)
    x[3] = 1
    for delay, step in ((0.0, 0), (12.0, 2), (13.0, 3), (98.0, 20), (100.0, 20)):
        layer.delay = delay
        currents, _ = layer(x)
        assert currents[:, 0, 0].nonzero().tolist() == [[3 + step]]
    layer.rounded = False
    layer.delay = 12.0
    torch.testing.assert_close(layer(x)[0][5:7, 0, 0], torch.tensor([0.6, 0.4]))
    layer.train()
    wide = layer(x)[0].detach()[:, 0, 0]
    assert int((wide > 1e-3).sum()) > 8
    layer.sigma.fill_(2.0)
    narrow = layer(x)[0].detach()[:, 0, 0]
    assert int((narrow > 1e-3).sum()) < 4 and float(narrow.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["synaptic", "axonal"])
def test_training_cannot_leave_the_range(kind: str) -> None:
    layer = Delay(IN, N, 90.0, kind, sigma=20.0)
    optimiser = torch.optim.SGD(layer.parameters(), lr=1e5)
    for _ in range(5):
        optimiser.zero_grad()
        layer(events())[0].square().sum().backward()
        assert layer.raw_delay.grad is not None and layer.raw_delay.grad.abs().sum() > 0
        layer.weight.grad = None
        optimiser.step()
        assert 0 <= float(layer.delay.detach().min()) and float(layer.delay.detach().max()) <= 90
    assert not 0 <= float(layer.raw_delay.detach().min()) <= float(layer.raw_delay.detach().max()) <= 90
    for end in (0.0, 90.0):
        layer.delay = end
        layer.raw_delay.grad = None
        layer.delay.sum().backward()
        assert (layer.raw_delay.grad.abs() == 1).all()


def test_a_delay_is_found_by_gradient_descent() -> None:
    """A spike 60 ms after another must raise the current with it: the Gaussian leads the delay there from afar."""
    layer = Delay(1, 1, 100.0, sigma=40.0, dt=DT)
    nn.init.ones_(layer.weight)
    layer.delay = 10.0
    x = (torch.rand(60, 16, 1) < 0.05).float()
    target = torch.zeros_like(x)
    target[12:] = x[:-12]
    optimiser = torch.optim.Adam([layer.raw_delay], lr=2.0)
    for step in range(80):
        layer.sigma.fill_(max(40.0 * 0.93**step, 2.5))
        optimiser.zero_grad()
        (layer(x)[0] - target).square().sum().backward()
        optimiser.step()
    assert float(layer.delay.detach()) == pytest.approx(60, abs=1)
    assert torch.equal(layer.eval()(x)[0], target)


def test_evaluation_leaves_delays_without_a_gradient() -> None:
    layer = Delay(IN, N, 90.0).eval()
    currents, _ = layer(events())
    weight, delay = torch.autograd.grad(currents.sum(), [layer.weight, layer.raw_delay], allow_unused=True)
    assert weight.abs().sum() > 0 and (delay is None or not delay.any())


def test_copies_pickles_and_state_dicts() -> None:
    layer = Delay(IN, N, 90.0, "axonal", sigma=12.0, dt=DT)
    layer.sigma.fill_(3.0)
    assert set(layer.state_dict()) == {"weight", "raw_delay", "sigma"}
    other = Delay(IN, N, 90.0, "axonal", dt=DT)
    other.load_state_dict(layer.state_dict())
    x = events()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), other):
        assert torch.equal(twin(x)[0], layer(x)[0])
    assert repr(layer) == f"Delay({IN}, {N}, max_delay=90 ms, kind='axonal', sigma=3 ms, dt=5 ms)"
    assert layer.double()(x.to_dense(torch.float64))[0].dtype == torch.float64


@pytest.mark.parametrize("neurons", [LIF(N, dt=DT), ALIF(N, recurrent=True, norm="batch"), LI(N)])
def test_neurons_behind_delays(neurons: Any) -> None:
    layer = Delayed(Delay(IN, N, 90.0, sigma=10.0), neurons)
    x = events([T, 20, 0])
    out, state = layer(x)
    currents, under_way = layer.delay(x)
    apart, after = layer.neurons(currents, dt=DT, lengths=x.lengths)
    assert torch.equal(out, apart) and torch.equal(state.currents, under_way)
    assert torch.equal(state.neurons.membrane, after.membrane)
    assert layer.recurrent is neurons.recurrent

    layer.eval().init_(20.0, DT)
    whole, last = layer(x)
    first, middle = layer(x[:7], layer.rest(B, DT))
    second, end = layer(x[7:], detach(middle))
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(end.currents, last.currents)


def test_weights_are_drawn_for_fluctuations() -> None:
    """Poisson input moves the membrane by one threshold: what fluctuation_driven_ promises, delays or not."""
    layer = Delayed(Delay(400, 50, 50.0), LIF(50, threshold=2.0, reset="none")).eval()
    layer.init_(20.0, DT)
    (_, membrane), _ = layer(poisson(20.0, DT, 400, 4, 400), trace=True)
    centred = membrane[40:] - membrane[40:].mean((0, 1))
    assert float(centred.detach().std()) == pytest.approx(2.0, rel=0.1)


def network(**options: Any) -> SpikingMLP:
    net = SpikingMLP([IN, 16, 16, 4], delays={"max_delay": 60.0, "sigma": 15.0}, norm="batch", **options)
    net.init_(20.0, DT)
    return net


def test_a_network_with_delays_trains_and_goes_on() -> None:
    net = network(neuron="alif", recurrent=True)
    x = events([T, 25, 40])
    (out, spikes), states = net(x, trace=True)
    assert out.shape == (T, B, 4) and len(states) == 3 and not out[25:, 1].any() and not spikes[0][25:, 1].any()
    nn.functional.cross_entropy(readout.mean(out, x.lengths), torch.tensor([0, 1, 2])).backward()
    for name, parameter in net.named_parameters():
        if not name.endswith("norm.bias"):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert sum(name.endswith("raw_delay") for name, _ in net.named_parameters()) == 3
    net.eval()
    whole, _ = net(x)
    first, middle = net(x[:5], net.rest(B, DT))
    second, _ = net(x[5:], middle)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    done = net.synops(x)
    hidden = net(x, trace=True)[0][1][0].sum((0, 2))
    torch.testing.assert_close(done["layers.0"], (x.counts().sum(1) + hidden) * 16)


def test_a_network_takes_a_number_of_ms_too() -> None:
    net = SpikingMLP([IN, 8, 4], delays=60.0, dt=DT)
    assert net.readout.delay.max_delay == 60 and net.layers[0].delay.kind == "synaptic"
    assert SpikingMLP([IN, 8, 4]).rest(3, DT) == [None, None]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Delay(0, 3), "in_features: expected a whole number above 0, got 0"),
        (lambda: Delay(3, 2.5), "out_features: expected a whole number above 0"),
        (lambda: Delay(3, 2, 0.0), "max_delay: expected a finite time above 0 ms, got 0"),
        (lambda: Delay(3, 2, math.inf), "max_delay: expected a finite time"),
        (lambda: Delay(3, 2, kind="dendritic"), "kind: expected 'synaptic' or 'axonal', got 'dendritic'"),
        (lambda: Delay(3, 2, sigma=-1.0), "sigma: expected a finite time of 0 ms or more, got -1.0"),
        (lambda: Delay(3, 2, dt=0.0), "dt: expected a step above 0 ms, got 0.0"),
        (lambda: Delay(3, 2)(torch.zeros(60, 1, 3)), "dt: a dense tensor needs the length of a step in ms, got None"),
        (lambda: Delay(3, 2)(torch.zeros(60, 1, 4), dt=DT), r"x: expected \(T, B, 3\), got \(60, 1, 4\)"),
        (lambda: Delay(3, 2, dt=1.0)(torch.zeros(60, 1, 3), dt=DT), "dt: layer 1.0 ms, input 5.0 ms"),
        (lambda: Delay(3, 2).rest(3), "dt: a dense tensor needs"),
        (lambda: Delay(40, 9)(torch.zeros(20, 1, 40), dt=DT), "delay: expected no more than the 20 steps"),
        (lambda: setattr(Delay(3, 2), "delay", 260.0), "delay: expected 0 to 250 ms, got 260 to 260"),
        (lambda: setattr(Delay(3, 2), "delay", math.nan), "delay: expected 0 to 250 ms, got nan"),
        (lambda: setattr(Delay(3, 2), "delay", torch.ones(2, 3)), r"expected a number or \(3, 2\), got \(2, 3\)"),
        (lambda: Delayed(Delay(3, 2), LIF(3, 2)), "neurons: expected a layer without out_features"),
        (lambda: Delayed(Delay(3, 2), LIF(3)), "neurons: expected 2, as the delays reach, got 3"),
        (lambda: SpikingMLP([3, 4, 4, 2], skip=True, delays=50.0), "skip: a shortcut has no delays"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
