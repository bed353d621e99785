"""Methods that keep new learning out of the inputs of old tasks."""

from spiking.plasticity.projection.gpm import GPM
from spiking.plasticity.projection.hlop import HLOP
from spiking.plasticity.projection.owm import OWM

__all__ = ["GPM", "HLOP", "OWM"]
