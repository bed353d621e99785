"""Sparsey: levels of macs that learn sequences of binary frames, each in one pass and in time that does not grow.

Rinkus 2014, "Sparsey: event recognition via deep hierarchical sparse distributed codes"; frames.py has what happens at
a frame, level.py how a level chooses its codes.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spiking.kernels.backend import resolve
from spiking.kernels.csa import pack, unpack
from spiking.plasticity.arguments import real, whole
from spiking.plasticity.sparsey import check, storage
from spiking.plasticity.sparsey.frames import SHARE, Trace, joined, states, traced
from spiking.plasticity.sparsey.level import Level
from spiking.plasticity.sparsey.plan import LevelPlan

LEAST = 1e-3  # familiarity of what is not familiar at all, so that one mac does not rule a label out
MASK = (1 << 64) - 1  # seeds are words of 64 bits


class FrozenWarning(UserWarning):
    """A memory was asked to learn what it can store in part only, or not at all: matrices are frozen, or units full."""


class Sparsey:
    """An associative memory of sequences.

    Arguments:
        inputs: N, features of a frame.
        plans: its levels, the lowest first.
        seed: of every draw; equal seeds and items make equal codes in every backend.
        backend: "reference", "numba", "triton"; `None` follows `set_backend` and the device.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(self, inputs: int, plans: Sequence[LevelPlan], seed: int = 0, backend: str | None = None) -> None:
        self.inputs, self.seed, self.backend = whole("inputs", inputs, 1), whole("seed", seed) & MASK, backend
        resolve(backend, torch.device("cpu"))  # raises where there is no such backend
        if isinstance(plans, LevelPlan) or not all(isinstance(plan, LevelPlan) for plan in plans):
            raise ValueError(f"plans: expected a list of LevelPlan, got {type(plans).__name__} {str(plans)[:80]}")
        if not plans:
            raise ValueError("plans: expected at least one level, got none")
        sizes = [inputs, *(len(plan.fields) for plan in plans)]
        for k, plan in enumerate(plans):
            if (most := int(plan.fields.max())) >= sizes[k]:
                raise ValueError(f"fields: level {k} sees {most}, below it there are 0 to {sizes[k] - 1}")
        labels = {plan.labels for plan in plans if plan.labels}
        if len(labels) > 1:
            raise ValueError(f"labels: expected one number of labels in all levels, got {sorted(labels)}")
        self.labels = max(labels, default=0)
        below, above = [None, *plans[:-1]], [*plans[1:], None]
        self.levels = [
            Level(plan, low, high, self.seed + (k << 32))
            for k, (plan, low, high) in enumerate(zip(plans, below, above, strict=True))
        ]
        self.step, self._said = 0, ""

    @property
    def plans(self) -> tuple[LevelPlan, ...]:
        """What the levels are made of, the lowest first."""
        return tuple(level.plan for level in self.levels)

    @classmethod
    def from_preset(cls, name: str, seed: int = 0, **changes: Any) -> Sparsey:
        """One of `PRESETS`.

        Arguments:
            name: "mnist", "weizmann" or "capacity".
            seed: of every draw.
            changes: of the preset's own arguments (presets.py).

        Raises:
            ValueError: if there is no such preset.
        """
        from spiking.plasticity.sparsey.presets import plans

        inputs, levels = plans(name, **changes)
        return cls(inputs, levels, seed)

    @property
    def synapses(self) -> int:
        """How many binary weights there are."""
        return sum(level.synapses for level in self.levels)

    @property
    def frozen(self) -> bool:
        """Whether no mac can learn anything more: every matrix is frozen (`freeze`) or every unit full (`fan_in`)."""
        return all(bool((level.frozen.all(1) | level.full).all()) for level in self.levels)

    def to(self, device: torch.device | str) -> Sparsey:
        """The same memory on another device; returns itself.

        Raises:
            ValueError: if tensors there have no content.
        """
        if torch.device(device).type == "meta":
            raise ValueError("device: expected one that holds numbers, got meta")
        self.levels = [level.to(device) for level in self.levels]  # all of them or, where there is no room, none
        return self

    @torch.no_grad()
    def learn(self, items: Any, label: Any = None) -> Trace:
        """Learn items, each once, in their order.

        Arguments:
            items: (N,) one item, (T, N) a whole sequence, (S, T, N) sequences; of 0 and 1.
            label: a number, or (S,), where levels have a label source; without one that source is silent.

        Returns:
            the codes that were chosen.

        Raises:
            ValueError: if an item is not binary or wakes no mac; then nothing has been learned.

        Warns:
            FrozenWarning: once, after the items with which the memory froze: of them some may not be stored.
        """
        x = check.frames(items, self.inputs, self.device)
        check.in_band(x, self.plans[0])
        labels = self._labels(label, len(x))
        # Where nothing is heard from the past a level learns all items before the next one sees them.
        if x.shape[1] == 1 and not any(plan.fades for plan in self.plans):
            trace = self._run(x, labels, True)
        else:
            trace = joined([self._run(x[s : s + 1], labels[s : s + 1], True) for s in range(len(x))])
        said = self._closed()
        if said not in ("", self._said):
            self._said = said
            warnings.warn(said, FrozenWarning, stacklevel=3)  # no_grad stands between
        return trace

    def _closed(self) -> str:
        """What a memory that no longer learns all must say; nothing while it does."""
        if self.frozen:
            return "the memory is frozen: it learns nothing more"
        if all(bool((level.frozen[:, 0] | level.full).all()) for level in self.levels):
            return "what macs see is frozen: they learn only what they hear beside, above or as a label"
        return ""

    @torch.no_grad()
    def recognise(self, items: Any, label: Any = None) -> Trace:
        """The most familiar codes of items; the memory stays as it is.

        Arguments:
            items, label: as in `learn`.
        """
        x = check.frames(items, self.inputs, self.device)
        labels = self._labels(label, len(x))
        parts = range(0, len(x), SHARE)
        return joined([self._run(x[s : s + SHARE], labels[s : s + SHARE], False) for s in parts])

    @torch.no_grad()
    def familiarity(self, items: Any) -> Tensor:
        """(S,) mean G of all macs that were active, between 0 for what is new and 1 for what was learned."""
        trace = self.recognise(items)
        total = torch.stack([G.flatten(1).sum(1) for G in trace.familiarity]).sum(0)
        active = torch.stack([(winners[..., 0] >= 0).flatten(1).sum(1) for winners in trace.winners]).sum(0)
        return total / active.clamp(min=1)

    @torch.no_grad()
    def scores(self, items: Any) -> Tensor:
        """How familiar items are under each label.

        Returns:
            (S, labels) sum of log G over frames and macs: the logarithm of the product of their familiarities.

        Raises:
            ValueError: if no level has a label source.
        """
        if not self.labels:
            raise ValueError("labels: this memory has no label source; give a plan labels=...")
        x = check.frames(items, self.inputs, self.device)
        columns = []
        for label in range(self.labels):
            trace = self.recognise(x, label)
            total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
            for plan, winners, G in zip(self.plans, trace.winners, trace.familiarity, strict=True):
                if plan.labels:
                    total += torch.where(winners[..., 0] >= 0, G.clamp(min=LEAST).log(), 0.0).flatten(1).sum(1)
            columns.append(total)
        return torch.stack(columns, 1)

    def classify(self, items: Any) -> Tensor:
        """(S,) the label under which an item or a sequence is most familiar, -1 if all are alike, as for
        what wakes no mac; see `scores`."""
        scores = self.scores(items)
        told = (scores != scores[:, :1]).any(1)
        if self.labels == 1:  # nothing to compare, but what wakes no mac has no label either
            told = torch.stack([(own[..., 0] >= 0).flatten(1).any(1) for own in self.recognise(items).winners]).any(0)
        return torch.where(told, scores.argmax(1), -1)

    @torch.no_grad()
    def recall(self, prompt: Any, frames: int, threshold: float = 0.9) -> Tensor:
        """Replay a sequence from its first frames.

        Arguments:
            prompt: (N,) or (T, N), the first frames of one sequence.
            frames: how many to recall after them, 1 or more, from what macs hear from beside and above.
            threshold: share of a code's winners that must have a synapse from a feature for it to be recalled, above
                0, at most 1.

        Returns:
            (frames, N) bool.

        Raises:
            ValueError: naming the argument that does not fit, or if the first level has no source of the past.
        """
        frames = whole("frames", frames, 1)
        real("threshold", threshold, math.ulp(0.0), 1, "above 0, at most 1")
        if not {"H", "D"} & set(self.levels[0].parts):
            raise ValueError("beside: the first level hears nothing from the past; give its plan beside=...")
        given = check.array(prompt, self.device, "prompt")
        if given.ndim not in (1, 2):
            raise ValueError(f"prompt: expected ({self.inputs},) or (T, {self.inputs}), got {tuple(given.shape)}")
        x = check.frames(given, self.inputs, self.device, "prompt")
        silent = torch.zeros(1, frames, self.inputs, dtype=torch.bool, device=x.device)
        labels = self._labels(None, 1)
        trace = self._run(torch.cat([x, silent], 1), labels, False, free=x.shape[1])
        return self.decode(trace.winners[0][0, x.shape[1] :]) >= threshold

    @torch.no_grad()
    def decode(self, winners: Tensor) -> Tensor:
        """What codes of the first level stand for.

        Arguments:
            winners: (T, M, Q) of the first level, -1 where a mac was not active.

        Returns:
            (T, N) share of winners with a synapse from each feature, the mean over macs that were active and see it.

        Raises:
            ValueError: if they are no such winners.
        """
        level, plan = self.levels[0], self.plans[0]
        M, Q = len(plan.fields), plan.modules
        winners = check.array(winners, self.device, "winners")
        if winners.ndim != 3 or winners.shape[1:] != (M, Q) or winners.dtype not in (torch.int32, torch.int64):
            raise ValueError(
                f"winners: expected int32 (T, {M}, {Q}), got {winners.dtype} {tuple(winners.shape)}"
            )
        if winners.numel() and not -1 <= int(winners.min()) <= int(winners.max()) < plan.units:
            raise ValueError(
                f"winners: expected -1 to {plan.units - 1}, got {int(winners.min())} to {int(winners.max())}"
            )
        T = len(winners)
        total = torch.zeros(T, self.inputs, dtype=torch.float64, device=self.device)
        count = torch.zeros_like(total)
        fields = plan.fields.to(self.device)
        unit = torch.arange(Q, device=self.device) * plan.units + winners.clamp(min=0)
        for m in range(M):
            rows = unpack(level.weight[m, : level.parts["U"]].t()[unit[:, m]], fields.shape[1])  # T, Q, R
            there, on = fields[m] >= 0, (winners[:, m, 0] >= 0).double()[:, None]
            place = fields[m][there]
            total.index_add_(1, place, rows.double().mean(1)[:, there] * on)
            count.index_add_(1, place, on.expand(-1, len(place)))
        return total / count.clamp(min=1)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the memory into one HDF5 file.

        Raises:
            DataError: if it can't be written.
        """
        storage.write(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sparsey:
        """What `save` wrote.

        Raises:
            DataError: naming the file, if it is no such memory.
        """
        return storage.read(path, cls)

    @property
    def device(self) -> torch.device:
        """Where the synapses lie."""
        return self.levels[0].weight.device

    def _labels(self, label: Any, S: int) -> Tensor:
        """(S,) labels, -1 for none."""
        if label is None:
            return torch.full((S,), -1, device=self.device)
        given = check.array(label, self.device, "label")
        if not self.labels or given.is_floating_point() or given.ndim > 1 or given.numel() not in (1, S):
            raise ValueError(f"label: expected a whole number, or ({S},), and a level with a label source, got {label}")
        if not 0 <= int(given.min()) <= int(given.max()) < self.labels:
            raise ValueError(f"label: expected 0 to {self.labels - 1}, got {int(given.min())} to {int(given.max())}")
        return given.expand(S) if given.ndim else given.repeat(S)

    def _run(self, x: Tensor, labels: Tensor, learn: bool, free: int | None = None) -> Trace:
        """All frames of B sequences (B, T, N); from frame `free` on, macs go on from their past alone."""
        label = None
        if self.labels:
            label = pack(labels[:, None] == torch.arange(self.labels, device=x.device))[:, None]
        rows = []
        for state in states(self.levels, x, label, learn, self.step if learn else 0, self.backend, free):
            rows.append(state)
            if learn:
                self.step += len(x)
        return traced(rows)
