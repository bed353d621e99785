"""Hebbian learning of a subspace, and projection out of it."""

from spiking.kernels.oja.moment import moment
from spiking.kernels.oja.op import Lateral, oja, quantise
from spiking.kernels.oja.project import project

__all__ = ["Lateral", "moment", "oja", "project", "quantise"]
