"""What NIR or our layers cannot say is refused by name."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from torch import nn

from spiking.networks import SpikingMLP
from spiking.neurons import ALIF, LIF, AdLIF, Delay, Delayed, SEAdLIF
from spiking.nir import from_nir, to_nir
from tests.spiking.nir_cases import chain, mlp, nir, numbers, same, trains

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch and nirtorch, in snnTorch and Norse


@pytest.mark.parametrize(("nodes", "message"), [
    ([numbers("CubaLI")], r"node 'n0': expected one of LIF, .*, got CubaLI"),
    ([numbers("LIF", v_reset=-0.5)], r"node 'n0': v_reset: expected v_leak"),
    ([numbers("LIF", v_threshold=-1.0)], "node 'n0': v_threshold: expected a threshold above v_leak"),
    ([numbers("LIF", r=-1.0)], "node 'n0': r: expected a positive"),
    ([numbers("LIF", tau=-1.0)], "node 'n0': tau: expected times above 0 s"),
    ([numbers("LIF", tau=float("nan"))], "node 'n0': tau: expected 4 finite numbers"),
    ([numbers("LI", v_leak=0.5)], "node 'n0': v_leak: expected 0"),
    ([nir.Linear(np.eye(4))], "node 'output': expected one population of neurons before it, got n0"),
    ([nir.Linear(np.eye(7)), numbers("LIF")], r"node 'n0': does not take an input of shape \(4,\)"),
    ([nir.Linear(np.ones((3, 4))), numbers("LIF")], "node 'n1': r: expected 3 finite numbers, got 4"),
    ([nir.Delay(np.zeros(4)), numbers("LIF")], "node 'n0': Delay: expected right before one Linear"),
    ([nir.Delay(np.full(4, -1.0)), nir.Linear(np.eye(4)), numbers("LIF")], "node 'n0': delay: expected finite times"),
    ([numbers("LIF", tau=1e-4)], "tau_mem: decay='euler' needs at least one step"),
])
def test_what_our_layers_cannot_do_names_the_node(nodes: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_nir(chain(*nodes), 1.0)


def test_cycles_of_several_populations_are_named() -> None:
    graph = chain(numbers("LIF"), nir.Linear(np.eye(4)), numbers("LIF"))
    graph.nodes["back"] = nir.Linear(np.eye(4))
    graph.edges += [("n2", "back"), ("back", "n0")]
    with pytest.raises(ValueError, match=r"nodes 'n0', 'n2': a cycle through several populations"):
        from_nir(graph, 1.0)
    graph = chain(nir.Linear(np.eye(4)), numbers("LIF"))
    graph.edges.append(("n0", "n0"))
    with pytest.raises(ValueError, match="node 'n0': a cycle without neurons"):
        from_nir(graph, 1.0)
    graph.edges[-1] = ("n0", "gone")
    with pytest.raises(ValueError, match="there is no node 'gone'"):
        from_nir(graph, 1.0)


@pytest.mark.parametrize(("layer", "message"), [
    (ALIF(3, 4), "layer: ALIF: NIR has no node for it; expected LIF, CubaLIF or LI"),
    (AdLIF(3, 4), "layer: AdLIF: NIR has no node"), (SEAdLIF(3, 4), "layer: SEAdLIF: NIR has no node"),
    (LIF(3, 4, reset="zero", norm="batch"), r"layer: norm: NIR has no statistics of a batch; call eval\(\) first"),
    (Delayed(Delay(3, 4, 8.0), LIF(4, reset="zero")), "layer: kind='synaptic': NIR delays a whole channel"),
    (Delayed(Delay(3, 4, 8.0, "axonal", rounded=False), LIF(4, reset="zero")), "layer: rounded=False"),
    (Delayed(Delay(3, 4, 8.0, "axonal", sigma=2.0), LIF(4, reset="zero")), "layer: sigma: NIR has no spread delays"),
    (SpikingMLP([3, 4, 2], dropout=0.5, reset="zero"), r"links\.0: dropout: NIR has no random silence"),
])
def test_what_nir_cannot_say_is_named(layer: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_nir(layer, 1.0)


def test_arguments_are_checked() -> None:
    layer = LIF(3, 4, reset="zero")
    for call, message in (
        (lambda: to_nir(layer), "dt: expected the step in ms"),
        (lambda: to_nir(layer, -1.0), "dt: expected a step above"),
        (lambda: to_nir(layer, 1.0, reader="lava"), "reader: expected one of nir, norse, snntorch, got 'lava'"),
        (lambda: to_nir(layer, 1.0, allow=("norm",)), "allow: expected names among"),
        (lambda: to_nir(mlp(), 2.0), r"dt: network 1.0 ms, argument 2.0 ms"),
        (lambda: to_nir(mlp(), reader="norse"), "readout.neurons: norse does not read LI nodes"),
        (lambda: from_nir(chain(numbers("LIF"))), "dt: expected the step in ms"),
        (lambda: from_nir(chain(numbers("LIF")), 1.0, solver="rk4"), "solver: expected one of exp, euler, got 'rk4'"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match=r"graph: expected a nir.NIRGraph or a path, got LIF"):
        from_nir(layer)


def test_a_nir_without_v_reset_is_written_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before nir 1.0.6 neurons had none."""

    def older(kind: Any) -> Any:
        gone = ("v_reset", "metadata")
        fields = [(f.name, f.type) for f in dataclasses.fields(kind) if f.init and f.name not in gone]
        return dataclasses.make_dataclass(kind.__name__, fields, eq=False, namespace={"__post_init__": shaped})

    def shaped(self: Any) -> None:
        self.input_type = {"input": np.array(self.r.shape)}
        self.output_type = {"output": np.array(self.r.shape)}

    net, x = mlp(neuron="cuba"), trains()
    for kind in ("LIF", "CubaLIF"):
        monkeypatch.setattr(nir, kind, older(getattr(nir, kind)))
    graph = to_nir(net)
    assert not hasattr(graph.nodes["layers.0.neurons"], "v_reset")
    same(net, from_nir(graph), x)


def test_without_nir_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['nir'] = None\nfrom spiking.neurons import LIF\nfrom spiking.nir import to_nir\n"
        "try: to_nir(LIF(2, 3), 1.0)\nexcept ModuleNotFoundError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "nir: not installed; pip install 'spiking-torch[nir]'"
