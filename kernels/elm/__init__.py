"""The expressive leaky memory neuron's recurrence, fused over time."""

from spiking.kernels.elm.op import elm
from spiking.kernels.elm.rule import MLP, MemoryState

__all__ = ["MLP", "MemoryState", "elm"]
