"""Networks to and from the Neuromorphic Intermediate Representation; neuron.py says what is equal to what."""

from spiking.nir.export import to_nir
from spiking.nir.graph import Graph
from spiking.nir.load import from_nir
from spiking.nir.neuron import READERS

__all__ = ["READERS", "Graph", "from_nir", "to_nir"]
