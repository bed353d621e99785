"""Spikes times sparse synapses, paid per event and synapse."""

from spiking.kernels.sparse_linear.op import sparse_linear
from spiking.kernels.sparse_linear.weight import SparseWeight

__all__ = ["SparseWeight", "sparse_linear"]
