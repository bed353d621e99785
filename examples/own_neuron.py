"""A neuron of one's own: quadratic integrate-and-fire, trained in a SpikingMLP beside LIF neurons.

    u^_t = u_{t-1} + (dt/tau_mem) u_{t-1} (u_{t-1} - 1) + (1 - a) I_t,   z_t = H(u^_t - theta),   u_t = u^_t (1 - z_t)

Ermentrout & Kopell 1986, with rest at 0 and the point of no return at 1. docs/own_neuron.md takes it apart.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spiking import Events, readout
from spiking.kernels.surrogate import spike
from spiking.networks import SpikingMLP
from spiking.neurons import Bounded, Layer, tau


class QIF(Layer):
    """Quadratic integrate-and-fire neurons; tau_mem in ms, threshold above the point of no return."""

    tau_mem = tau(5.0, 200.0)
    threshold = Bounded(1.0, 10.0, log=True)

    def __init__(
        self, inputs: int, neurons: int | None = None, *, tau_mem: Any = 20.0, threshold: Any = 2.0, **options: Any
    ) -> None:
        super().__init__(inputs, neurons, {"tau_mem": tau_mem, "threshold": threshold}, **options)

    def neuron(self) -> dict[str, Any]:
        return {"tau_mem": self.tau_mem, "threshold": self.threshold, "tau_syn": None, "adaptation": None}

    def fire(
        self, current: Tensor, state: Any = None, *, lengths: Any = None, dt: Any = None, **_: Any
    ) -> tuple[Tensor, Any]:
        u = torch.zeros_like(current[0]) if state is None else state
        a, train = torch.exp(-dt / self.tau_mem), []
        for t in range(current.shape[0]):
            u_hat = u + (dt / self.tau_mem) * u * (u - 1) + (1 - a) * current[t]
            z = spike(u_hat - self.threshold, self.surrogate)
            valid = torch.ones(1, dtype=torch.bool) if lengths is None else (t < lengths)[:, None]
            u = torch.where(valid, u_hat * (1 - z.detach()), u)
            train.append(torch.where(valid, z, 0.0))
        return torch.stack(train), u

    def forward(
        self, x: Any, state: Any = None, *, lengths: Any = None, dt: Any = None, **_: Any
    ) -> tuple[Tensor, Any]:
        dt, lengths = self.time(x, dt, lengths)
        return self.fire(self.current(x, lengths), state, lengths=lengths, dt=dt)


def main(steps: int = 60) -> float:
    """Learn which half of twenty inputs fires more; returns the accuracy on fresh samples."""
    torch.manual_seed(0)
    net = SpikingMLP([20, 32, 2], neuron=QIF, learn=("tau_mem",)).init_(rate=20.0, dt=5.0)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    correct = torch.zeros(0)
    for _ in range(steps):
        labels = torch.randint(0, 2, (64,))
        rate = torch.where(torch.arange(20) // 10 == labels[:, None], 0.15, 0.05)
        x = Events.from_dense(torch.rand(20, 64, 20) < rate, dt=5.0)
        out, _ = net(x)
        score = readout.mean(out, x.lengths)
        correct = (score.argmax(1) == labels).float()  # the samples are new in every step
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(score, labels).backward()
        optimiser.step()
    return float(correct.mean())


if __name__ == "__main__":
    print(f"accuracy {main():.3f}")
