"""A layer of many small expressive leaky memory neurons, fused over time."""

from spiking.kernels.elm_layer.op import LayerState, elm_layer

__all__ = ["LayerState", "elm_layer"]
