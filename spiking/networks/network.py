"""What all networks share: hidden layers of spiking neurons, links between them, a leaky integrator as readout.

    x_0 = input;  z_k = layers[k](x_k);  x_{k+1} = links[k](z_k);  out = readout(x_K)

A layer is whatever is called as `spikes, state = layer(x, state, lengths=..., dt=...)`; a link, such as dropout or
pooling, maps spikes (T, B, N) without a state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spiking.events import Events
from spiking.init import fluctuation_driven_, poisson
from spiking.kernels import LIFState
from spiking.kernels.finite import inside
from spiking.neurons import LI, NEURONS, Delayed, DelayedState, Layer

State = LIFState | DelayedState
States = tuple[State, ...]
PROBE = 200.0  # ms of Poisson input that init_ lets run through the network
SILENT = 1.0  # Hz, the least rate that init_ draws weights for


class HeldDropout(nn.Module):
    """Dropout of neurons, one mask per sample held over time.

    A mask drawn anew in every step would hardly silence anything: a membrane averages over tau_mem, and what a neuron
    may not say now it says a step later (Gal & Ghahramani 2016 make the same case for recurrent networks).

    Arguments:
        p: probability of silence.

    Raises:
        ValueError: if p is not in [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout: expected 0 or more and below 1, got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Silence neurons of spikes (T, B, N) and scale the others by 1 / (1 - p), while training."""
        if not self.training or self.p == 0:
            return x
        mask = x.new_empty(1, *x.shape[1:]).bernoulli_(1 - self.p).div_(1 - self.p)
        return x * mask

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Network(nn.Module):
    """Base of the networks.

    Arguments:
        layers: the hidden layers.
        links: one per layer, what its spikes pass through on their way to the next.
        readout: the leaky integrator behind them, maybe with delays before it.
        inputs: channels of the input.
        dt: step in ms; `None` takes that of the Events.
    """

    def __init__(
        self, layers: Sequence[nn.Module], links: Sequence[nn.Module], readout: LI | Delayed, inputs: int,
        dt: float | None,
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.layers = nn.ModuleList(layers)
        self.links = nn.ModuleList(links)
        self.readout = readout
        self.dt = dt

    def forward(
        self,
        x: Events | Tensor,
        states: Sequence[State | None] | None = None,
        *,
        lengths: Tensor | None = None,
        dt: float | None = None,
        trace: bool = False,
    ) -> tuple[Any, States]:
        """Run the network over a batch.

        Arguments:
            x: Events (T, B, in) or a dense tensor (T, B, in).
            states: where to go on from, as a former call returned them or `rest` does; `None` is rest.
            lengths: (B,) valid steps of a dense batch; Events bring their own.
            dt: step of a dense batch in ms, by default the network's.
            trace: return `(out, spikes)` for the output, spikes a list of (T, B, N), one per hidden layer.

        Returns:
            the readout's membrane potentials (T, B, classes) and the states of all layers.

        Raises:
            ValueError: if channels, step or states are not those of the network.
        """
        count = len(self.layers) + 1
        if states is not None and len(states) != count:
            raise ValueError(f"states: expected {count}, one per layer and readout, got {len(states)}")
        before: Sequence[State | None] = [None] * count if states is None else states
        x, lengths, dt = self.open(x, lengths, dt)
        spikes: list[Tensor] = []
        after: list[State] = []
        for k, link in enumerate(self.links):
            with inside(f"layers.{k}"):
                z, state = self.run(k, x, before[k], lengths, dt)
            if trace:
                spikes.append(z)
            after.append(state)
            x = link(z)
        direct = isinstance(x, Events)
        with inside("readout"):
            out, state = self.readout(
                x, before[-1], lengths=None if direct else lengths, dt=None if direct else dt
            )
        after.append(state)
        return ((out, spikes) if trace else out), tuple(after)

    def open(
        self, x: Events | Tensor, lengths: Tensor | None, dt: float | None
    ) -> tuple[Events | Tensor, Tensor | None, float | None]:
        """The input as the first layer takes it, with its lengths and step."""
        if not isinstance(x, Events):
            if dt is not None and self.dt is not None and dt != self.dt:
                raise ValueError(f"dt: network {self.dt} ms, input {dt} ms")
            return x, lengths, self.dt if dt is None else dt
        if lengths is not None:
            raise ValueError("lengths: Events bring their own, got a second one")
        if self.dt is not None and x.dt != self.dt:
            raise ValueError(f"dt: network {self.dt} ms, events {x.dt} ms")
        return x, x.lengths, x.dt

    def run(
        self, k: int, x: Events | Tensor, state: Any, lengths: Tensor | None, dt: float | None
    ) -> tuple[Tensor, Any]:
        """Spikes and state of hidden layer k."""
        if isinstance(x, Events):
            lengths, dt = None, None
        spikes, after = self.layers[k](x, state, lengths=lengths, dt=dt)
        return spikes, after

    def rest(self, samples: int, dt: float | None = None) -> list[DelayedState | None]:
        """The states to start recordings from that come in parts shorter than the delays.

        Arguments:
            samples: B.
            dt: step in ms, by default the network's.
        """
        step = self.dt if dt is None else dt
        return [k.rest(samples, step) if isinstance(k, Delayed) else None for k in (*self.layers, self.readout)]

    def fan_out(self, k: int) -> Tensor | int:
        """How many neurons an input of layer k reaches, one number or (in,); k = len(layers) is the readout."""
        layer: Any = self.readout if k == len(self.layers) else self.layers[k]
        connectome = getattr(layer, "connectome", None)
        return int(layer.out_features if connectome is None else connectome.fan_out)

    @torch.no_grad()
    def synops(self, x: Events | Tensor, spikes: Sequence[Tensor] | None = None, **call: Any) -> dict[str, Tensor]:
        """Synaptic operations of each sample, layer by layer: every spike counts once for each neuron it reaches.

        Arguments:
            x: the input, Events or dense (T, B, in); a count or sign of n counts as |n| spikes.
            spikes: the hidden spikes that `trace=True` gave for it; `None` runs the network.
            **call: `lengths` and `dt` of a dense input.

        Returns:
            name of a layer ("layers.0", ..., "readout") -> (B,) operations that its inputs cause; those of recurrent
            synapses are with their layer.
        """
        if spikes is None:
            training = self.training
            self.eval()
            (_, spikes), _ = self(x, trace=True, **call)
            self.train(training)
        sources: list[Events | Tensor] = [x, *spikes]
        names = [f"layers.{k}" for k in range(len(self.layers))] + ["readout"]
        done: dict[str, Tensor] = {}
        for k, (name, source) in enumerate(zip(names, sources, strict=True)):
            counts = _counts(source)
            done[name] = (counts * torch.as_tensor(self.fan_out(k), device=counts.device)).sum(1)
            if k < len(self.layers) and getattr(self.layers[k], "recurrent", None) is not None:
                connectome = getattr(self.layers[k], "recurrent_connectome", None)
                reached = int(spikes[k].shape[2]) if connectome is None else connectome.fan_out
                done[name] += _counts(spikes[k]).sum(1) * reached
        return done

    @torch.no_grad()
    def init_(self, rate: float, dt: float | None = None, **options: Any) -> Network:
        """Draw all weights in place for an input of a given rate, layer after layer, each at the rate that reaches it.

        Poisson trains of that rate run through the layers already drawn, which tells the rate for the next.

        Arguments:
            rate: of each input channel, in Hz.
            dt: step in ms, by default the network's.
            **options: of `spiking.init.fluctuation_driven_`.

        Returns:
            the network.

        Raises:
            ValueError: if the rate or the step is missing or not above 0.
        """
        dt = self.dt if dt is None else dt
        if dt is None:
            raise ValueError("dt: expected the step in ms, for a network without its own, got None")
        for name, number in (("rate", rate), ("dt", dt)):
            if not (math.isfinite(number) and number > 0):
                raise ValueError(f"{name}: expected a finite number above 0, got {number}")
        steps = min(max(round(PROBE / dt), 20), 200)
        x: Any = poisson(rate, dt, steps, 4, self.inputs, options.get("generator"))
        x = x.to(next(self.readout.parameters()).device)
        training = self.training
        self.links.eval()
        states = self.rest(4, dt)  # the probe may be shorter than the delays
        for k, link in enumerate(self.links):
            self.draw_(k, rate, dt, options)
            z, _ = self.run(k, x, states[k], None, dt)
            x = link(z)
            # The rate of single spikes with the same power: that of the spikes themselves, less where they are pooled.
            rate = max(float(x.square().mean()) * 1000 / dt, SILENT)
        self.links.train(training)
        draw(self.readout, rate, dt, **options)
        for module in self.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.reset_running_stats()
        return self

    def draw_(self, k: int, rate: float, dt: float, options: dict[str, Any]) -> None:
        """Draw the weights of hidden layer k for inputs of that rate."""
        layer = self.layers[k]
        if not isinstance(layer, (Layer, Delayed)):
            raise TypeError(f"layers.{k}: {type(layer).__name__} is no Layer, whose weights this can draw")
        draw(layer, rate, dt, **options)


def draw(layer: Layer | Delayed, rate: float, dt: float, **options: Any) -> None:
    """Draw the weights of a layer with or without delays for inputs of that rate."""
    if isinstance(layer, Delayed):
        layer.init_(rate, dt, **options)
    else:
        fluctuation_driven_(layer, rate, dt, **options)


def neuron_class(neuron: str | type[Layer]) -> type[Layer]:
    """The class of a neuron given by name, or the class itself.

    Raises:
        ValueError: if there is no neuron of that name.
    """
    if not isinstance(neuron, str):
        return neuron
    spiking = [name for name in NEURONS if name != "li"]
    if neuron not in spiking:
        raise ValueError(f"neuron: expected one of {', '.join(spiking)} or a class, got {neuron!r}")
    return NEURONS[neuron]


def _counts(x: Events | Tensor) -> Tensor:
    """(B, N) how many spikes each channel sent."""
    if isinstance(x, Tensor):
        return x.abs().sum(0)
    if x.value is None:
        return x.counts()
    T, B, N = x.shape
    return Events(x.indptr, x.index, (T, B, N), x.dt, x.value.abs(), x.lengths, check=False).counts()
