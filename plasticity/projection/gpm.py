"""GPM: gradient projection memory, the subspace of each task's inputs by a singular value decomposition at its end.

    R (rows, n)  activity of a layer for samples of the task,     Q = R - R M^T M,     Q = U S V^T
    held = (|R|^2 - |Q|^2) / |R|^2;  rows of V^T join M while held < epsilon, held += S_i^2 / |R|^2
    G <- G - G M^T M

Saha, Garg & Roy 2021, "Gradient projection memory for continual learning". As in their code the first task's rows are
those whose energies, with all larger ones, stay below epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spiking.events import Events
from spiking.plasticity.arguments import real, whole
from spiking.plasticity.method import Batches, pick
from spiking.plasticity.projection.base import Projection
from spiking.plasticity.projection.rows import share
from spiking.plasticity.traces import Traces, reduce_events


class GPM(Projection):
    """Gradient projection memory for named layers.

    Arguments:
        model: any module.
        layers: names.
        threshold: epsilon, one number, layer -> number, or a function of the task's number that returns either.
        trace, trace_decay: activity of a sample, as in `Traces`.
        samples: inputs of the task that are looked at.
        patches: rows of a layer that are kept of each batch; `None` is all.
        batch_axis: axis of the samples in tensors, 0, or 1 for (T, B, in).
        seed: of the rows drawn.
        time_first, fix_vectors: as in `Projection`.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        *,
        threshold: float | Mapping[str, float] | Callable[[int], float | Mapping[str, float]] = 0.97,
        trace: str = "rates",
        trace_decay: float = 0.951,
        samples: int = 300,
        patches: int | None = None,
        batch_axis: int = 0,
        seed: int = 0,
        time_first: bool = True,
        fix_vectors: bool = True,
    ) -> None:
        whole("samples", samples, 1)
        super().__init__(model, layers, "layers", time_first, fix_vectors, orthonormal=True)
        self.model, self.threshold, self.samples, self.axis = model, threshold, samples, batch_axis
        self._thresholds(0)
        self._watching = Traces(self.sites, trace, trace_decay, patches, seed)
        self._watching.watch = False

    def _thresholds(self, task: int) -> dict[str, float]:
        given = self.threshold(task) if callable(self.threshold) else self.threshold
        chosen = dict(given) if isinstance(given, Mapping) else dict.fromkeys(self.sites, given)
        if set(chosen) != set(self.sites):
            raise ValueError(f"threshold: expected one for each of {sorted(self.sites)}, got {sorted(chosen)}")
        for name, epsilon in chosen.items():
            real(f"threshold: {name}", epsilon, math.ulp(0.0), 1.0, "above 0 and up to 1")
        return chosen

    @torch.no_grad()
    def next_task(self, batches: Batches | None = None, **options: Any) -> None:
        """Look at samples of the task that is over.

        Arguments:
            batches: its inputs and labels; the first `samples` are run through the model.

        Raises:
            ValueError: without batches.
        """
        thresholds = self._thresholds(self.task)
        activity = self._activity(batches)
        super().next_task(batches, **options)
        for name, R in activity.items():
            self.keep(name, grow(self.basis[name], R, thresholds[name]))

    @torch.no_grad()
    def report(self, batches: Batches | None = None) -> dict[str, dict[str, float]]:
        """Layer -> `rows`, `inputs` and `energy`, the share of the samples' that the rows hold.

        Arguments:
            batches: of a task; then rows and energy are those that memory will have when the task is over. `None` tells
                the rows that it has.
        """
        if batches is None:
            return super().report()
        thresholds, draw = self._thresholds(self.task), self._watching.generator.get_state()
        found = {}
        for name, R in self._activity(batches).items():
            M = grow(self.basis[name], R, thresholds[name])
            found[name] = {"rows": float(M.shape[0]), "inputs": float(M.shape[1]), "energy": share(R, M)}
        self._watching.generator.set_state(draw)  # looking changes nothing
        return found

    def _activity(self, batches: Batches | None) -> dict[str, Tensor]:
        if batches is None:
            raise ValueError("batches: GPM looks at the task that is over; expected its inputs and labels, got None")
        training, left = self.model.training, self.samples
        self.model.eval()
        self._watching.forget()
        self._watching.watch = True
        try:
            for inputs, labels in batches:
                self.model(pick(inputs, torch.arange(min(left, len(labels))), self.axis))
                left -= len(labels)
                if left <= 0:
                    break
            found = {name: self._watching.take(name) for name in self.sites}
        finally:
            self._watching.watch = False
            self.model.train(training)
        return {name: reduce_events(R, "steps", 1.0) if isinstance(R, Events) else R for name, R in found.items()}


def grow(M: Tensor, R: Tensor, epsilon: float) -> Tensor:
    """Memory M (k, n) with the rows that a share epsilon of the energy of activity R (rows, n) needs."""
    total = R.square().sum().clamp(min=1e-30)
    rest = R - (R @ M.t()) @ M
    _, values, directions = torch.linalg.svd(rest, full_matrices=False)
    held = torch.cumsum(values.square(), 0) / total
    if not M.shape[0]:
        count = int((held < epsilon).sum())
    else:
        before = 1 - rest.square().sum() / total
        count = int((torch.cat([before[None], before + held])[:-1] < epsilon).sum())
    count = min(count, M.shape[1] - M.shape[0])
    return torch.cat([M, directions[:count]])
