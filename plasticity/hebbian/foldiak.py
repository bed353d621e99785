"""Foldiak's network: Hebbian synapses from the inputs, anti-Hebbian ones between the neurons.

    Y = X Q^T (I - W^T)^{-1}                 the state in which y = Q x + W y settles
    Q <- Q + eta (Y^T X - diag(Y^T Y) Q) / R
    W <- W - mu  offdiag(Y^T Y) / R

Foldiak 1989, "Adaptive network for optimal linear feature extraction": the neurons become uncorrelated and span the
principal subspace. Unlike HLOP's, these lateral synapses run from neuron to neuron.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels.oja import moment
from spiking.plasticity.arguments import real
from spiking.plasticity.hebbian.oja import OjaPCA


class Foldiak(OjaPCA):
    """k neurons that learn to be uncorrelated and to span the principal subspace.

    `weight` is Q (k, n), `lateral` W (k, k) with a diagonal of 0.

    Arguments:
        lateral_lr: mu; `None` is ten times eta: decorrelation must keep up with learning.
        others: as in `OjaPCA`.
    """

    def __init__(
        self, inputs: int, neurons: int, lr: float = 0.01, *, lateral_lr: float | None = None, iterations: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(inputs, neurons, lr, iterations=iterations, seed=seed)
        self.lateral_lr = real("lateral_lr", 10 * lr if lateral_lr is None else lateral_lr, 0.0, said="0 or more")
        self.lateral = torch.zeros(neurons, neurons)

    def _settled(self) -> Tensor:
        """F (k, n) with y = F x once the neurons have settled."""
        return _settle(self.weight, self.lateral)

    @torch.no_grad()
    def learn(self, x: Tensor | Events) -> Any:
        """Learn from rows (R, n) or Events (T, B, n); returns the rule itself; raises as `OjaPCA.learn`."""
        Q, W = self.weight, self.lateral
        for _ in range(self.iterations):
            F = _settle(Q, W)
            pull = moment(x if isinstance(x, Events) else x.to(F.dtype), F.t().contiguous()).t()  # Y^T X / R
            power = pull @ F.t()  # Y^T Y / R
            Q = Q + self.lr * (pull - power.diagonal()[:, None] * Q)
            W = W - self.lateral_lr * (power - torch.diag(power.diagonal()))
        self.weight, self.lateral = self._sound(Q), self._sound(W)
        return self

    @torch.no_grad()
    def respond(self, x: Tensor | Events) -> Tensor:
        """The settled activity of rows, (R, k), or of Events, (T, B, k)."""
        free = super().respond(x)
        return _settle(free.flatten(0, -2).t(), self.lateral).t().reshape(free.shape)


def _settle(drive: Tensor, W: Tensor) -> Tensor:
    """What neurons (k, ...) say once y = drive + W y."""
    return torch.linalg.solve(torch.eye(len(W)).to(W) - W, drive)
