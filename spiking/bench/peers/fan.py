"""Recurrent connections through a given matrix, in the place of a library's own Linear."""

from torch import Tensor, nn


class Fan(nn.Module):
    """z V.

    Arguments:
        matrix: V (N, N); row n is the fan-out of neuron n.
    """

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, z: Tensor) -> Tensor:
        """What each neuron receives (B, N) from spikes (B, N)."""
        return z @ self.matrix
