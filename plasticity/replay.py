"""Replay: some samples of every class are kept, and a few of them join every later batch.

Chaudhry et al. 2019, "On tiny episodic memories in continual learning": training on the batch and on as many samples
drawn from memory. Which samples stay is drawn at random when a task ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from spiking.events import Events
from spiking.plasticity.arguments import whole
from spiking.plasticity.method import Batches, Inputs, Method, pair, pick


class Replay(Method):
    """A memory of samples.

    After `observe` `tasks` holds the task of each sample it returned, for models with a head for each.

    Arguments:
        per_class: samples kept of each class of a task.
        batch: samples from memory that join each batch; `None` is as many as it has.
        batch_axis: axis of the samples in tensors, 0, or 1 for (T, B, in).
        seed: of all draws.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(self, per_class: int = 50, batch: int | None = None, *, batch_axis: int = 0, seed: int = 0) -> None:
        super().__init__()
        for name, number in (("per_class", per_class), ("batch", batch)):
            if number is not None:
                whole(name, number, 1)
        self.per_class, self.batch, self.axis = per_class, batch, batch_axis
        self.generator = torch.Generator().manual_seed(seed)
        self.memory: Inputs = None
        self.labels = torch.zeros(0, dtype=torch.int64)
        self.origin = torch.zeros(0, dtype=torch.int64)
        self.tasks = self.origin

    def observe(self, inputs: Inputs, labels: Tensor | None = None, task: int = 0) -> tuple[Inputs, Tensor]:
        """The batch, and behind it samples from memory, none twice; see `Method.observe`."""
        inputs, labels = pair(inputs, labels)
        self.tasks = torch.full((len(labels),), task)
        if self.memory is None:
            return inputs, labels
        count = min(self.batch or len(labels), len(self.labels))
        chosen = torch.randperm(len(self.labels), generator=self.generator)[:count]
        self.tasks = torch.cat([self.tasks, self.origin[chosen]])
        known = self.labels[chosen].to(labels)
        return self._join(inputs, pick(self.memory, chosen, self.axis)), torch.cat([labels, known])

    def next_task(self, batches: Batches | None = None, **options: Any) -> None:
        """Remember samples of the task that is over.

        Arguments:
            batches: its inputs and labels.

        Raises:
            ValueError: without batches.
        """
        if batches is None:
            raise ValueError("batches: Replay keeps samples of the task that is over; expected its batches, got None")
        inputs: Inputs = None
        labels, keys = self.labels[:0], torch.zeros(0)
        for given, truth in batches:
            inputs = given if inputs is None else self._join(inputs, given)
            labels = torch.cat([labels, truth.cpu().to(torch.int64)])
            keys = torch.cat([keys, torch.rand(len(truth), generator=self.generator)])
            kept = self._lowest(labels, keys)
            inputs, labels, keys = pick(inputs, kept, self.axis), labels[kept], keys[kept]
        task = self.task
        super().next_task(batches, **options)
        if inputs is not None:
            self.memory = inputs if self.memory is None else self._join(self.memory, inputs)
            self.labels = torch.cat([self.labels, labels])
            self.origin = torch.cat([self.origin, torch.full_like(labels, task)])

    def _lowest(self, labels: Tensor, keys: Tensor) -> Tensor:
        """Where the `per_class` samples of each class with the lowest keys are, in order."""
        order = torch.argsort(keys)
        kept = [order[labels[order] == c][: self.per_class] for c in labels.unique().tolist()]
        return torch.cat(kept).sort().values

    def _join(self, first: Inputs, second: Inputs) -> Inputs:
        if isinstance(first, Events):
            return Events.cat([first, second.to(first.device)])
        return torch.cat([first, second.to(first)], self.axis)

    def stored(self) -> int:
        return sum(x.numel() for x in _parts(self.memory) if x is not None)

    def state_dict(self) -> dict[str, Any]:
        own = {"memory": self.memory, "labels": self.labels, "origin": self.origin, "draw": self.generator.get_state()}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.memory, self.labels, self.origin = state["memory"], state["labels"], state["origin"]
        self.generator.set_state(state["draw"])


def _parts(memory: Inputs) -> list[Tensor | None]:
    return [memory.indptr, memory.index, memory.value] if isinstance(memory, Events) else [memory]
