"""What is measured: the registry of ops with their sizes, and the tensors that every side of a comparison shares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spiking.events import Events
from spiking.kernels.surrogate import Surrogate, arctan, triangle

SURROGATES = {"triangle": triangle(1.0), "arctan": arctan(2.0)}
NONE = "none"  # in the place of a surrogate, of an op without spikes


@dataclass(frozen=True)
class Work:
    """An op at one size.

    Arguments:
        name: of the op.
        about: one line.
        T, B, inputs, N: steps, recordings, input channels, neurons or outputs.
        density: input events per step and channel.
        gain: standard deviation of the weights.
        recurrent: standard deviation of the recurrent weights, so small that roundings do not grow; 0 is none.
        delay: the longest delay in steps; 0 is none.
        surrogates: names of the surrogates it is measured with.
    """

    name: str
    about: str
    T: int = 100
    B: int = 256
    inputs: int = 700
    N: int = 256
    density: float = 0.015
    gain: float = 0.2
    recurrent: float = 0.0
    delay: int = 0
    surrogates: tuple[str, ...] = tuple(SURROGATES)

    def quick(self) -> Work:
        """The same in a size for tests and for warming up."""
        gain = self.gain * (self.inputs / 70) ** 0.5 * (self.density / 0.05) ** 0.5
        return Work(
            self.name, self.about, 20, 8, 70, 40, 0.05, gain, self.recurrent, min(self.delay, 4), self.surrogates
        )


WORKS = {
    work.name: work
    for work in (
        Work("lif", "feed-forward leaky neurons"),
        Work("lif-recurrent", "leaky neurons with recurrent weights", recurrent=0.02),
        Work("alif-recurrent", "adaptive neurons with recurrent weights", recurrent=0.02),
        Work("event_linear", "events times a matrix", surrogates=(NONE,)),
        Work("delay_linear", "delayed events times a matrix", B=64, N=128, delay=25, surrogates=(NONE,)),
        Work("readouts", "leaky integrators", inputs=256, N=20, density=0.06, surrogates=(NONE,)),
    )
}


@dataclass(frozen=True)
class Problem:
    """The tensors of a work: input as events and as a dense tensor, weights, and the gradient of the output."""

    work: Work
    surrogate: Surrogate | None
    events: Events
    dense: Tensor
    weight: nn.Parameter
    recurrent: nn.Parameter | None
    delay: nn.Parameter | None
    grad: Tensor

    @property
    def leaves(self) -> dict[str, nn.Parameter]:
        """What gets a gradient, by name."""
        named = {"W": self.weight, "V": self.recurrent, "d": self.delay}
        return {name: leaf for name, leaf in named.items() if leaf is not None}


def problem(work: Work, surrogate: str, device: str = "cpu", seed: int = 0) -> Problem:
    """The tensors of a work, float32, the same for every side."""
    g = torch.Generator().manual_seed(seed)
    dense = (torch.rand(work.T, work.B, work.inputs, generator=g) < work.density).float()
    weight = torch.randn(work.inputs, work.N, generator=g) * work.gain
    recurrent = torch.randn(work.N, work.N, generator=g) * work.recurrent
    delay = torch.rand(work.inputs, work.N, generator=g) * work.delay
    grad = torch.randn(work.T, work.B, work.N, generator=g).to(device)
    return Problem(
        work,
        SURROGATES.get(surrogate),
        Events.from_dense(dense, dt=1.0).to(device),
        dense.to(device),
        nn.Parameter(weight.to(device)),
        nn.Parameter(recurrent.to(device)) if work.recurrent else None,
        nn.Parameter(delay.to(device)) if work.delay else None,
        grad,
    )
