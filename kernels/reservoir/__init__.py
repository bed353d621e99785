"""A recurrent network of spiking neurons, simulated at the cost of its spikes."""

from spiking.kernels.reservoir.neuron import IntegrateFire, Izhikevich, Kinetics
from spiking.kernels.reservoir.op import reservoir
from spiking.kernels.reservoir.record import Explosion, Interrupted, Record, Recorder
from spiking.kernels.reservoir.shortterm import ShortTerm
from spiking.kernels.reservoir.state import ReservoirState
from spiking.kernels.reservoir.synapses import Connections, Generated, Synapses

__all__ = [
    "Connections", "Explosion", "Generated", "IntegrateFire", "Interrupted", "Izhikevich", "Kinetics", "Record",
    "Recorder", "ReservoirState", "ShortTerm", "Synapses", "reservoir",
]
