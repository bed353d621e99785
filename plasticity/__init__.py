"""Learning rules, memories and the mathematics of sparse distributed representations."""

from spiking.plasticity.method import Method

__all__ = ["Method"]
