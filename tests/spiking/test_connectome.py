"""Layers with sparse synapses: the draw, the state_dict, initialisation, training, what malformed files meet."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spiking import Events
from spiking.init import fluctuation_driven_, poisson
from spiking.kernels import SparseWeight
from spiking.networks import SpikingMLP
from spiking.neurons import ALIF, LI, LIF, Connectome
from spiking.neurons.connectome import draw


@given(senders=st.integers(0, 40), targets=st.integers(1, 60), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_each_sender_reaches_different_targets(senders: int, targets: int, share: float, seed: int) -> None:
    fan_out = max(1, round(share * targets))
    index = draw(senders, targets, fan_out, torch.Generator().manual_seed(seed))
    assert index.shape == (senders, fan_out) and index.dtype == torch.int32
    assert (index.diff(dim=1) > 0).all()
    assert not index.numel() or (index.min() >= 0 and index.max() < targets)


@pytest.mark.parametrize("fan_out", [3, 30, 57])
def test_every_target_is_equally_likely(fan_out: int) -> None:
    """Fan-in is binomial round senders * fan_out / targets; 60 targets, five standard deviations."""
    index = draw(5000, 60, fan_out, torch.Generator().manual_seed(0))
    count, p = torch.bincount(index.view(-1), minlength=60).float(), fan_out / 60
    assert (count - 5000 * p).abs().max() < 5 * (5000 * p * (1 - p)) ** 0.5
    assert count.std() > 0.5 * (5000 * p * (1 - p)) ** 0.5


def test_the_seed_is_the_connectome_and_the_state_dict_keeps_it() -> None:
    layer, same, other = (ALIF(20, 30, recurrent=True, fan_out=4, recurrent_fan_out=3, dt=1.0, connectome_seed=seed)
                          for seed in (0, 0, 1))  # fmt: skip
    assert layer.weight is not None and layer.weight.shape == (80,)
    assert layer.recurrent is not None and layer.recurrent.shape == (90,)
    assert torch.equal(layer.connectome.index, same.connectome.index)
    assert not torch.equal(layer.connectome.index, other.connectome.index)
    other.load_state_dict(layer.state_dict())
    x = poisson(50.0, 1.0, 20, 2, 20)
    assert torch.equal(layer(x)[0], other(x)[0])
    assert "connectome.index" in layer.state_dict() and "fan_out=4" in repr(layer)


def test_a_layer_is_the_dense_one_with_the_same_synapses() -> None:
    thin = LIF(20, 30, recurrent=True, fan_out=6, recurrent_fan_out=5, dt=1.0, tau_mem=5.0, dtype=torch.float64)
    full = LIF(20, 30, recurrent=True, dt=1.0, tau_mem=5.0, dtype=torch.float64)
    W, V = thin.synapses(), thin.recurrent_synapses()
    assert isinstance(W, SparseWeight) and isinstance(V, SparseWeight)
    with torch.no_grad():
        full.weight.copy_(W.to_dense()), full.recurrent.copy_(V.to_dense())
    x = poisson(80.0, 1.0, 40, 3, 20)
    spikes = [layer(x)[0] for layer in (thin, full)]
    assert torch.equal(*spikes) and spikes[0].any()
    for train in spikes:
        (train * torch.linspace(-1, 1, 30)).sum().backward()
    for weight, a, b in ((W, thin.weight, full.weight), (V, thin.recurrent, full.recurrent)):
        torch.testing.assert_close(a.grad, b.grad[weight.rows(), weight.index.long()])


def test_weights_are_scaled_by_the_true_fan_in() -> None:
    """Membranes fluctuate by threshold / xi although a neuron has 4 to 30 of 300 inputs."""
    torch.manual_seed(0)
    layer = LIF(300, 200, fan_out=10, dt=1.0, reset="none", dtype=torch.float64)
    fan_in = layer.connectome.fan_in()
    assert fan_in.min() < 9 and fan_in.max() > 21 and int(fan_in.sum()) == 3000
    fluctuation_driven_(layer, 100.0, xi=1.0)
    (_, membrane), _ = layer(poisson(100.0, 1.0, 2000, 4, 300), trace=True)
    spread = membrane[200:].detach().var((0, 1))
    for group in (fan_in < 13, fan_in > 17):
        assert float(spread[group].mean()) == pytest.approx(1.0, abs=0.15)


def test_recurrent_weights_are_scaled_by_theirs() -> None:
    torch.manual_seed(0)
    layer = LIF(10, 2000, recurrent=True, recurrent_fan_out=20, dt=1.0)
    full = LIF(10, 2000, recurrent=True, dt=1.0)
    ratio = float(layer.recurrent.detach().std() / full.recurrent.detach().std())
    assert ratio == pytest.approx((2000 / 20) ** 0.5, rel=0.05)
    with pytest.raises(ValueError, match="orthogonal: expected a layer without recurrent_fan_out"):
        fluctuation_driven_(layer, 10.0, orthogonal=True)


def test_a_neuron_without_synapses_stays_silent() -> None:
    layer = LIF(1, 50, fan_out=1, dt=1.0)
    assert layer.weight.isfinite().all()
    spikes, _ = layer(torch.ones(30, 1, 1))
    assert (spikes.sum((0, 1)) > 0).sum() <= 1


def test_a_sparse_network_trains() -> None:
    torch.manual_seed(0)
    net = SpikingMLP([40, 64, 2], fan_out=8, recurrent=True, recurrent_fan_out=4, dt=1.0).init_(60.0)
    labels = torch.arange(64) % 2
    rate = torch.where(labels[:, None] == (torch.arange(40) < 20), 0.1, 0.02)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.1)  # five inputs a neuron: the strengths are about 9
    for _ in range(40):
        x = Events.from_dense(torch.rand(30, 64, 40) < rate, 1.0)
        out, _ = net(x)
        loss = torch.nn.functional.cross_entropy(3 * out.mean(0), labels)
        optimiser.zero_grad(), loss.backward(), optimiser.step()
    assert float((out.mean(0).argmax(1) == labels).float().mean()) > 0.9


def test_synaptic_operations_count_the_synapses_that_exist() -> None:
    net = SpikingMLP([40, 64, 2], fan_out=8, recurrent=True, recurrent_fan_out=4, dt=1.0)
    x = poisson(50.0, 1.0, 20, 3, 40)
    (_, (hidden,)), _ = net(x, trace=True)
    done = net.synops(x, [hidden])
    torch.testing.assert_close(done["layers.0"], 8 * x.counts().sum(1) + 4 * hidden.sum((0, 2)).detach())
    torch.testing.assert_close(done["readout"], 2 * hidden.sum((0, 2)).detach())


def test_a_readout_may_be_sparse_too() -> None:
    out, _ = LI(30, 4, fan_out=1, dt=1.0)(poisson(50.0, 1.0, 20, 3, 30))
    assert out.shape == (20, 3, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fan_out": 0}, "fan_out: expected 1 to 30 targets, got 0"),
        ({"fan_out": 31}, "fan_out: expected 1 to 30 targets, got 31"),
        ({"fan_out": 2.0}, "fan_out: expected 1 to 30 targets, got 2.0"),
        ({"fan_out": True}, "fan_out: expected 1 to 30 targets, got True"),
        ({"recurrent_fan_out": 3}, "recurrent_fan_out: expected recurrent=True with it, got False"),
        ({"fan_out": 3, "out_features": None}, "fan_out: a layer without out_features has no synapses"),
    ],
)
def test_a_layer_names_a_wrong_argument(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LIF(20, **{"out_features": 30, **options})


@pytest.mark.parametrize(
    ("name", "place", "number", "message"),
    [
        ("index", 5, 99, "connectome.index: expected targets 0 to 29, got 0 to 99"),
        ("index", 5, -1, "connectome.index: expected targets 0 to 29, got -1 to 29"),
        ("index", 1, 0, "connectome.index: expected rising targets in each row"),
        ("indptr", 2, 0, "connectome.indptr: expected a rising sequence"),
        ("indptr", -1, 99, "connectome.indptr: expected a rising sequence from 0 to 100"),
    ],
)
def test_a_malformed_file_never_reaches_a_kernel(name: str, place: int, number: int, message: str) -> None:
    layer = torch.nn.Sequential(LIF(20, 30, fan_out=5))
    state = {key: value.clone() for key, value in layer.state_dict().items()}
    state[f"0.connectome.{name}"][place] = number
    with pytest.raises(ValueError, match=f"0.{message}"):
        layer.load_state_dict(state)


def test_connections_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"indptr: expected \(21,\) for in=20, got \(22,\)"):
        Connectome(20, 30, 5).load_state_dict(Connectome(21, 30, 5).state_dict())
    with pytest.raises(RuntimeError, match="size mismatch for index"):
        Connectome(20, 30, 5).load_state_dict(Connectome(20, 30, 6).state_dict())


def test_stacked_layers_draw_their_own_connections() -> None:
    net = SpikingMLP([20, 20, 20, 4], neuron="lif", recurrent=True, fan_out=5, recurrent_fan_out=3)
    tables = [c.index for layer in net.layers for c in (layer.connectome, layer.recurrent_connectome)]
    assert all(a.shape != b.shape or not torch.equal(a, b) for k, a in enumerate(tables) for b in tables[:k])
    again = SpikingMLP([20, 20, 20, 4], neuron="lif", recurrent=True, fan_out=5, recurrent_fan_out=3)
    assert torch.equal(again.layers[1].connectome.index, net.layers[1].connectome.index)
