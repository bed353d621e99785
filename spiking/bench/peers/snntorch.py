"""snnTorch's `Leaky` and `RLeaky`: one product over all steps, then the neuron step by step over `unbind`.

    u = beta u' + x W + z' V - threshold z'

It has no adaptive neuron and no delays. Its neurons without a loop (`StateLeaky`, `LeakyParallel`) have no reset.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spiking.bench import ours
from spiking.bench.pair import Pair, modes
from spiking.bench.peers.fan import Fan
from spiking.bench.peers.spike import spike_with
from spiking.bench.work import Problem
from spiking.neurons import like

PACKAGE = "snntorch"
BETA = 0.9


def pair(problem: Problem, compiled: bool) -> Pair | None:
    """`Leaky`, `RLeaky` or, as a readout, `Leaky` without a reset."""
    import snntorch

    work, device = problem.work, problem.weight.device
    if work.name == "readouts":
        integrator = snntorch.Leaky(beta=BETA, reset_mechanism="none").to(device)

        def integrate(currents: Tensor) -> Tensor:
            membrane, kept = torch.zeros_like(currents[0]), []
            for current in currents.unbind(0):
                _, membrane = integrator(current, membrane)
                kept.append(membrane)
            return torch.stack(kept)

        return Pair(
            modes(problem, {"Leaky": integrate}, compiled),
            ours.integrators(problem, **like("snntorch", beta=BETA, reset_mechanism="none")),
        )
    if work.name not in ("lif", "lif-recurrent"):
        return None
    assert problem.surrogate is not None
    spike, twin = spike_with(problem.surrogate), ours.neurons(problem, **like("snntorch", beta=BETA))
    if problem.recurrent is None:
        neuron = snntorch.Leaky(beta=BETA, spike_grad=spike).to(device)

        def run(currents: Tensor) -> Tensor:
            membrane, spikes = torch.zeros_like(currents[0]), []
            for current in currents.unbind(0):
                z, membrane = neuron(current, membrane)
                spikes.append(z)
            return torch.stack(spikes)

        return Pair(modes(problem, {"Leaky": run}, compiled), twin)

    connected = snntorch.RLeaky(beta=BETA, linear_features=work.N, spike_grad=spike, learn_recurrent=False)
    connected.recurrent = Fan(problem.recurrent)
    connected.to(device)

    def recur(currents: Tensor) -> Tensor:
        z = membrane = torch.zeros_like(currents[0])
        spikes = []
        for current in currents.unbind(0):
            z, membrane = connected(current, z, membrane)
            spikes.append(z)
        return torch.stack(spikes)

    return Pair(modes(problem, {"RLeaky": recur}, compiled), twin)
