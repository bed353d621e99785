"""A recurrent network whose synapses and thresholds learn while it runs, at the cost of its spikes."""

from spiking.kernels.stdp.op import PlasticNetwork, stdp
from spiking.kernels.stdp.plastic import Plastic
from spiking.kernels.stdp.rule import Homeostasis, Rule, Sliding
from spiking.kernels.stdp.state import LearningState, again

__all__ = ["Homeostasis", "LearningState", "Plastic", "PlasticNetwork", "Rule", "Sliding", "again", "stdp"]
