"""HLOP: Hebbian learning based orthogonal projection.

Lateral neurons y = H x learn, by Hebbian and anti-Hebbian plasticity, the subspace in which a layer's inputs lie; in
later tasks weights change only outside the rows that earlier tasks have left:

    dW = G - G H_old^T H_old,     H_new <- Oja's subspace rule on what H_old does not explain    (kernels/oja/op.py)

Xiao, Meng, Zhang, He & Lin 2024, "Hebbian learning based orthogonal projection for continual learning of spiking neural
networks". `preset="published"` keeps their numbers: momentum 0.9, clamp 10, five iterations on each batch, a step of
0.001 in the first layer if it is a matrix and of 0.01 elsewhere, orthogonal new rows. `preset="improved"` is ours:

* new rows start in the complement of the old ones; ten more than asked for learn, and when the task ends the best of
  them stay, orthonormal;
* no momentum, no clamp; the step is 0.3 / lambda_1, lambda_1 the largest eigenvalue of what the old rows leave, so that
  every layer is at the same distance from the bound eta lambda_1 < 1;
* rows of a layer never exceed its inputs, and `energy` drops those that a share of the activity's energy does not need.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from spiking.events import Events
from spiking.kernels.oja import Lateral, moment, oja, project
from spiking.kernels.oja.op import sound
from spiking.plasticity.arguments import real, whole
from spiking.plasticity.method import Batches, copied
from spiking.plasticity.projection.base import Projection
from spiking.plasticity.projection.lateral import Shadow
from spiking.plasticity.projection.rows import complement, first_rows, leading, share
from spiking.plasticity.sites import CONV
from spiking.plasticity.together import world
from spiking.plasticity.traces import Traces, reduce_events

PRESETS = ("improved", "published")
STEP = 0.3  # eta lambda_1 of the improved preset
SPARE = 10  # its rows that learn beside those asked for, since the last ones of any number are found slowly
CHECK = 10  # calls of learn() between two looks at the rows
STATE = ("weight", "velocity", "top", "direction", "spread", "recent", "calls", "rows")
RECENT = 8  # batches that `energy` and `report` are measured on


class HLOP(Projection):
    """Hebbian orthogonal projection for named layers of a model.

    Arguments:
        model: any module; layers of torch's or ours.
        rows: layer -> rows of H for the first task.
        preset: "improved" or "published".
        trace: what H learns from, "rates", "weighted" or "steps", see `Traces`.
        trace_decay: of "weighted", for a step back in time; exp(-0.05) in the paper.
        lr: step of H, one number or layer -> number; `None` is the preset's.
        lateral: quantise the lateral neurons' activity; then `form` must be "activity".
        form: project the "gradient", or "activity" in the forward pass, which is the same for real-valued neurons.
        energy: share of the activity's energy that old and new rows must hold; new rows above that are dropped.
        iterations: times that a batch is learned.
        patches: rows of a batch that H learns from, drawn at random; `None` is all.
        seed: of new rows and of that draw.
        time_first, fix_vectors: as in `Projection`.

    Raises:
        ValueError: naming the argument that does not fit; more rows than a layer has inputs.
    """

    def __init__(
        self,
        model: nn.Module,
        rows: Mapping[str, int],
        *,
        preset: str = "improved",
        trace: str = "rates",
        trace_decay: float = 0.951,
        lr: float | Mapping[str, float] | None = None,
        lateral: Lateral | None = None,
        form: str = "gradient",
        energy: float | None = None,
        iterations: int = 5,
        patches: int | None = None,
        seed: int = 0,
        time_first: bool = True,
        fix_vectors: bool = True,
    ) -> None:
        if preset not in PRESETS:
            raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {preset!r}")
        if form not in ("gradient", "activity"):
            raise ValueError(f"form: expected 'gradient' or 'activity', got {form!r}")
        if lateral is not None and form == "gradient":
            raise ValueError("form: quantised lateral neurons project activity; expected 'activity', got 'gradient'")
        sound(lateral)
        if energy is not None:
            real("energy", energy, math.ulp(0.0), 1.0, "a share above 0 and up to 1")
        if not isinstance(rows, Mapping):
            raise ValueError(f"rows: expected layer -> number of rows, got {rows!r}")
        whole("iterations", iterations, 1)
        alone = preset == "improved" and form == "gradient"  # orthonormal rows: new ones need only what is left
        super().__init__(model, rows, "rows", time_first, fix_vectors, orthonormal=alone)
        self.preset, self.lateral, self.energy, self.iterations = preset, lateral, energy, iterations
        published = preset == "published"
        self.decay = 0.9 if published else 0.0
        self.clamp = 10.0 if published else None
        self.generator = torch.Generator().manual_seed(seed)
        self.lr = self._steps(lr)
        self.shadows = {n: Shadow(site, lateral) for n, site in self.sites.items()} if form == "activity" else {}
        self.weight = dict(self.basis)
        self.velocity = dict(self.basis)
        self.top = dict.fromkeys(self.sites, 0.0)
        self.direction = {name: H.new_ones(H.shape[1]) for name, H in self.basis.items()}
        self.spread = dict(self.basis)  # second moments of the new rows' activity, by which the best are chosen
        self.recent: dict[str, list[Tensor]] = {name: [] for name in self.sites}
        self.calls = 0
        self._grow(self._fitting(rows, dict.fromkeys(self.sites, 0), capped=False))
        self.traces = Traces(self.sites, trace, trace_decay, patches, seed)

    def _steps(self, lr: float | Mapping[str, float] | None) -> dict[str, float | None]:
        if isinstance(lr, Mapping):
            if set(lr) != set(self.sites):
                raise ValueError(f"lr: expected a step for each of {sorted(self.sites)}, got {sorted(lr)}")
        for step in lr.values() if isinstance(lr, Mapping) else (lr,):
            if step is not None and not (isinstance(step, (int, float)) and 0 < step < math.inf):
                raise ValueError(f"lr: expected a number above 0, got {step!r}")
        if isinstance(lr, Mapping):
            return dict(lr)
        if lr is None and self.preset == "published":
            first = next(iter(self.sites))
            slow = not isinstance(self.sites[first].holder, CONV)
            return {name: 0.001 if slow and name == first else 0.01 for name in self.sites}
        return dict.fromkeys(self.sites, lr)

    def _fitting(self, rows: Mapping[str, int], old: Mapping[str, int], capped: bool) -> dict[str, int]:
        """How many new rows each layer gets beside its old ones."""
        unknown = sorted(set(rows) - set(self.sites))
        if unknown:
            raise ValueError(f"rows: no layer {', '.join(map(repr, unknown))} among {', '.join(self.sites)}")
        fitting = {}
        for name, site in self.sites.items():
            k, n = rows.get(name, 0), site.inputs
            whole(f"rows: {name}", k)
            if k < 0 or (k > n - old[name] and not capped):
                raise ValueError(
                    f"rows: {name} has {n} inputs and {old[name]} rows; expected 0 to {n - old[name]} more, got {k}"
                )
            fitting[name] = k
        return fitting

    def _grow(self, rows: Mapping[str, int]) -> None:
        """Add new rows to H, at most as many as there are directions left."""
        self.rows = dict(rows)
        for name, H in self.basis.items():
            spare = SPARE if rows[name] and self.preset == "improved" else 0
            draw = first_rows(min(rows[name] + spare, H.shape[1] - H.shape[0]), H.shape[1], self.generator).to(H)
            new = draw if self.preset == "published" else complement(draw, H)
            self.weight[name] = torch.cat([H, new])
            self.velocity[name] = torch.zeros_like(self.weight[name])
            self.top[name], self.recent[name] = 0.0, []
            self.direction[name] = H.new_ones(H.shape[1])
            self.spread[name] = H.new_zeros(len(new), len(new))

    @torch.no_grad()
    def outside(self, name: str, G: Tensor) -> Tensor:
        return self.shadows[name].project(G) if self.shadows else super().outside(name, G)

    @torch.no_grad()
    def learn(self) -> None:
        """Let H learn from the activity since the last call.

        Raises:
            RuntimeError: if a layer saw no batch.
            FloatingPointError: if the rows of a layer diverge.
        """
        look = self.calls % CHECK == 0
        self.calls += 1
        for name in self.sites:
            x, H, old = self.traces.take(name), self.weight[name], self.basis[name].shape[0]
            if H.shape[0] == old:
                continue
            if self.saved is not None and isinstance(x, Tensor):
                lr = self._learn_alone(name, self._rest(name, x), H[old:])
            else:
                lr = self.lr[name] or self._step(name, x, self.basis[name])
                self.weight[name], V = oja(
                    x, H, self.velocity[name] if self.decay else None, lr=lr, frozen=old, iterations=self.iterations,
                    decay=self.decay, clamp=self.clamp, lateral=self.lateral,
                )  # fmt: skip
                self.velocity[name] = self.velocity[name] if V is None else V
                if self.preset == "improved":
                    new = self.weight[name][old:]
                    self.spread[name].lerp_(new @ moment(x, new.t()), 0.01)
            if look or not self.recent[name]:
                self._check(name, lr)
                rows = reduce_events(x, "steps", 1.0) if isinstance(x, Events) else x
                self.recent[name] = [*self.recent[name][1 - RECENT :], rows]

    def _rest(self, name: str, x: Tensor) -> Tensor:
        """What old rows leave of the rows x: what the layer has saved, where it did."""
        assert self.saved is not None
        saved = self.saved.take(name)
        if saved and self.traces.most is None and world() == 1:
            rows = torch.cat([cast(Tensor, self.traces.rows(self.sites[name], rest)) for rest in saved])
            if rows.shape == x.shape:
                return rows
        return project(x, *self._rows(name))

    def _learn_alone(self, name: str, rest: Tensor, new: Tensor) -> float:
        """The new rows learn, in place, from what old rows leave, to which they are orthogonal; returns the step."""
        lr = self.lr[name] or self._step(name, rest, self.basis[name][:0])
        H, _ = oja(rest, new, lr=lr, iterations=self.iterations, decay=0.0, clamp=None)
        new.copy_(H)
        y = rest @ H.t()
        self.spread[name].lerp_(y.t() @ y / max(len(y), 1), 0.01)
        return lr

    def _step(self, name: str, x: Tensor | Events, H: Tensor) -> float:
        """STEP over the largest eigenvalue of what the old rows leave, that of the worst of the last batches.

        Each batch adds two power iterations to those of the batches before, and two from its own mean row: activity
        unlike all before, or after silence, must not be met with a step that is too long. H are the old rows where x is
        not what they leave.
        """
        mean = (x.counts() if isinstance(x, Events) else x).sum(0).to(H)
        U = torch.stack([self.direction[name], mean], 1)
        for _ in range(2):
            U = U - H.t() @ (H @ U)
            U = moment(x, U / U.norm(dim=0).clamp(min=1e-30))
        U = U - H.t() @ (H @ U)
        top, best = U.norm(dim=0).max(0)
        self.direction[name] = U[:, best]
        self.top[name] = max(float(top), 0.99 * self.top[name])
        return STEP / max(self.top[name], 1e-12)

    def _check(self, name: str, lr: float) -> None:
        old = self.basis[name].shape[0]
        square = float(self.weight[name][old:].square().sum(1).mean())
        if not square < 4:
            raise FloatingPointError(
                f"{name}: the subspace diverges: its new rows have mean square {square:.3g} where 1 is right; "
                f"lr={lr:.3g} times the largest eigenvalue of its activity must stay below "
                f"{(1 + self.decay) / (1 - self.decay):.3g}"
            )

    def _check_all(self) -> None:
        for name, H in self.weight.items():
            if H.shape[0] > self.basis[name].shape[0]:
                self._check(name, self.lr[name] or STEP / max(self.top[name], 1e-12))

    @torch.no_grad()
    def next_task(
        self, batches: Batches | None = None, rows: Mapping[str, int] | None = None, **options: Any
    ) -> None:
        """Freeze what was learned and start new rows.

        Arguments:
            batches: not needed.
            rows: layer -> new rows for the next task, none for layers not named; `None` is as many as for the last.
        """
        self._check_all()
        kept = {name: self._kept(name) for name in self.sites}
        old = {name: len(H) for name, H in kept.items()}
        wanted = self._fitting(self.rows if rows is None else rows, old, capped=self.preset == "improved")
        super().next_task(batches, **options)
        for name, H in kept.items():
            self.keep(name, H)
        self._grow(wanted)

    def _kept(self, name: str) -> Tensor:
        """The rows of H to freeze."""
        H, old = self.weight[name], self.basis[name]
        if self.preset == "published":
            return H
        new = H[old.shape[0] :]
        if self.spread[name].any():
            new = torch.linalg.eigh(self.spread[name])[1].flip(1)[:, : self.rows[name]].t() @ new
        new = complement(new[: self.rows[name]], old)
        if self.energy is not None and self.recent[name]:
            new = leading(torch.cat(self.recent[name]), old, new, self.energy)
        return torch.cat([old, new])

    def keep(self, name: str, H: Tensor) -> None:
        super().keep(name, H)
        if name in self.shadows:
            self.shadows[name].follow(H)

    @torch.no_grad()
    def report(self, batches: Batches | None = None) -> dict[str, dict[str, float]]:
        """Layer -> `rows` that would stay if the task ended now, `inputs`, `energy`: share of late batches' they hold,
        `error`: max |H H^T - I| of all that learn.

        Arguments:
            batches: not needed.

        Raises:
            FloatingPointError: if the rows of a layer diverge.
        """
        self._check_all()
        found = {}
        for name, learning in self.weight.items():
            H = self._kept(name)
            entry = {"rows": float(H.shape[0]), "inputs": float(H.shape[1])}
            if learning.shape[0]:
                entry["error"] = float((learning @ learning.t() - torch.eye(learning.shape[0]).to(H)).abs().max())
            if self.recent[name]:
                entry["energy"] = share(torch.cat(self.recent[name]), H)
            found[name] = entry
        return found

    def stored(self) -> int:
        """Numbers of H, and of its momentum where there is one."""
        return sum(H.numel() for H in self.weight.values()) * (2 if self.decay else 1)

    def state_dict(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in STATE}
        own |= {"draw": self.generator.get_state(), "sample": self.traces.generator.get_state()}
        return {**super().state_dict(), **copied(own)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        for name in STATE:
            setattr(self, name, copied(state[name], self.device))
        self.generator.set_state(state["draw"])
        self.traces.generator.set_state(state["sample"])
        self.traces.forget()


def published_rows(layers: tuple[str, str, str], task: int) -> dict[str, int]:
    """New rows of three layers that the paper uses for permuted MNIST in a task (0 to 9)."""
    later = (70, 70, 50, 50, 50, 30, 30, 30, 10)
    counts = (80, 200, 100) if task == 0 else (later[task - 1],) * 3
    return dict(zip(layers, counts, strict=True))
