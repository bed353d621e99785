"""The ops: each one equation with three interchangeable backends."""

from spiking.kernels.backend import FallbackWarning, set_backend
from spiking.kernels.delay import delay_linear
from spiking.kernels.dendrites import strongest
from spiking.kernels.event_conv import event_conv
from spiking.kernels.event_linear import event_linear
from spiking.kernels.lif import Adaptation, LIFState, Resonance, Rule, lif
from spiking.kernels.oja import Lateral, oja
from spiking.kernels.reservoir import reservoir
from spiking.kernels.sparse_linear import SparseWeight
from spiking.kernels.spike_linear import spike_linear
from spiking.kernels.surrogate import Surrogate

__all__ = [
    "Adaptation", "FallbackWarning", "LIFState", "Lateral", "Resonance", "Rule", "SparseWeight", "Surrogate",
    "delay_linear", "event_conv", "event_linear", "lif", "oja", "reservoir", "set_backend", "spike_linear",
    "strongest",
]
