"""Whether the sides of a comparison do the same: equal outputs and gradients, before anything is timed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spiking.bench.pair import Pair, Run
from spiking.bench.work import Problem

FLIPS, ERROR = 1e-6, 1e-3  # neuron-steps that may differ; relative RMS of outputs without spikes and of gradients


@dataclass(frozen=True)
class Agreement:
    """How far one way of running a peer is from ours.

    Arguments:
        flips: neuron-steps whose spikes differ; of outputs without spikes, their relative RMS error.
        errors: relative RMS error of each gradient, by the leaf's name.
        firing: mean of our output.
        spiking: the output is spikes.
    """

    flips: float
    errors: dict[str, float]
    firing: float
    spiking: bool

    @property
    def equal(self) -> bool:
        """Whether a ratio of their times means anything."""
        good = all(error <= ERROR for error in self.errors.values())  # which NaN is not
        return self.flips <= (FLIPS if self.spiking else ERROR) and good

    def __str__(self) -> str:
        what = "of neuron-steps differ" if self.spiking else "off"
        off = ", ".join(f"{name} {error:.1e}" for name, error in self.errors.items())
        return f"{self.flips:.1e} {what}, gradients off by {off}"


def results(run: Run, problem: Problem) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Output and gradients."""
    out = run()
    grads = torch.autograd.grad(out, list(problem.leaves.values()), problem.grad)
    return out.detach(), grads


def agree(pair: Pair, problem: Problem) -> dict[str, Agreement | str]:
    """How far each way of running a peer is from ours; why not, for one that fails."""
    wanted, gradients = results(pair.ours, problem)
    found: dict[str, Agreement | str] = {}
    for mode, run in pair.modes.items():
        try:
            out, grads = results(run, problem)
        except Exception as error:  # a compiler, or a library that does not know this torch
            found[mode] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
            continue
        spiking = problem.surrogate is not None
        flips = float((out != wanted).float().mean()) if spiking else _relative(out, wanted)
        errors = {
            name: _relative(a, b) for name, a, b in zip(problem.leaves, grads, gradients, strict=True)
        }
        found[mode] = Agreement(flips, errors, float(wanted.mean()), spiking)
    return found


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())
