"""What EWC and SI share: a quadratic spring on every weight,  c sum_i importance_i (theta_i - anchor_i)^2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spiking.plasticity.arguments import real
from spiking.plasticity.method import Method, copied


class Spring(Method):
    """Base of methods with a quadratic penalty.

    Arguments:
        model: whose parameters that train are held.
        strength: of the method.
        share: c over the strength.
    """

    def __init__(self, model: nn.Module, strength: float, share: float = 1.0) -> None:
        factor = share * real("strength", strength, 0.0, said="a finite number of 0 or more")
        super().__init__()
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise ValueError("model: expected parameters that train, got none")
        self.factor = factor
        self.importance = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.anchor = {name: p.detach().clone() for name, p in self.parameters.items()}

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return next(iter(self.parameters.values())).device

    def penalty(self) -> Tensor:
        if not self.task:
            return next(iter(self.parameters.values())).new_zeros(())
        pulls = [
            (self.importance[name] * (p - self.anchor[name]).square()).sum() for name, p in self.parameters.items()
        ]
        return self.factor * torch.stack(pulls).sum()

    def stored(self) -> int:
        return 2 * sum(p.numel() for p in self.parameters.values()) if self.task else 0

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "importance": copied(self.importance), "anchor": copied(self.anchor)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        if set(state["anchor"]) != set(self.parameters):
            raise ValueError(f"state: expected parameters {sorted(self.parameters)}, got {sorted(state['anchor'])}")
        self.importance, self.anchor = copied(state["importance"], self.device), copied(state["anchor"], self.device)
