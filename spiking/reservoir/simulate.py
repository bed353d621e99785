"""A network with its gains as the arguments of the op `spiking.kernels.reservoir`."""

from __future__ import annotations

import torch

from spiking.events import Events
from spiking.kernels import SparseWeight
from spiking.kernels.reservoir import (
    IntegrateFire,
    Kinetics,
    Record,
    Recorder,
    ReservoirState,
    ShortTerm,
    Synapses,
    reservoir,
)
from spiking.reservoir.network import Network
from spiking.reservoir.presets import Preset


class Circuit:
    """A network at given gains, made once and run often.

    Arguments:
        network: what was drawn.
        preset: from which.
        dt: step, ms.
        gain: factor of the recurrent synapses.
        input_gain: factor of the input synapses.
    """

    def __init__(self, network: Network, preset: Preset, dt: float, gain: float, input_gain: float) -> None:
        self.inputs = Synapses.of(_scaled(network.input, input_gain), 0)
        self.recurrent = Synapses.of(_scaled(network.recurrent, gain), network.delay)
        threshold = preset.threshold if network.threshold is None else network.threshold
        self.neuron = IntegrateFire(
            network.tau_mem, threshold, network.reset, network.bias, network.refractory,
            preset.tau_adapt if preset.adapt else None, preset.adapt,
        )  # fmt: skip
        self.kinetics = Kinetics()
        if max(preset.tau_syn) > 0:
            self.kinetics = Kinetics("exponential", network.tau_syn, preset.tau_inhibitory, exact=not preset.normalised)
        self.short_term = None
        if network.short_term is not None:
            group = torch.from_numpy(network.inhibitory).to(torch.int64)
            self.short_term = ShortTerm(network.short_term[0], network.short_term[1], network.short_term[2], group)
        self.start, self.dt = network.start, dt

    def run(
        self, x: Events, state: ReservoirState | None = None, record: Recorder | None = None, budget: int | None = None
    ) -> tuple[Record, ReservoirState]:
        """Simulate; arguments and errors as those of the op.

        Raises:
            ValueError: besides, if the step or the channels are not those of the network.
        """
        self.check(x)
        given = (self.inputs, self.recurrent, self.neuron, self.kinetics, self.short_term)
        record = Recorder() if record is None else record
        if state is None and bool(self.start.any()):
            state = self.begin(x, record)
        return reservoir(x, *given, state, record=record, budget=budget)

    def begin(self, x: Events, record: Recorder | None = None) -> ReservoirState:
        """The state in which recordings begin."""
        given = (self.inputs, self.recurrent, self.neuron, self.kinetics, self.short_term)
        _, state = reservoir(x[:0], *given, None, record=Recorder() if record is None else record)
        return state._replace(membrane=self.start.to(state.membrane).expand_as(state.membrane).contiguous())

    def check(self, x: Events) -> None:
        """Raise if the step or the channels are not those of the network."""
        if x.dt != self.dt:
            raise ValueError(f"dt: layer {self.dt:g} ms, events {x.dt:g} ms")
        if x.shape[2] != self.inputs.shape[0]:
            raise ValueError(f"events: expected {self.inputs.shape[0]} channels, got {x.shape[2]}")


def _scaled(weight: SparseWeight, gain: float) -> SparseWeight:
    return weight.with_values(weight.values * gain)
