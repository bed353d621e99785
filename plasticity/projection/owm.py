"""OWM: orthogonal weight modification, a soft projector that recursive least squares keep up to date.

    k = P x,     P <- P - k k^T / (alpha + x^T k),     G <- G P,     P = I at the start

Zeng, Chen, Cui & Yu 2019, "Continual learning of context-dependent processing in neural networks", x a batch's mean
input. After inputs x_1, ..., x_m P = alpha (alpha I + sum x_i x_i^T)^{-1}: near 0 along what was seen, 1 elsewhere.
So n - tr P directions are closed, each counted by how much of it is, and P leaves |x P|^2 of the energy of x.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spiking.events import Events
from spiking.plasticity.arguments import real
from spiking.plasticity.method import Batches, copied
from spiking.plasticity.projection.base import Projection
from spiking.plasticity.traces import Traces, reduce_events

CHECK, RECENT = 10, 8  # every so many calls of learn() a batch is kept, so many at a time, for `report`


class OWM(Projection):
    """Orthogonal weight modification for named layers.

    What a task closes is closed for those after it: at once, a task would shut itself out.

    Arguments:
        model: any module.
        layers: names.
        alpha: how much of an input's energy must be seen before its direction is closed.
        trace, trace_decay: activity of a sample, as in `Traces`.
        time_first, fix_vectors: as in `Projection`.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(
        self, model: nn.Module, layers: Sequence[str], *, alpha: float = 1.0, trace: str = "rates",
        trace_decay: float = 0.951, time_first: bool = True, fix_vectors: bool = True,
    ) -> None:
        real("alpha", alpha, math.ulp(0.0), said="a finite number above 0")
        super().__init__(model, layers, "layers", time_first, fix_vectors, orthonormal=False)
        self.alpha = alpha
        self.traces = Traces(self.sites, trace, trace_decay)
        self.projector = {n: torch.eye(s.inputs).to(s.weight.detach()) for n, s in self.sites.items()}
        self.seen = {name: P.clone() for name, P in self.projector.items()}
        self.recent: dict[str, list[Tensor]] = {name: [] for name in self.sites}
        self.calls = 0

    def outside(self, name: str, G: Tensor) -> Tensor:
        P = self.projector[name]
        return P @ G if self.sites[name].ours else G @ P

    @torch.no_grad()
    def learn(self) -> None:
        """Close the direction of the last batch's mean input, for the tasks to come."""
        look = self.calls % CHECK == 0
        self.calls += 1
        for name in self.sites:
            x = self.traces.take(name)
            if look or not self.recent[name]:
                rows = reduce_events(x, "steps", 1.0) if isinstance(x, Events) else x
                self.recent[name] = [*self.recent[name][1 - RECENT :], rows]
            mean = (x.counts().sum(0) / x.lengths.sum().clamp(min=1)) if isinstance(x, Events) else x.mean(0)
            P = self.seen[name]
            k = P @ mean.to(P)
            P.addr_(k, k, alpha=-1 / float(self.alpha + mean.to(P) @ k))

    def next_task(self, batches: Any = None, **options: Any) -> None:
        """Use from now on what this task has closed."""
        super().next_task(batches, **options)
        self.projector = {name: P.clone() for name, P in self.seen.items()}
        self.recent = {name: [] for name in self.sites}

    @torch.no_grad()
    def report(self, batches: Batches | None = None) -> dict[str, dict[str, float]]:
        """Layer -> `rows`: directions closed, in all, `inputs`, and `energy`: share of the last batches' in them.

        Arguments:
            batches: not needed.
        """
        found = {}
        for name, P in self.seen.items():
            found[name] = {"rows": float(P.shape[0] - P.trace()), "inputs": float(P.shape[0])}
            if self.recent[name]:
                x = torch.cat(self.recent[name]).to(P)
                found[name]["energy"] = 1 - float((x @ P).square().sum() / x.square().sum().clamp(min=1e-30))
        return found

    def stored(self) -> int:
        return sum(P.numel() for P in self.projector.values())

    def state_dict(self) -> dict[str, Any]:
        own = {"projector": self.projector, "seen": self.seen}
        return {**super().state_dict(), **copied(own)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.projector, self.seen = copied(state["projector"], self.device), copied(state["seen"], self.device)
