"""sinabs' `LIF`, `LIFRecurrent` and `ALIFRecurrent`: one product over all steps, then its loop over (B, T, N).

    u = a u' + x W + z' V,  z = H(u - theta),  u = u - theta z,  theta = threshold + r w',  w = b w' + (1 - b) z

Its own spike functions keep a changing threshold out of the derivative of the spike, so that ALIF gets one that does
not. Its EXODUS kernels need CUDA.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from spiking.bench import ours
from spiking.bench.pair import Pair, modes
from spiking.bench.peers.fan import Fan
from spiking.bench.peers.spike import spike_with
from spiking.bench.work import Problem
from spiking.kernels.surrogate import derivative
from spiking.neurons import like

PACKAGE = "sinabs"
TAU, TAU_ADAPT, STRENGTH = 10.0, 50.0, 1.0


def pair(problem: Problem, compiled: bool) -> Pair | None:
    """`LIF` and its recurrent and adaptive kin."""
    if problem.work.name not in ("lif", "lif-recurrent", "alif-recurrent"):
        return None
    from sinabs import activation, layers

    assert problem.surrogate is not None
    surrogate, V = problem.surrogate, problem.recurrent
    spike_of_gap = spike_with(surrogate, inclusive=True)
    given: dict[str, Any] = {"tau_mem": TAU, "norm_input": False}
    if V is not None:
        given["rec_connect"] = Fan(V)
    adaptive = None
    if problem.work.name == "alif-recurrent":
        adaptive = {"tau_adapt": TAU_ADAPT, "strength": STRENGTH}

        class Adaptive:
            required_states: ClassVar[list[str]] = ["v_mem"]

            @staticmethod
            def apply(v: Tensor, threshold: Tensor, _: Callable[..., Tensor]) -> Tensor:
                return spike_of_gap(v - threshold)

        layer = layers.ALIFRecurrent(
            **given, spike_fn=Adaptive, tau_adapt=TAU_ADAPT, adapt_scale=STRENGTH, spike_threshold=torch.tensor(1.0)
        )
    else:
        kind = layers.LIF if V is None else layers.LIFRecurrent
        layer = kind(
            **given, spike_threshold=torch.tensor(1.0), spike_fn=activation.SingleSpike,
            surrogate_grad_fn=lambda v, threshold: derivative(surrogate, v - threshold),
        )
    layer.to(problem.weight.device)

    def run(currents: Tensor) -> Tensor:
        layer.reset_states()
        spikes: Tensor = layer(currents.transpose(0, 1)).transpose(0, 1)
        return spikes

    twin = ours.neurons(problem, adaptive, **like("sinabs", tau_mem=TAU, norm_input=False))
    return Pair(modes(problem, {type(layer).__name__: run}, compiled), twin)
