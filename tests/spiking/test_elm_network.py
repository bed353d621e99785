"""Layers of small ELM neurons and networks of them; the networks they are measured beside."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch

from spiking import detach
from spiking.events import Events
from spiking.kernels.elm_layer import LayerState
from spiking.networks import LSTM, TCN, ELMNetwork
from spiking.neurons import ELM, BranchELM, ELMLayer


def recording(T: int = 12, B: int = 3, N: int = 6, dt: float = 2.0) -> Events:
    torch.manual_seed(1)
    return Events.from_dense(torch.rand(T, B, N) < 0.3, dt=dt, lengths=torch.tensor([T, T // 2, T])[:B])


def layer(**options: Any) -> ELMLayer:
    torch.manual_seed(0)
    given: dict[str, Any] = {"memory": 2, "branches": 3, "synapses": 4, "recurrent": 0.4, "tau_memory": (2.0, 1000.0)}
    return ELMLayer(6, 5, **({"dtype": torch.float64} | given | options))


@pytest.mark.parametrize("output", ["relu", "spike", "identity"])
def test_a_layer_is_its_equations(output: str) -> None:
    """Synapse by synapse and neuron by neuron, as the docstrings say."""
    net = layer(output=output, high_pass=7.0, scale=3.0, input_scale=2.0)
    x = recording()
    found, state = net(x)
    dense, dt = x.to_dense(torch.float64), x.dt
    tau = net.tau_memory.view(5, 2)
    assert torch.allclose(tau[:, [0, -1]], torch.tensor([2.0, 1000.0]).double().expand(5, 2))
    kappa, gamma, k = torch.exp(-dt / tau), 1 - torch.exp(-dt * 3.0 / tau), math.exp(-dt / 7.0)
    with torch.no_grad():
        for b, steps in enumerate(x.lengths.tolist()):
            m, r, a = torch.zeros(5, 2).double(), torch.zeros(5).double(), torch.zeros(5).double()
            for t in range(steps):
                heard = torch.cat([dense[t, b], a])
                branch = 2.0 * (net.weight * heard[net.index]).sum(2)
                for n in range(5):
                    old = kappa[n] * m[n]
                    z = branch[n] @ net.w_branch[n] + old @ net.w_memory[n] + net.b_hidden[n]
                    change = z.clamp(min=0).square() @ net.w_update[n] + net.b_update[n]
                    m[n] = old + gamma[n] * 1.7159 * torch.tanh(change * 2 / 3)
                p = (m * net.w_out).sum(1)
                r = k * r + (1 - k) * p
                u = p - r + net.bias
                a = {"relu": u.clamp(min=0), "spike": (u > 0).double(), "identity": u}[output]
                assert torch.allclose(found[t, b], a, atol=1e-12)
            assert torch.allclose(state.memory[b], m) and torch.allclose(state.slow[b], r)
            assert not found[steps:, b].any()


@pytest.mark.parametrize("tau", [5.0, (5.0,), (5.0, 1.0)])
def test_times_that_do_not_spread_are_named(tau: Any) -> None:
    message = rf"tau_memory: expected \(low, high\), 0 < low < high, got {re.escape(str(tau))}"
    with pytest.raises(ValueError, match=message):
        layer(tau_memory=tau)
    if tau != 5.0:  # a number is for all units of an ELM
        with pytest.raises(ValueError, match=message):
            ELM(6, 1, tau_memory=tau)


@pytest.mark.parametrize("dt", [0.0, -1.0, math.nan, math.inf])
def test_a_step_that_is_none_is_named(dt: float) -> None:
    for net in (layer(), ELM(6, 1, memory=2)):
        with pytest.raises(ValueError, match=f"dt: expected a step above 0 ms, got {dt}"):
            net(torch.zeros(3, 2, 6), dt=dt)


def test_a_step_as_long_as_a_time_constant_warns_with_both() -> None:
    with pytest.warns(UserWarning, match=r"a step of 4 ms is longer than tau_memory of 5 of 10 units, from 2 ms on"):
        layer(dt=4.0)
    with pytest.warns(UserWarning, match=r"a step of 2 ms is longer than high_pass of 1 of 1 units, from 1.5 ms on"):
        layer(high_pass=1.5, dt=2.0)
    net = layer(high_pass=None)
    with pytest.warns(UserWarning, match="a step of 3 ms is longer than tau_memory"):
        net(torch.zeros(3, 2, 6), dt=3.0)
    net(torch.zeros(3, 2, 6), dt=3.0)  # said once
    net(torch.zeros(3, 2, 6), dt=2.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_layer_in_half_precision_forgets_as_in_float32(dtype: torch.dtype) -> None:
    """Nothing but the memory's leak moves it: no input, and no update."""
    half, x = layer(tau_memory=(2.0, 4096.0), dtype=dtype), torch.zeros(200, 2, 6)
    with torch.no_grad():
        half.w_update.zero_()
        half.b_update.zero_()
        one = LayerState(torch.ones(2, 5, 2), torch.zeros(2, 5), torch.zeros(2, 5))
        out, after = half(x, one, dt=2.0)
    wanted = torch.exp(-2.0 * 200 / half.tau_memory.double()).float().view(5, 2).expand(2, 5, 2)
    assert out.dtype == dtype and float(wanted[0, 0, 1]) < 0.91
    torch.testing.assert_close(after.memory, wanted, rtol=1e-4, atol=1e-6)


