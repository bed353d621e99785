"""Networks of spiking layers with a leaky integrator for readout, and networks to measure them by."""

from spiking.networks.conv import SpikingConv2d, SpikingConvNet
from spiking.networks.elm_network import ELMNetwork
from spiking.networks.lstm import LSTM
from spiking.networks.mlp import SpikingMLP
from spiking.networks.network import HeldDropout, Network
from spiking.networks.tcn import TCN

__all__ = ["LSTM", "TCN", "ELMNetwork", "HeldDropout", "Network", "SpikingConv2d", "SpikingConvNet", "SpikingMLP"]
