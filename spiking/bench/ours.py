"""This toolkit's side of a comparison: its layers on the problem's events, with the problem's own weights."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spiking.bench.pair import Run
from spiking.bench.work import Problem
from spiking.kernels import delay_linear, event_linear
from spiking.neurons import ALIF, LI, LIF, Layer


def neurons(problem: Problem, adaptive: dict[str, Any] | None = None, **arguments: Any) -> Run:
    """A layer of LIF, or of ALIF with the arguments `adaptive`, otherwise as `like` gives them."""
    work = problem.work
    kind: type[Layer] = LIF
    if adaptive is not None:
        kind, arguments = ALIF, arguments | adaptive
    options = {"surrogate": problem.surrogate, "recurrent": bool(work.recurrent)} | arguments
    layer = kind(work.inputs, work.N, **options)
    layer.to(problem.weight.device)
    layer.weight, layer.recurrent = problem.weight, problem.recurrent
    events = problem.events

    def run() -> Tensor:
        spikes: Tensor = layer(events)[0]
        return spikes

    return run


def integrators(problem: Problem, **arguments: Any) -> Run:
    """A layer of LI."""
    arguments = {name: value for name, value in arguments.items() if name in ("dt", "tau_mem", "input_scale", "decay")}
    layer = LI(problem.work.inputs, problem.work.N, **arguments).to(problem.weight.device)
    layer.weight = problem.weight
    events = problem.events
    return lambda: layer(events)[0]


def linear(problem: Problem) -> Run:
    """`event_linear`."""
    events, weight = problem.events, problem.weight
    return lambda: event_linear(events, weight)


def delayed(problem: Problem) -> Run:
    """`delay_linear`."""
    events, weight, delay, longest = problem.events, problem.weight, problem.delay, problem.work.delay
    assert delay is not None
    return lambda: delay_linear(events, weight, delay, longest)[0]