def test_connections_are_drawn_once_and_come_from_where_they_should() -> None:
    net = ELMLayer(30, 20, memory=1, branches=8, synapses=25, recurrent=0.25)
    share = float((net.index >= 30).float().mean())
    assert 0.2 < share < 0.3 and int(net.index.max()) == 49
    assert torch.equal(net.index, ELMLayer(30, 20, memory=1, branches=8, synapses=25, recurrent=0.25).index)
    assert int(ELMLayer(30, 20, memory=1).index.max()) == 29
    assert float(net.tau_memory[0]) == pytest.approx(math.sqrt(1000.0), rel=1e-5)  # one unit: the middle
    wrong = {**net.state_dict(), "index": net.index + 1}
    with pytest.raises(ValueError, match="index: expected 0 to 49, got 1 to 50"):
        net.load_state_dict(wrong)


def test_the_first_and_the_last_time_constant_train() -> None:
    net = layer(learn=("tau_memory",), recurrent=0.0)
    before = net.tau_memory.detach().clone()
    optimizer = torch.optim.SGD([net.raw_tau_memory], lr=1e3)
    net(recording())[0].square().sum().backward()
    optimizer.step()
    moved = (net.tau_memory.detach() / before).log().abs().view(5, 2)
    assert (moved[:, 0] > 1e-4).any() and (moved[:, 1] > 1e-4).any()


def test_every_parameter_of_a_network_gets_a_gradient() -> None:
    net = ELMNetwork(
        6, 4, [7, 5], memory=3, synapses=4, recurrent=0.3, output="spike", learn=["tau_memory"],
        tau_memory=[2.0, 1000.0], readout={"memory": 4, "tau_memory": [2.0, 50.0]},
    )  # fmt: skip
    (out, spikes), states = net(recording(), trace=True)
    assert out.shape == (12, 3, 4) and [s.shape[2] for s in spikes] == [7, 5] and len(states) == 3
    assert all(set(s.unique().tolist()) == {0.0, 1.0} for s in spikes)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())
    slow = {"memory": 4, "tau_memory": [2.0, 50.0]}
    graded = ELMNetwork(6, 4, [7], **slow, synapses=4, readout=slow)
    assert graded(recording(), trace=True)[0][1] == []


def test_a_network_goes_on_where_it_stopped() -> None:
    slow = {"memory": 4, "tau_memory": [2.0, 50.0]}
    net = ELMNetwork(6, 4, [7], **slow, synapses=4, recurrent=0.3, readout=slow)
    x = recording()
    whole, _ = net(x)
    first, states = net(x[:5])
    second, _ = net(x[5:], detach(states))
    assert torch.allclose(torch.cat([first, second]), whole, atol=1e-6)
    dense, _ = net(x.to_dense(), lengths=x.lengths, dt=x.dt)
    assert torch.allclose(dense, whole, atol=1e-6)


def test_dropout_silences_inputs_in_training_only() -> None:
    net = ELMNetwork(6, 4, drop_input=0.99, readout={"memory": 4, "tau_memory": [2.0, 50.0]})
    x = recording()
    silent = net.readout(Events.from_dense(torch.zeros(12, 3, 6), dt=2.0, lengths=x.lengths))[0]
    assert torch.allclose(net(x)[0][:, 0], silent[:, 0])
    assert torch.allclose(net.eval()(x)[0], net.readout(x)[0])


def test_without_hidden_layers_it_is_one_neuron() -> None:
    assert type(ELMNetwork(6, 4).readout) is ELM
    net = ELMNetwork(6, 4, readout={"branches": 3, "memory": 5})
    assert type(net.readout) is BranchELM and not len(net.layers)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ELMLayer(6, 0), "out_features: expected a whole number above 0, got 0"),
        (lambda: ELMLayer(6, 5, synapses=0), "synapses: expected a whole number above 0"),
        (lambda: ELMLayer(6, 5, recurrent=1.5), "recurrent: expected a probability, got 1.5"),
        (lambda: ELMLayer(6, 5, high_pass=0.0), "high_pass: expected a finite number above 0"),
        (lambda: ELMLayer(6, 5, output="tanh"), "output: expected one of relu, identity, spike"),
        (lambda: ELMLayer(6, 5, learn=("tau_mem",)), r"learn: expected \('tau_memory',\) or nothing"),
        (lambda: ELMLayer(6, 5)(torch.zeros(2, 3, 6)), "dt: a dense tensor needs the length of a step"),
        (lambda: ELMLayer(6, 5)(recording(N=7)), r"x: expected \(T, B, 6\), got \(12, 3, 7\)"),
        (lambda: ELMNetwork(6, 4, memory=3), "memory: of hidden layers, of which there are none"),
        (lambda: ELMNetwork(6, 4, [5])(recording(), [None]), "states: expected 2, one per layer"),
        (lambda: ELMNetwork(6, 4, dropout=1.0, hidden=[3]), "dropout: expected 0 or more and below 1"),
        (lambda: LSTM(6, 4, hidden=0), "hidden: expected at least 1, got 0"),
        (lambda: TCN(6, 4, kernel=0), "kernel: expected at least 1, got 0"),
    ],
)
def test_bad_input_is_named(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize("net", [LSTM(6, 4, 8, layers=2, embed=3), LSTM(6, 4, 8), TCN(6, 4, 5, layers=2, kernel=3)])
def test_controls_look_at_the_past_only(net: Any) -> None:
    x = recording(T=20).to_dense()
    other = x.clone()
    other[12:] = 1 - other[12:]
    with torch.no_grad():
        one, two = net(x)[0], net(other)[0]
        events, _ = net(Events.from_dense(x, dt=2.0), trace=True)
    assert one.shape == (20, 3, 4) and torch.equal(one[:12], two[:12]) and not torch.allclose(one[12:], two[12:])
    assert torch.allclose(events[0], one, atol=1e-6) and events[1] == []
    if isinstance(net, TCN):
        assert net.field == 7
        late = x.clone()
        late[0] = 1 - late[0]
        changed = (net(late)[0] - one).abs().sum((1, 2)) > 0
        assert changed[:7].any() and not changed[7:].any()
