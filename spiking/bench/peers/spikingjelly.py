"""SpikingJelly's `LIFNode`: one product over all steps, then the node in multi-step mode; with V step by step.

    h = v' (1 - 1/tau) + x W + z' V,  z = H(h - threshold),  v = h - threshold z, the reset detached

Multi-step mode takes its registered op with its own arctan, and its loop in PyTorch with another surrogate. With
recurrent weights the node runs in single-step mode between the products, which spares `LinearRecurrentContainer`'s copy
of input and output into one tensor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spiking.bench import ours
from spiking.bench.pair import Pair, modes
from spiking.bench.peers.spike import spike_with
from spiking.bench.work import Problem
from spiking.neurons import like

PACKAGE = "spikingjelly"
TAU = 10.0


def pair(problem: Problem, compiled: bool) -> Pair | None:
    """`LIFNode`, soft reset."""
    from spikingjelly.activation_based import functional, neuron, surrogate

    if problem.work.name not in ("lif", "lif-recurrent"):
        return None
    assert problem.surrogate is not None
    V = problem.recurrent
    own = problem.surrogate.name == "arctan"
    spike = surrogate.ATan(alpha=problem.surrogate.a) if own else spike_with(problem.surrogate, inclusive=True)
    given: dict[str, Any] = {"tau": TAU, "v_reset": None, "decay_input": False, "detach_reset": True}
    node = neuron.LIFNode(**given, surrogate_function=spike, step_mode="m" if V is None else "s")
    node.to(problem.weight.device)

    def run(currents: Tensor) -> Tensor:
        functional.reset_net(node)
        if V is None:
            spikes: Tensor = node(currents)
            return spikes
        z, kept = torch.zeros_like(currents[0]), []
        for current in currents.unbind(0):
            z = node(torch.addmm(current, z, V))
            kept.append(z)
        return torch.stack(kept)

    name = "LIFNode" if V is None else "LIFNode, step by step"
    return Pair(modes(problem, {name: run}, compiled), ours.neurons(problem, **like("spikingjelly", **given)))
