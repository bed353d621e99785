"""SI: synaptic intelligence, springs as stiff as a weight's own share in lowering the loss.

    w_i = - sum over steps of g_i dtheta_i              the path integral, g the gradient of the task's loss
    Omega_i += w_i / ((theta_i - theta_i at the task's start)^2 + xi)                   when the task ends
    loss + c sum_i Omega_i (theta_i - theta*_i)^2       theta* at the last task's end

Zenke, Poole & Ganguli 2017, "Continual learning through synaptic intelligence". As in their code g leaves out the
penalty's own gradient, and Omega is not negative.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spiking.plasticity.arguments import real
from spiking.plasticity.method import copied
from spiking.plasticity.regularise.penalty import Spring


class SI(Spring):
    """Synaptic intelligence; `project()` and `learn()` stand before and after each step.

    Arguments:
        model: whose parameters that train are held.
        strength: c.
        xi: damping, which keeps a weight that hardly moved from a spring without limit.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(self, model: nn.Module, strength: float = 0.1, *, xi: float = 0.1) -> None:
        real("xi", xi, math.ulp(0.0), said="a finite number above 0")
        super().__init__(model, strength)
        self.xi = xi
        self.path = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self._before: dict[str, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def project(self) -> None:
        """Remember weights and gradients as they are before the step; changes none."""
        self._before = {}
        for name, p in self.parameters.items():
            if p.grad is not None:
                pull = 2 * self.factor * self.importance[name] * (p - self.anchor[name]) if self.task else 0
                self._before[name] = p.clone(), p.grad - pull

    @torch.no_grad()
    def learn(self) -> None:
        """Add the step to the path integral.

        Raises:
            RuntimeError: if `project()` was not called before the step.
        """
        if not self._before:
            raise RuntimeError("learn: expected project() to be called after the backward pass, before the step")
        for name, (theta, grad) in self._before.items():
            self.path[name] -= grad * (self.parameters[name] - theta)
        self._before = {}

    @torch.no_grad()
    def next_task(self, batches: Any = None, **options: Any) -> None:
        """Turn the path integral into importance."""
        super().next_task(batches, **options)
        for name, p in self.parameters.items():
            moved = (p - self.anchor[name]).square()
            self.importance[name] += (self.path[name] / (moved + self.xi)).clamp(min=0)
            self.anchor[name] = p.clone()
            self.path[name].zero_()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "path": copied(self.path)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.path = copied(state["path"], self.device)
