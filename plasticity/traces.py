"""Traces: the pre-synaptic activity that a rule learns from, caught by hooks while a model trains.

    "rates"     mean_t x_t over a sample's valid steps                     a row a sample
    "weighted"  sum_t w_t x_t / sum_t w_t,  w_t = d^(length - 1 - t)       a row a sample: the last steps count most
    "steps"     x_t                                                        a row a step and sample

Layers without a time axis give every row they see. Events stay Events where each step is a row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from spiking.events import Events
from spiking.plasticity.arguments import real, whole
from spiking.plasticity.sites import Site
from spiking.plasticity.together import joined, world

KINDS = ("rates", "weighted", "steps")


class Traces:
    """What the sites of a model have seen since it was last taken.

    Arguments:
        sites: name -> site.
        kind: one of "rates", "weighted", "steps".
        decay: d, for a step back in time.
        most: rows that are kept of a call, drawn at random; `None` keeps all.
        seed: of that draw.

    Raises:
        ValueError: if there is no such kind.
    """

    def __init__(
        self, sites: Mapping[str, Site], kind: str = "rates", decay: float = 0.951, most: int | None = None,
        seed: int = 0,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"trace: expected one of {', '.join(KINDS)}, got {kind!r}")
        real("trace_decay", decay, math.ulp(0.0), 1.0, "above 0 and up to 1")
        if most is not None:
            whole("patches", most, 1)
        self.sites, self.kind, self.decay, self.most = dict(sites), kind, decay, most
        self.generator = torch.Generator().manual_seed(seed)
        self.watch: bool | None = None  # look at all calls, at none, or at those that train
        self._seen: dict[str, list[Tensor | Events]] = {name: [] for name in sites}
        for site in self.sites.values():
            site.module.register_forward_pre_hook(self._hook(site), with_kwargs=True)

    def _hook(self, site: Site) -> Any:
        def see(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if (module.training and torch.is_grad_enabled()) if self.watch is None else self.watch:
                x = args[0] if args else kwargs["x" if "x" in kwargs else "input"]
                with torch.no_grad():
                    self._seen[site.name].append(self.rows(site, x, kwargs.get("lengths")))

        return see

    def rows(self, site: Site, x: Tensor | Events, lengths: Tensor | None = None) -> Tensor | Events:
        """What a rule learns from of a call with input x; with `lengths` only valid steps count."""
        if isinstance(x, Events) and self.kind == "steps" and site.ours:
            return x
        if isinstance(x, Events) and site.timed:
            x = reduce_events(x, self.kind, self.decay)
        elif isinstance(x, Tensor):
            x = x.detach().to(site.weight.dtype)
            if site.timed and x.ndim > 2:
                x = reduce(x, lengths, self.kind, self.decay)
        assert isinstance(x, Tensor)
        rows = site.rows(x.to(site.weight.dtype))
        if self.most is not None and rows.shape[0] > self.most:
            chosen = torch.randperm(rows.shape[0], generator=self.generator)[: self.most]
            rows = rows[chosen.to(rows.device)]
        return rows

    def take(self, name: str) -> Tensor | Events:
        """The activity (R, n) of a site since the last call, that of all processes; it is forgotten.

        Raises:
            RuntimeError: if there was none.
        """
        seen = self._seen[name]
        if not seen:
            raise RuntimeError(
                f"{name}: saw no batch since the last call; it is called in training mode, with gradients, "
                "and through the module itself?"
            )
        self._seen[name] = []
        if world() > 1:
            return joined(torch.cat([reduce_events(x, "steps", 1.0) if isinstance(x, Events) else x for x in seen]))
        if len(seen) == 1:
            return seen[0]
        if all(isinstance(x, Events) for x in seen):
            return Events.cat([x for x in seen if isinstance(x, Events)])
        return torch.cat([reduce_events(x, "steps", 1.0) if isinstance(x, Events) else x for x in seen])

    def forget(self) -> None:
        """Drop what was seen."""
        self._seen = {name: [] for name in self._seen}


def reduce(x: Tensor, lengths: Tensor | None, kind: str, decay: float) -> Tensor:
    """Activity (T, B, ...) without its time axis: (B, ...), or with "steps" (valid steps, ...)."""
    T, B = x.shape[:2]
    if lengths is None:
        if kind != "weighted":
            return x.mean(0) if kind == "rates" else x.flatten(0, 1)
        lengths = torch.full((B,), T, device=x.device)
    weight = weights(T, lengths, kind, decay).to(x.dtype)
    if kind == "steps":
        return x.flatten(0, 1)[weight.flatten() > 0]
    total = weight.sum(0).clamp(min=torch.finfo(x.dtype).tiny)
    return torch.einsum("tb,tb...->b...", weight / total, x)


def reduce_events(x: Events, kind: str, decay: float) -> Tensor:
    """The same for Events: (B, N), or with "steps" (valid steps, N)."""
    if kind == "steps":
        return x.to_dense().flatten(0, 1)[x.valid().flatten()]
    if kind == "rates":
        return x.counts() / x.lengths.clamp(min=1)[:, None]
    weight = weights(x.shape[0], x.lengths, kind, decay)
    value = weight.flatten()[x.rows()] * (1 if x.value is None else x.value)
    scaled = Events(x.indptr, x.index, x.shape, x.dt, value, x.lengths, check=False)
    return scaled.counts() / weight.sum(0).clamp(min=torch.finfo(weight.dtype).tiny)[:, None]


def weights(T: int, lengths: Tensor, kind: str, decay: float) -> Tensor:
    """(T, B) what each step counts; 0 outside the recordings."""
    back = lengths[None, :] - 1 - torch.arange(T, device=lengths.device)[:, None]
    inside = (back >= 0).float()
    return inside * decay ** back.clamp(min=0) if kind == "weighted" else inside
