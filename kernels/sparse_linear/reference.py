"""y = x W for sparse synapses in plain PyTorch, as the dense product: the specification."""

from __future__ import annotations

from torch import Tensor

from spiking.events import Events
from spiking.kernels.sparse_linear.weight import SparseWeight


def sparse_linear(x: Events | Tensor, weight: SparseWeight) -> Tensor:
    """The product of a batch of spike trains with a sparse weight matrix.

    Arguments:
        x: Events (T, B, in) or a dense (T, B, in).
        weight: (in, out).

    Returns:
        (T, B, out), differentiable in a dense x and in the values.
    """
    return (x.to_dense(weight.dtype) if isinstance(x, Events) else x) @ weight.to_dense()
