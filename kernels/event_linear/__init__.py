"""Spikes times weights, paid per event."""

from spiking.kernels.event_linear.op import event_linear

__all__ = ["event_linear"]
