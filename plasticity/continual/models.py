"""The networks that a stream is learned with by default, and their controls without spikes.

Images, as constant currents for T steps (Xiao et al. 2024, trained by surrogate gradients, 784-800-800-10):

    v_t = (1 - 1/tau) v_{t-1} + W z_t,  z_t = H(v_t - 1),  v_t -= z_t;  out = mean_t W_out z_t

with tau = 2 steps, spikes at v >= 1, the derivative 4 s (1 - s) of the sigmoid s of 4 (v - 1), the reset detached, no
bias. The first product is the same in every step and taken once. Event recordings run through `SpikingMLP`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from spiking.events import Events
from spiking.kernels.surrogate import sigmoid
from spiking.networks import SpikingMLP
from spiking.neurons import LIF, like
from spiking.plasticity.continual.examples import Recordings
from spiking.plasticity.continual.streams import Stream

WIDTHS, EVENT_WIDTHS, STEPS = (800, 800), (256,), 6


class CurrentMLP(nn.Module):
    """Fully connected layers of spiking neurons that see images as constant currents.

    Arguments:
        sizes: pixels, neurons of each hidden layer, classes.
        steps: T.
    """

    def __init__(self, sizes: Sequence[int], steps: int = STEPS) -> None:
        super().__init__()
        *hidden, last = pairwise(sizes)
        neuron: dict[str, Any] = like(
            "spikingjelly", tau=2.0, v_threshold=1.0, v_reset=None, decay_input=False, detach_reset=True
        )
        self.layers = nn.ModuleList(nn.Linear(n, m, bias=False) for n, m in hidden)
        self.neurons = nn.ModuleList(LIF(m, surrogate=sigmoid(4.0), **neuron) for _, m in hidden)
        self.readout = nn.Linear(*last, bias=False)
        self.steps = steps

    def extra_repr(self) -> str:
        return "" if self.steps == STEPS else f"steps={self.steps}"

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, pixels) to readouts (T, B, classes)."""
        for k, (layer, neurons) in enumerate(zip(self.layers, self.neurons, strict=True)):
            current = layer(x)
            if k == 0:
                current = current.expand(self.steps, *current.shape).contiguous()
            x, _ = neurons(current)
        out: Tensor = self.readout(x)
        return out


class ReluMLP(nn.Module):
    """The control: layers of equal widths with rectified linear units, one pass; events count over time."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        *hidden, last = pairwise(sizes)
        self.layers = nn.ModuleList(nn.Linear(n, m, bias=False) for n, m in hidden)
        self.readout = nn.Linear(*last, bias=False)

    def forward(self, x: Tensor | Events) -> Tensor:
        """(B, pixels) or Events to logits (B, classes)."""
        x = x.counts() if isinstance(x, Events) else x
        for layer in self.layers:
            x = torch.relu(layer(x))
        out: Tensor = self.readout(x)
        return out


def default(stream: Stream, kind: str = "snn", widths: Sequence[int] | None = None, steps: int = STEPS) -> nn.Module:
    """The network for a stream.

    Arguments:
        stream: whose inputs and outputs it has.
        kind: "snn", spiking, or "ann", the control.
        widths: of the hidden layers; `None` means 800 and 800 for images, 256 for events.
        steps: T of a spiking network on images.

    Raises:
        ValueError: if there is no such kind.
    """
    if kind not in ("snn", "ann"):
        raise ValueError(f"model: expected snn or ann, got {kind!r}")
    widths = (EVENT_WIDTHS if stream.events else WIDTHS) if widths is None else widths
    sizes = [stream.inputs, *widths, stream.outputs]
    if kind == "ann":
        return ReluMLP(sizes)
    if not stream.events:
        return CurrentMLP(sizes, steps)
    train = stream.tasks[0].train
    assert isinstance(train, Recordings)
    net = SpikingMLP(sizes, neuron="lif")
    net.init_(rate=train.store.rate, dt=train.dt)
    return net
