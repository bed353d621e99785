"""Networks go to NIR and come back spike for spike, through files, snnTorch and Norse; the rest is refused by name."""

from __future__ import annotations

import contextlib
import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spiking import Events
from spiking.networks import SpikingConvNet
from spiking.neurons import LI, LIF, CubaLIF, Delay, Delayed
from spiking.nir import from_nir, to_nir
from tests.spiking.nir_cases import chain, mlp, nir, numbers, same, trains

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch and nirtorch, in snnTorch and Norse


def through_file(graph: Any, folder: Path) -> Any:
    nir.write(folder / "graph.nir", graph)
    return nir.read(folder / "graph.nir")


def stepped(model: nn.Module, x: Tensor) -> Tensor:
    """What a module of nirtorch sends, step by step."""
    state, out = None, []
    with torch.no_grad():
        for now in x:
            answer = model(now) if state is None else model(now, state)
            z, state = answer if isinstance(answer, tuple) else (answer, None)
            out.append(z)
    return torch.stack(out)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"recurrent": True}, {"neuron": "cuba", "recurrent": True}, {"skip": True}, {"decay": "euler"},
        {"input_scale": "one", "bias": True}, {"tau_mem": (5.0, 30.0), "threshold": (0.5, 2.0)},
        {"delays": {"max_delay": 10.0, "kind": "axonal"}, "bias": True},
        {"norm": "batch", "recurrent": True, "dtype": torch.float64}, {"dropout": 0.4},
    ],
    ids=str,
)
def test_a_network_comes_back_with_the_same_spikes(options: dict[str, Any], tmp_path: Path) -> None:
    net, dtype = mlp(**options), options.get("dtype", torch.float32)
    back = from_nir(through_file(to_nir(net), tmp_path), dtype=dtype)
    same(net, back, trains().to(dtype), 1e-12 if dtype == torch.float64 else 0.0)
    same(net, back, Events.from_dense(trains(), 1.0), 1e-12 if dtype == torch.float64 else 0.0)


