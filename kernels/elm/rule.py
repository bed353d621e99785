"""What the op `elm` takes and returns besides plain tensors, and its activations by name and by number."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

ACTIVATIONS = ("relu", "silu")  # a kernel knows an activation by its place
SOLVERS = ("serial", "newton")
LARGEST = 128  # memory units that the registers of a Triton program hold
SATURATION, SLOPE = 1.7159, 2.0 / 3.0  # ctanh(x) = SATURATION tanh(SLOPE x), of LeCun et al. 1998


class MLP(NamedTuple):
    """The weights of the memory update: h hidden units, d memory units.

    Arguments:
        memory: W_m (d, h), from the decayed memory to the hidden layer.
        bias: b_h (h,), of the hidden layer.
        update: W_u (h, d), from the hidden layer to the update.
        update_bias: b_u (d,), of the update.
    """

    memory: Tensor
    bias: Tensor
    update: Tensor
    update_bias: Tensor


class MemoryState(NamedTuple):
    """Where a recording goes on: the filtered current (B, h) and the memory (B, d)."""

    current: Tensor
    memory: Tensor
