"""Hebbian learning of a subspace, and projection out of it."""

from spiking.kernels.oja.op import Lateral, oja, quantise
from spiking.kernels.oja.project import project

__all__ = ["Lateral", "oja", "project", "quantise"]
