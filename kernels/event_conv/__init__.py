"""Convolution of camera events, paid per event."""

from spiking.kernels.event_conv.layout import from_torch, to_torch
from spiking.kernels.event_conv.op import event_conv

__all__ = ["event_conv", "from_torch", "to_torch"]
