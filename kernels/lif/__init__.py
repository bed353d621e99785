"""The leaky integrate-and-fire family as one op."""

from spiking.kernels.lif.op import Adaptation, LIFState, Resonance, lif
from spiking.kernels.lif.rule import Rule

__all__ = ["Adaptation", "LIFState", "Resonance", "Rule", "lif"]
