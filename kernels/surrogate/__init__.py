"""Surrogate derivatives of the spike threshold."""

from spiking.kernels.surrogate.reference import (
    Surrogate,
    arctan,
    boxcar,
    derivative,
    fast_sigmoid,
    multi_gaussian,
    never,
    resolve,
    sigmoid,
    slayer,
    spike,
    triangle,
)

__all__ = [
    "Surrogate", "arctan", "boxcar", "derivative", "fast_sigmoid", "multi_gaussian", "never", "resolve", "sigmoid",
    "slayer", "spike", "triangle",
]
