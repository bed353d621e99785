"""Small Hebbian rules: principal directions, and rules of spikes that run inside a network."""

from spiking.plasticity.hebbian.bcm import BCM
from spiking.plasticity.hebbian.foldiak import Foldiak
from spiking.plasticity.hebbian.intrinsic import IntrinsicPlasticity
from spiking.plasticity.hebbian.oja import OjaPCA
from spiking.plasticity.hebbian.reward import RewardSTDP
from spiking.plasticity.hebbian.sanger import Sanger
from spiking.plasticity.hebbian.stdp import STDP, TripletSTDP

__all__ = ["BCM", "STDP", "Foldiak", "IntrinsicPlasticity", "OjaPCA", "RewardSTDP", "Sanger", "TripletSTDP"]