@pytest.mark.parametrize(
    "options",
    [{}, {"pool": 2, "stride": 1}, {"skip": True, "hidden": (12,)}, {"neuron": "cuba", "norm": None, "bias": True}],
    ids=str,
)
def test_a_convolutional_network_comes_back_with_the_same_spikes(options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = SpikingConvNet((12, 10, 2), (4, 6), 5, kernel=3, reset="zero", dt=1.0, dtype=torch.float64, **options)
    net.init_(200.0)
    x = trains(240, 60, density=0.2).double()
    net(x)
    net.eval()
    same(net, from_nir(through_file(to_nir(net), tmp_path), dtype=torch.float64), x, 1e-12)


@pytest.mark.parametrize(
    "layer",
    [
        LIF(30, 20, dt=1.0, reset="zero", bias=True), LIF(30, dt=1.0, reset="zero", recurrent=True),
        LIF(30, dt=1.0, reset="zero", bias=True, norm="batch"), CubaLIF(30, 20, dt=1.0, reset="zero"),
        LI(30, 20, dt=1.0, tau_mem=7.0), LI(30, dt=1.0, input_scale="one"),
        Delayed(Delay(30, 20, 8.0, "axonal", dt=1.0), LIF(20, dt=1.0, reset="zero")),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_single_layer_comes_back(layer: nn.Module, tmp_path: Path) -> None:
    x = trains() * 20
    if isinstance(layer, LIF) and layer.bias is not None:
        layer.bias.data.normal_(std=0.2, generator=torch.Generator().manual_seed(0))
    layer.eval()
    with torch.no_grad():
        wanted, _ = layer(x)
        found, _ = from_nir(through_file(to_nir(layer), tmp_path))(x)
    assert wanted.abs().sum() > 20
    assert torch.equal(found, wanted)


def test_recordings_may_come_in_parts() -> None:
    net = mlp(delays={"max_delay": 10.0, "kind": "axonal"}, recurrent=True)
    back, x = from_nir(to_nir(net)), trains()
    whole, _ = back(x)
    first, states = back(x[:3], back.rest(4))
    second, _ = back(x[3:], states)
    assert torch.equal(torch.cat([first, second]), whole)
    lengths = torch.tensor([100, 50, 0, 7])
    for a, b in zip(net(x, lengths=lengths), back(x, lengths=lengths), strict=True):
        assert not isinstance(a, Tensor) or torch.equal(a, b)


@pytest.mark.parametrize("switch", [
    {"reset": "subtract"}, {"reset": "none"}, {"inclusive": True}, {"refractory": 3.0}, {"reset_time": "next"},
    {"tau_syn": 5.0, "current": "previous"},
])
def test_switches_that_nir_lacks_are_named_or_kept(switch: dict[str, Any], tmp_path: Path) -> None:
    name = list(switch)[-1]
    layer = LIF(30, 20, dt=1.0, **{"reset": "zero", **switch})
    layer.weight.data.mul_(20)
    with pytest.raises(ValueError, match=rf"layer: {name}=.*allow=\('{name}',\)"):
        to_nir(layer)
    back = from_nir(through_file(to_nir(layer, allow=(name,)), tmp_path))
    assert torch.equal(back(trains())[0], layer(trains())[0])
    assert getattr(back.layers[0].rule, name) == switch[name]


@pytest.mark.parametrize("options", [
    {}, {"recurrent": True}, {"neuron": "cuba"}, {"neuron": "cuba", "recurrent": True}, {"input_scale": "one"},
    {"tau_mem": (5.0, 30.0), "threshold": (0.5, 2.0)}, {"decay": "euler", "bias": True}, {"skip": True},
], ids=str)
def test_norse_runs_our_networks_spike_for_spike(options: dict[str, Any]) -> None:
    norse: Any = pytest.importorskip("norse.torch", reason="Norse is not installed")
    net, x = mlp(**options), trains()
    there = stepped(norse.from_nir(to_nir(net, reader="norse", readout=False), dt=1e-3), x)
    (_, spikes), _ = net(x, trace=True)
    assert spikes[-1].sum() > 50
    assert torch.equal(there, spikes[-1])


@pytest.mark.parametrize("options", [
    {}, {"neuron": "cuba"}, {"input_scale": "one"}, {"tau_mem": (5.0, 30.0), "threshold": (0.5, 2.0)},
    {"decay": "euler", "bias": True},
], ids=str)
def test_snntorch_runs_our_networks_spike_for_spike(options: dict[str, Any]) -> None:
    net, x = mlp(**options), trains()
    there = stepped(snntorch_reads(to_nir(net, reader="snntorch", readout=False)), x)
    (_, spikes), _ = net(x, trace=True)
    assert spikes[-1].sum() > 50
    assert torch.equal(there, spikes[-1])


@pytest.mark.parametrize("reader", ["norse", "snntorch"])
def test_both_run_our_convolutions(reader: str) -> None:
    torch.manual_seed(3)
    pool = {"pool": 2, "stride": 1} if reader == "snntorch" else {}
    net = SpikingConvNet((12, 10, 2), (4, 6), 5, kernel=3, reset="zero", dt=1.0, **pool).init_(200.0)
    x = trains(240, 60, 1, 0.2)
    net(x)
    net.eval()
    graph = to_nir(net, reader=reader, readout=False)
    norse: Any = pytest.importorskip("norse.torch", reason="Norse is not installed") if reader == "norse" else None
    model = snntorch_reads(graph) if norse is None else norse.from_nir(graph, dt=1e-3)
    there = stepped(model, x.view(60, 1, 2, 10, 12)).flatten(2)
    (_, spikes), _ = net(x, trace=True)
    assert spikes[-1].sum() > 50
    assert torch.equal(there, net.links[-1](spikes[-1]))


def snntorch_reads(graph: Any) -> nn.Module:
    pytest.importorskip("nirtorch", reason="nirtorch is not installed")
    from snntorch.import_nir import import_from_nir

    with contextlib.redirect_stdout(io.StringIO()):
        model: nn.Module = import_from_nir(graph)
    return model


@pytest.mark.parametrize("kind", ["leaky", "synaptic", "recurrent"])
def test_networks_of_snntorch_come_here_spike_for_spike(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("nirtorch", reason="nirtorch is not installed")
    import snntorch as snn
    from snntorch import utils
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(0)
    how: dict[str, Any] = {"init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}
    ones = torch.ones(20)
    neurons = {
        "leaky": lambda: snn.Leaky(beta=0.9 * ones, threshold=0.5 * ones, **how),
        "synaptic": lambda: snn.Synaptic(alpha=0.7 * ones, beta=0.9 * ones, threshold=ones, **how),
        "recurrent": lambda: snn.RLeaky(beta=0.9, threshold=0.5, linear_features=20, **how),
    }[kind]()
    model = nn.Sequential(nn.Linear(30, 20), neurons)
    graph = export_to_nir(model, trains()[0, 0])
    utils.reset(model)
    wanted = stepped(model, trains())
    found, _ = from_nir(through_file(graph, tmp_path), dt=0.1)(trains())
    assert wanted.sum() > 100
    assert torch.equal(found, wanted)


def test_networks_of_norse_come_here_spike_for_spike(tmp_path: Path) -> None:
    """Norse writes tau = dt / tau_mem_inv: it is the time constant for dt=1 only."""
    norse: Any = pytest.importorskip("norse.torch", reason="Norse is not installed")
    torch.manual_seed(0)

    def neurons(n: int, threshold: float) -> nn.Module:
        given = {"tau_mem_inv": 100 * torch.ones(n), "v_th": threshold * torch.ones(n), "v_leak": torch.zeros(n)}
        return norse.LIFBoxCell(norse.LIFBoxParameters(**given))

    model = norse.SequentialState(nn.Linear(30, 20), neurons(20, 0.05), nn.Linear(20, 8), neurons(8, 0.02))
    graph = norse.to_nir(model, trains()[0, 0], dt=1.0)
    wanted = stepped(model, trains())
    found, _ = from_nir(through_file(graph, tmp_path), dt=1.0)(trains())
    assert wanted.sum() > 100
    assert torch.equal(found, wanted)


def test_snntorch_sends_the_input_of_a_cycle_through_its_weights() -> None:
    """Why to_nir refuses recurrence for it: round a cycle of weight 0 the input should reach the neurons."""
    with pytest.raises(ValueError, match=r"layers\.0: recurrent: snntorch sends the input"):
        to_nir(mlp(recurrent=True), reader="snntorch")
    layer = LIF(30, 20, dt=0.1, reset="zero", recurrent=True, decay="euler", tau_mem=2.0, input_scale="one")
    assert layer.recurrent is not None
    layer.recurrent.data.zero_()
    assert layer(trains())[0].sum() > 50
    assert stepped(snntorch_reads(to_nir(layer)), trains()).sum() == 0


@pytest.mark.parametrize("solver", ["exp", "euler"])
def test_numbers_of_others_mean_what_their_equation_says(solver: str) -> None:
    """Against the equation of neuron.py, written out, for r and leak of any size."""
    tau, tau_syn, r, leak, threshold, w_in = 0.01, 0.004, 2.5, -0.3, 0.9, 1.7
    weight = np.random.default_rng(0).normal(size=(4, 4))
    node = numbers("CubaLIF", tau_mem=tau, tau_syn=tau_syn, r=r, v_leak=leak, v_reset=leak, v_threshold=threshold,
                   w_in=w_in)
    x = trains(4, density=0.4).double()
    found, _ = from_nir(chain(nir.Linear(weight), node), 1.0, solver=solver, dtype=torch.float64)(x)
    a, c = ((np.exp(-1e-3 / t) if solver == "exp" else 1 - 1e-3 / t) for t in (tau, tau_syn))
    v, i = torch.full((4, 4), leak, dtype=torch.float64), torch.zeros(4, 4, dtype=torch.float64)
    for t in range(100):
        i = c * i + (1 - c) * w_in * (x[t] @ torch.from_numpy(weight).T)
        v = a * v + (1 - a) * (leak + r * i)
        z = (v > threshold).double()
        v = torch.where(z > 0, leak, v)
        assert torch.equal(found[t], z)
    assert found.sum() > 50


def test_integrators_add_their_input_each_step() -> None:
    x = torch.full((40, 1, 4), 0.0625)
    found, _ = from_nir(chain(nir.Linear(np.eye(4)), numbers("IF")), 1.0)(x)
    assert found[:, 0, 0].nonzero().flatten().tolist() == [16, 33]
    sums, _ = from_nir(chain(nir.Scale(np.full(4, 2.0)), numbers("I", r=0.5)), 1.0)(x)
    torch.testing.assert_close(sums[:, 0, 0], 0.0625 * torch.arange(1, 41))
    leaky, _ = from_nir(chain(nir.Linear(np.eye(4)), numbers("LI", r=3.0)), 1.0, solver="exp")(x)
    torch.testing.assert_close(leaky[-1, 0, 0], torch.tensor(3 * 0.0625 * (1 - np.exp(-4.0)), dtype=torch.float32))


def test_maps_are_those_of_torch() -> None:
    g = np.random.default_rng(1)
    conv = nir.Conv2d((6, 8), g.normal(size=(4, 1, 3, 2)), (2, 1), "valid", 1, 2, g.normal(size=4))
    conv.input_type = {"input": np.array([2, 6, 8])}
    pair = np.array([2, 2])
    nodes = {
        "input": nir.Input(np.array([2, 6, 8])), "conv": conv, "pool": nir.SumPool2d(pair, pair, np.array([1, 1])),
        "flat": nir.Flatten({"input": None}, 0, -1), "fc": nir.Affine(g.normal(size=(5, 32)), g.normal(size=5)),
        "lif": nir.LI(tau=np.full(5, 0.01), r=np.ones(5), v_leak=np.zeros(5)), "output": nir.Output(np.array([5])),
    }
    names = list(nodes)
    graph = nir.NIRGraph(nodes, list(pairwise(names)), type_check=False)
    x = trains(96, 1, 3, 0.5).double()
    with torch.no_grad():
        found, _ = from_nir(graph, 1.0, dtype=torch.float64)(x)
        maps = nn.functional.conv2d(x.view(3, 2, 6, 8), torch.from_numpy(conv.weight), torch.from_numpy(conv.bias),
                                    (2, 1), groups=2)
        pooled = nn.functional.avg_pool2d(maps, 2, 2, 1, divisor_override=1).flatten(1)
        wanted = pooled @ torch.from_numpy(nodes["fc"].weight).T + torch.from_numpy(nodes["fc"].bias)
    torch.testing.assert_close(found[0], 0.1 * wanted)
