"""What the projecting methods share: G <- G - G H^T H for the weights of named layers, H the rows kept of old tasks.

A step along the projected gradient changes no output of a layer for inputs inside span(H). Other parameters, such as
biases, norms and thresholds, have no such inputs: after the first task those with less than two axes stay as they are
(`fix_vectors`), except in layers with weights that the method does not project, such as heads of a task's own.
Recurrent weights, and delays, are not projected. Batch normalisation would move the inputs of old tasks by itself:
after the first task its layers use, and keep, the statistics they have.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spiking.kernels.oja import project
from spiking.kernels.oja.project import remaining
from spiking.plasticity.method import Batches, Inputs, Method
from spiking.plasticity.projection.guarantee import Guard, ProjectionWarning
from spiking.plasticity.projection.saved import Saved
from spiking.plasticity.sites import Site, find

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Projection(Method):
    """Base of methods that project gradients.

    Arguments:
        model: whose layers are meant.
        names: of the layers.
        argument: how an error calls the names.
        time_first: inputs of `nn.Linear` with three axes or more start with time.
        fix_vectors: hold other parameters, and the statistics of batch normalisation, after the first task.
        orthonormal: the rows kept are; then activity is projected where that is cheaper than gradients (saved.py).
    """

    def __init__(
        self, model: nn.Module, names: Iterable[str], argument: str, time_first: bool, fix_vectors: bool,
        orthonormal: bool,
    ) -> None:
        super().__init__()
        self.sites = find(model, names, argument, time_first)
        if not self.sites:
            raise ValueError(f"{argument}: expected at least one layer, got none")
        self.basis = {name: s.weight.detach().new_zeros(0, s.inputs) for name, s in self.sites.items()}
        self._left: dict[str, Tensor] = {}  # the complements of rows that are more than half of the inputs
        self.saved = Saved(self.sites, self._rows) if orthonormal else None
        self._fixed = list(_vectors(model, self.sites.values())) if fix_vectors else []
        self._guard: Guard | None = None
        self._norms = {name: m for name, m in model.named_modules() if isinstance(m, NORMS)} if fix_vectors else {}
        loose = [name for name, norm in self._norms.items() if norm.running_mean is None]
        if loose:
            warnings.warn(
                f"{', '.join(loose)}: has no running statistics to keep, so that each batch moves the inputs of the "
                "layers behind it; old tasks are not protected exactly", ProjectionWarning, stacklevel=3,
            )  # fmt: skip
        for module in {model, *self._norms.values()} if self._norms else ():
            module.register_forward_pre_hook(self._hold)

    def _rows(self, name: str) -> tuple[Tensor, Tensor | None]:
        return self.basis[name], self._left.get(name)

    def _hold(self, module: nn.Module, args: Any) -> None:
        """Undo for batch normalisation what `model.train()` has done, once there is an old task."""
        if self.task:
            for norm in self._norms.values():
                norm.eval()

    @property
    def device(self) -> torch.device:
        """Where the layers lie."""
        return next(iter(self.sites.values())).weight.device

    def observe(self, inputs: Inputs, labels: Tensor | None = None, task: int = 0) -> tuple[Inputs, Tensor]:
        if self.saved is not None:
            self.saved.begin()
        return super().observe(inputs, labels, task)

    @torch.no_grad()
    def project(self) -> None:
        """Take out of the gradients what old tasks' inputs would feel; warns once of an optimiser that undoes it."""
        if self.saved is not None:
            self.saved.watching = False
        if not self.task:
            return
        for name, site in self.sites.items():
            grad = site.weight.grad
            if grad is None or (self.saved is not None and self.saved.spared(name, grad, site.axis)):
                continue
            grad.copy_(self.outside(name, site.matrix(grad)).view_as(grad))
        for parameter in self._fixed:
            parameter.grad = None
        if self._guard is None:
            self._guard = Guard(site.weight for site in self.sites.values())

    def outside(self, name: str, G: Tensor) -> Tensor:
        """The part of a gradient matrix that old tasks don't feel."""
        return project(G, self.basis[name], self._left.get(name), self.sites[name].axis)

    def keep(self, name: str, H: Tensor) -> None:
        """Project out of the rows H (k, n) from now on."""
        self.basis[name] = H
        self._left.pop(name, None)
        if self.saved is not None and 2 * H.shape[0] > H.shape[1]:
            self._left[name] = remaining(H)

    def report(self, batches: Batches | None = None) -> dict[str, dict[str, float]]:
        """What the subspaces hold: layer -> `rows`, `inputs` of the layer, and `energy`, if it was measured.

        Arguments:
            batches: of the task that is being learned, for methods that measure at its end.
        """
        return {name: {"rows": float(H.shape[0]), "inputs": float(H.shape[1])} for name, H in self.basis.items()}

    def stored(self) -> int:
        return sum(H.numel() for H in self.basis.values())

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "basis": {name: H.clone() for name, H in self.basis.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        if set(state["basis"]) != set(self.sites):
            raise ValueError(f"state: expected layers {sorted(self.sites)}, got {sorted(state['basis'])}")
        for name, H in state["basis"].items():
            if H.shape[1] != self.sites[name].inputs:
                raise ValueError(f"state: {name} has {self.sites[name].inputs} inputs, got {H.shape[1]}")
            self.keep(name, H.to(self.sites[name].weight.device))


def _vectors(model: nn.Module, sites: Iterable[Site]) -> Iterable[nn.Parameter]:
    """Parameters with less than two axes, without those of layers whose weights are not projected."""
    projected = {id(site.holder) for site in sites}
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if id(module) in projected or not any(p.ndim > 1 for p in own):
            yield from (p for p in own if p.ndim < 2)
