"""Networks of spiking layers with a leaky integrator for readout."""

from spiking.networks.conv import SpikingConv2d, SpikingConvNet
from spiking.networks.mlp import SpikingMLP
from spiking.networks.network import HeldDropout, Network

__all__ = ["HeldDropout", "Network", "SpikingConv2d", "SpikingConvNet", "SpikingMLP"]
