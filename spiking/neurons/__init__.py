"""Layers of spiking neurons: each a thin module around one op."""

from spiking.neurons.adlif import AdLIF, SEAdLIF
from spiking.neurons.alif import ALIF
from spiking.neurons.bounded import Bounded, tau
from spiking.neurons.branch_elm import BranchELM
from spiking.neurons.connectome import Connectome
from spiking.neurons.conventions import like
from spiking.neurons.cuba import CubaLIF
from spiking.neurons.delay import Delay
from spiking.neurons.delayed import Delayed, DelayedState
from spiking.neurons.elm import ELM, ELMState
from spiking.neurons.elm_layer import ELMLayer
from spiking.neurons.layer import Layer
from spiking.neurons.li import LI
from spiking.neurons.lif import LIF
from spiking.neurons.norm import BatchNorm
from spiking.neurons.silif import CSiLIF, SiLIF
from spiking.neurons.state import detach

NEURONS: dict[str, type[Layer]] = {
    "lif": LIF, "cuba": CubaLIF, "alif": ALIF, "adlif": AdLIF, "seadlif": SEAdLIF, "silif": SiLIF,
    "csilif": CSiLIF, "li": LI,
}

__all__ = [
    "ALIF", "ELM", "LI", "LIF", "NEURONS", "AdLIF", "BatchNorm", "Bounded", "BranchELM", "CSiLIF", "Connectome",
    "CubaLIF", "Delay", "Delayed", "DelayedState", "ELMLayer", "ELMState", "Layer", "SEAdLIF", "SiLIF", "detach",
    "like", "tau",
]
