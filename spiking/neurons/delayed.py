"""Delayed: a layer of neurons whose input comes through learned delays,

    I_t = Delay(x)_t,  z_t = neurons(I_t)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spiking.events import Events
from spiking.kernels import LIFState
from spiking.neurons.delay import Delay
from spiking.neurons.layer import Layer, timing


class DelayedState(NamedTuple):
    """Currents under way, (P, B, N), and the state of the neurons; `None` where these begin."""

    currents: Tensor | None
    neurons: LIFState | None


class Delayed(nn.Module):
    """Delays and the neurons behind them, called as a `Layer` is.

    Arguments:
        delay: the connections.
        neurons: a layer without synapses, `LIF(N)`; its norm and recurrent weights act as ever.

    Raises:
        ValueError: if the neurons have synapses of their own or are not as many as the connections reach.
    """

    def __init__(self, delay: Delay, neurons: Layer) -> None:
        super().__init__()
        if neurons.weight is not None:
            raise ValueError("neurons: expected a layer without out_features, got one with synapses of its own")
        if neurons.in_features != delay.out_features:
            raise ValueError(f"neurons: expected {delay.out_features}, as the delays reach, got {neurons.in_features}")
        self.delay, self.neurons = delay, neurons
        self.in_features, self.out_features = delay.in_features, delay.out_features

    @property
    def recurrent(self) -> Tensor | None:
        """The recurrent weights of the neurons."""
        return self.neurons.recurrent

    def forward(
        self,
        x: Events | Tensor,
        state: DelayedState | None = None,
        *,
        lengths: Tensor | None = None,
        dt: float | None = None,
        **options: Any,
    ) -> tuple[Any, DelayedState]:
        """Run delays and neurons over a batch.

        Arguments:
            x, lengths, dt: as in `Delay.forward`.
            state: where to go on from; `None` is a whole recording, `rest` the first part of one.
            **options: of the neurons, such as `trace`.

        Returns:
            what the neurons return, (T, B, N), and the state after each sample's last valid step.
        """
        dt, lengths = timing(x, self.in_features, self.delay.dt, dt, lengths)
        before = DelayedState(None, None) if state is None else state
        given = {} if isinstance(x, Events) else {"lengths": lengths, "dt": dt}
        currents, under_way = self.delay(x, before.currents, **given)
        out, after = self.neurons(currents, before.neurons, lengths=lengths, dt=dt, **options)
        return out, DelayedState(under_way, after)

    @torch.no_grad()
    def init_(
        self, rate: float, dt: float | None = None, *, xi: float = 1.0, recurrent_share: float = 0.1, **options: Any
    ) -> Delayed:
        """Draw all weights as `spiking.init.fluctuation_driven_` does, whose arguments these are; delays stay."""
        from spiking.init import fluctuation_driven_, weight_std

        dt = self.neurons.dt if dt is None else dt
        fluctuation_driven_(self.neurons, rate, dt, xi=xi, recurrent_share=recurrent_share, **options)
        assert dt is not None  # fluctuation_driven_ has refused that
        share = 1.0 if self.recurrent is None else 1.0 - recurrent_share
        std = weight_std(self.neurons, self.in_features, rate, dt, xi) * share**0.5
        self.delay.weight.normal_(generator=options.get("generator")).mul_(std)
        return self

    def rest(self, samples: int, dt: float | None = None) -> DelayedState:
        """The state at rest, to start recordings that come in parts; arguments as in `Delay.rest`."""
        return DelayedState(self.delay.rest(samples, dt), None)
