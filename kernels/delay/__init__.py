"""Spikes that arrive later: weights with delays of their own, paid per event."""

from spiking.kernels.delay.op import delay_linear

__all__ = ["delay_linear"]
