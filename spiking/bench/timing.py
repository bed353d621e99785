"""Times of forward and backward: in rounds, the sides in turn, each after a call of its own that is not timed.

So all meet what else the machine does, no side pays for memory that the one before it gave back to the system, and
each finds its own data in the caches, as in training it follows itself.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from spiking.bench.pair import Run
from spiking.bench.work import Problem


@dataclass
class Times:
    """Milliseconds of each round."""

    forward: list[float] = field(default_factory=list)
    backward: list[float] = field(default_factory=list)

    @property
    def total(self) -> list[float]:
        """Forward and backward."""
        return [a + b for a, b in zip(self.forward, self.backward, strict=True)]

    @property
    def median(self) -> float:
        """Of the total."""
        return statistics.median(self.total)


def wait(device: torch.device) -> None:
    """For a GPU to finish."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(runs: Mapping[str, Run], problem: Problem, rounds: int) -> dict[str, Times]:
    """Times of all sides."""
    leaves, device = list(problem.leaves.values()), problem.weight.device
    taken = {name: Times() for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            torch.autograd.grad(run(), leaves, problem.grad, allow_unused=True)  # the product alone has no V
            wait(device)
            start = time.perf_counter()
            out = run()
            wait(device)
            middle = time.perf_counter()
            torch.autograd.grad(out, leaves, problem.grad, allow_unused=True)
            wait(device)
            taken[name].backward.append((time.perf_counter() - middle) * 1e3)
            taken[name].forward.append((middle - start) * 1e3)
            del out
    return taken


def ratios(slow: Times, fast: Times) -> tuple[float, float, float]:
    """Median, least and largest ratio of the totals, round by round."""
    each = [a / b for a, b in zip(slow.total, fast.total, strict=True)]
    return statistics.median(each), min(each), max(each)
