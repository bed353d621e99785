"""The strongest dendritic segment of every unit."""

from spiking.kernels.dendrites.op import strongest

__all__ = ["strongest"]
