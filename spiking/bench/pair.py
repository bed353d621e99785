"""Pair: one peer's neuron, in every way it can be run, and this toolkit's neuron that does the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from spiking.bench.work import Problem
from spiking.kernels.surrogate import Surrogate

Run = Callable[[], Tensor]  # forward: (T, B, N), with a graph for the backward pass
COMPILED = ", compiled"


@dataclass(frozen=True)
class Pair:
    """What is compared with what.

    Arguments:
        modes: the peer's forward pass by the name of the way it is run.
        ours: this toolkit's forward pass, equal to the peer's.
        surrogate: the derivative of the spike that both use, if it is not that of the problem.
    """

    modes: dict[str, Run]
    ours: Run
    surrogate: Surrogate | None = None


def modes(problem: Problem, ways: dict[str, Callable[[Tensor], Tensor]], compiled: bool) -> dict[str, Run]:
    """Runs from functions of currents (T, B, N): one product over all steps, then each function as it is and compiled.

    The product stands outside of what is compiled, where torch calls the same library.
    """
    found: dict[str, Run] = {}

    def behind_the_product(way: Callable[[Tensor], Tensor]) -> Run:
        return lambda: way(problem.dense @ problem.weight)

    for name, way in ways.items():
        found[name] = behind_the_product(way)
        if compiled:
            found[name + COMPILED] = behind_the_product(torch.compile(way))
    return found
