"""Sanger's rule, the generalised Hebbian algorithm: principal directions in order.

    H <- H + eta (Y^T X - LT[Y^T Y] H) / R,     Y = X H^T,     LT keeps the diagonal and what is below it

Sanger 1989, "Optimal unsupervised learning in a single-layer linear feedforward neural network": each neuron learns
what those before it leave, so that row i becomes the i-th eigenvector of the second moment of X.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels.oja import moment
from spiking.plasticity.hebbian.oja import OjaPCA


class Sanger(OjaPCA):
    """k neurons that learn the first k principal directions of their inputs; arguments as in `OjaPCA`."""

    @torch.no_grad()
    def learn(self, x: Tensor | Events) -> Any:
        """Learn from rows (R, n) or Events (T, B, n); returns the rule itself; raises as `OjaPCA.learn`."""
        H = self.weight
        for _ in range(self.iterations):
            pull = moment(x if isinstance(x, Events) else x.to(H.dtype), H.t().contiguous()).t()  # Y^T X / R
            H = H + self.lr * (pull - torch.tril(pull @ H.t()) @ H)
        self.weight = self._sound(H)
        return self
