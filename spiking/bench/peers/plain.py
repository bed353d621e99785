"""No library: what is written by hand in PyTorch, as lean as it gets; for every op, where peers have none, too.

    u = beta u' + x W + z' V - theta' z',  z = H(u - theta),  theta = 1 + r w',  w = rho w' + (1 - rho) z

theta' z' is detached; r = 0 without adaptation. The product with W is one for all steps: dense, or with the events as
one sparse matrix. Delays are one convolution over time with a kernel that holds each weight at its delay.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv1d

from spiking.bench import ours
from spiking.bench.pair import COMPILED, Pair, Run, modes
from spiking.bench.peers.spike import spike_with
from spiking.bench.work import Problem
from spiking.neurons import like

PACKAGE = "torch"
BETA, RHO, STRENGTH = 0.9, 0.98, 1.0


def pair(problem: Problem, compiled: bool) -> Pair | None:
    """Every op of the registry."""
    name = problem.work.name
    if name == "event_linear":
        return Pair(products(problem), ours.linear(problem))
    if name == "delay_linear":
        return Pair(convolutions(problem, compiled), ours.delayed(problem))
    if name == "readouts":
        given = like("snntorch", beta=BETA, reset_mechanism="none")
        return Pair(modes(problem, {"loop": integrate}, compiled), ours.integrators(problem, **given))
    adaptive = name == "alif-recurrent"
    slow = {"tau_adapt": -1 / math.log(RHO), "strength": STRENGTH} if adaptive else None
    twin = ours.neurons(problem, slow, **like("snntorch", beta=BETA))
    return Pair(modes(problem, {"loop": loop(problem, adaptive)}, compiled), twin)


def loop(problem: Problem, adaptive: bool) -> Callable[[Tensor], Tensor]:
    """Neurons step by step."""
    assert problem.surrogate is not None
    spike, V = spike_with(problem.surrogate), problem.recurrent

    def run(currents: Tensor) -> Tensor:
        z = u = w = torch.zeros_like(currents[0])
        level: Tensor | float = 1.0
        spikes = []
        for current in currents.unbind(0):
            felt = current if V is None else torch.addmm(current, z, V)
            # Bellec 2018 and Yin 2021 reset by the threshold of the step in which the reset acts
            if adaptive:
                level = 1.0 + STRENGTH * w
            u = felt + BETA * u - level * z.detach()
            z = spike(u - level)
            if adaptive:
                w = RHO * w + (1 - RHO) * z
            spikes.append(z)
        return torch.stack(spikes)

    return run


def integrate(currents: Tensor) -> Tensor:
    """Leaky integrators step by step."""
    u, kept = torch.zeros_like(currents[0]), []
    for current in currents.unbind(0):
        u = BETA * u + current
        kept.append(u)
    return torch.stack(kept)


def products(problem: Problem) -> dict[str, Run]:
    """The product with W, dense and sparse."""
    dense, events, weight = problem.dense, problem.events, problem.weight
    T, B, N = *events.shape[:2], weight.shape[1]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        rows = torch.sparse_csr_tensor(
            events.indptr, events.index.long(), torch.ones(events.nnz, device=weight.device), (T * B, events.shape[2]),
            check_invariants=False,
        )
    return {"dense @ W": lambda: dense @ weight, "sparse CSR @ W": lambda: (rows @ weight).view(T, B, N)}


def convolutions(problem: Problem, compiled: bool) -> dict[str, Run]:
    """Delays by a convolution, linear interpolation between two steps."""
    dense, weight, delay, longest = problem.dense, problem.weight, problem.delay, problem.work.delay
    assert delay is not None
    at = torch.arange(longest + 1, device=weight.device)

    def run(x: Tensor) -> Tensor:
        # (out, in, position); a convolution of torch reads its kernel from the latest step to the earliest
        kernel = weight[:, None] * (1 - (at[:, None] - delay[:, None]).abs()).clamp(min=0)
        padded = torch.nn.functional.pad(x.permute(1, 2, 0), (longest, 0))
        return conv1d(padded, kernel.permute(2, 0, 1).flip(2)).permute(2, 0, 1)

    found: dict[str, Run] = {"conv1d over time": lambda: run(dense)}
    if compiled:
        fast = torch.compile(run)
        found["conv1d over time" + COMPILED] = lambda: fast(dense)
    return found
