"""Whole-number spike counts times int8 weights, with whole-number sums: y = V_th W s."""

from spiking.kernels.spike_linear.op import encode, partial_sums, spike_linear
from spiking.kernels.spike_linear.packed import PackedWeight, pack

__all__ = ["PackedWeight", "encode", "pack", "partial_sums", "spike_linear"]
