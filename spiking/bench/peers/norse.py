"""Norse's functional LIF: one product over all steps, then its loop over feed-forward steps.

    i = i' (1 - dt/tau_syn) + x W + z' V,  v = v' + dt/tau_mem (i - v'),  z = H(v - v_th), then v to 0

With recurrent weights the feed-forward step runs between the products: its own recurrent step multiplies the input
anew in each step. Its surrogates are its own: the triangle, and for the one with tails SuperSpike of slope 1.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from spiking.bench import ours
from spiking.bench.pair import Pair, modes
from spiking.bench.work import Problem
from spiking.kernels.surrogate import fast_sigmoid, triangle
from spiking.neurons import like

PACKAGE = "norse"
V_TH = 0.4  # so low that as many neurons fire as in the other libraries, whose currents have no memory


def pair(problem: Problem, compiled: bool) -> Pair | None:
    """`lif_feed_forward_integral`, or its step with recurrent weights."""
    if problem.work.name not in ("lif", "lif-recurrent"):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it uses torch.jit as it is imported
        from norse.torch.functional import lif as functional

    assert problem.surrogate is not None
    bounded = problem.surrogate.name == "triangle"
    V, place = problem.recurrent, problem.weight.device
    p = functional.LIFParameters(
        v_th=torch.tensor(V_TH, device=place), method="triangle" if bounded else "super",
        alpha=torch.tensor(1.0, device=place),
    )

    def run(currents: Tensor) -> Tensor:
        z = torch.zeros_like(currents[0])
        state = functional.LIFFeedForwardState(v=z, i=z)
        if V is None:
            spikes: Tensor = functional.lif_feed_forward_integral(currents, state, p)[0]
            return spikes
        kept = []
        for current in currents.unbind(0):
            z, state = functional.lif_feed_forward_step(torch.addmm(current, z, V), state, p)
            kept.append(z)
        return torch.stack(kept)

    surrogate = triangle(1.0) if bounded else fast_sigmoid(1.0)
    name = "lif_feed_forward_integral" if V is None else "lif_feed_forward_step"
    twin = ours.neurons(problem, surrogate=surrogate, **like("norse", v_th=V_TH))
    return Pair(modes(problem, {name: run}, compiled), twin, surrogate)
