"""Learning rules, memories and the mathematics of sparse distributed representations."""

from spiking.plasticity.method import Method, logits
from spiking.plasticity.projection import GPM, HLOP, OWM
from spiking.plasticity.regularise import EWC, SI
from spiking.plasticity.replay import Replay

__all__ = ["EWC", "GPM", "HLOP", "OWM", "SI", "Method", "Replay", "logits"]
