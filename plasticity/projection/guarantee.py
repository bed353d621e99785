"""A warning where an optimiser makes of a projected gradient a step that isn't.

Old outputs stay only if the change of a weight is the projected gradient times a number. Adam divides every weight's
gradient by a scale of its own, weight decay adds the weights themselves, momentum may still hold the last task's
gradients.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook


class ProjectionWarning(UserWarning):
    """An optimiser's step leaves the subspace that its gradients were projected to."""


class Guard:
    """Looks once at the optimiser that next steps these parameters.

    Arguments:
        parameters: whose gradients were projected.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        watched = {id(p) for p in parameters}  # alive as long as the method that holds this guard

        def look(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            if not any(id(p) in watched for group in optimizer.param_groups for p in group["params"]):
                return
            handle.remove()
            found = trouble(optimizer)
            if found:
                warnings.warn(
                    f"{type(optimizer).__name__}: {' and '.join(found)}; old tasks are no longer protected exactly",
                    ProjectionWarning, stacklevel=2,
                )  # fmt: skip

        handle = register_optimizer_step_pre_hook(look)
        weakref.finalize(self, handle.remove)


def trouble(optimizer: torch.optim.Optimizer) -> list[str]:
    """What in an optimiser turns a projected gradient into another step, in words; empty if nothing does."""
    found = []
    if not isinstance(optimizer, torch.optim.SGD):
        found.append("it may scale every weight's gradient by itself")
    if any(group.get("weight_decay", 0) for group in optimizer.param_groups):
        found.append("weight decay changes weights along old inputs")
    if any(state.get("momentum_buffer") is not None for state in optimizer.state.values()):
        found.append("momentum still holds gradients of the task before (make a new optimiser for each task)")
    return found
