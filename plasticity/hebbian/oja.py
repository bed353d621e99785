"""Oja's subspace rule, alone.

    H <- H + eta Y^T (X - Y H) / R,     Y = X H^T

Oja 1989, "Neural networks, principal components, and subspaces". The rows become an orthonormal basis of the principal
subspace, turned in an arbitrary way; one row alone becomes the first principal direction (Oja 1982).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels import event_linear, oja
from spiking.plasticity.projection.rows import first_rows


class OjaPCA:
    """k neurons that learn the principal subspace of their n inputs.

    Arguments:
        inputs, neurons: n and k.
        lr: eta; stable while it stays below 1 over the largest eigenvalue of X^T X / R.
        iterations: times that a batch is learned.
        seed: of the first rows.

    Raises:
        ValueError: naming the argument that does not fit; more neurons than inputs.
    """

    def __init__(self, inputs: int, neurons: int, lr: float = 0.01, *, iterations: int = 1, seed: int = 0) -> None:
        if not 0 < neurons <= inputs:
            raise ValueError(f"neurons: expected 1 to {inputs}, as many as there are inputs, got {neurons}")
        if not 0 < lr < math.inf:
            raise ValueError(f"lr: expected a finite step above 0, got {lr}")
        self.lr, self.iterations = lr, iterations
        self.weight = first_rows(neurons, inputs, torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def learn(self, x: Tensor | Events) -> Any:
        """Learn from rows (R, n), or from Events (T, B, n), each step of a sample a row; returns the rule itself.

        Raises:
            FloatingPointError: if the weights diverge; they stay as they were.
        """
        H, _ = oja(x, self.weight, lr=self.lr, iterations=self.iterations, decay=0.0, clamp=None)
        self.weight = self._sound(H)
        return self

    def _sound(self, weight: Tensor) -> Tensor:
        """Weights that a step led to, if they are finite."""
        if not bool(weight.isfinite().all()):
            raise FloatingPointError(
                f"{type(self).__name__}: the weights diverge; lr={self.lr:g} times the largest eigenvalue of its "
                "inputs' second moment must stay below 1"
            )
        return weight

    @torch.no_grad()
    def respond(self, x: Tensor | Events) -> Tensor:
        """The activity y of rows, (R, k), or of Events, (T, B, k)."""
        if isinstance(x, Events):
            return event_linear(x, self.weight.t().contiguous())
        return x.to(self.weight.dtype) @ self.weight.t()
