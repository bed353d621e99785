"""TaskModel: a network that learns a task, as a LightningModule."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import Module

from spiking.datasets.tasks import Windows
from spiking.events import Events
from spiking.training.module import Classifier
from spiking.training.tasks.data import TaskData
from spiking.training.tasks.objective import Objective, Voltage

Batch = tuple[Events, Tensor]


class TaskModel(Classifier):
    """A network, the loss of its task and its optimiser.

    Arguments:
        network: the dotted path of a class, such as spiking.neurons.ELM, or the name of one in `spiking.networks`, or a
            module. It maps Events to (output (T, B, n), states).
        options: arguments of the class; those of its input and output come from the task.
        optimizer: "adam", "adamw" or "sgd" (momentum 0.9).
        lr: learning rate, the highest of the schedule.
        weight_decay: of weights; not of biases and time constants.
        schedule: "cosine" (down), "one-cycle" (up, then down) or "constant".
        spike_share: share of the spikes in the loss of l5pc, the rest is the voltage's.
        synapse_rate: as `Classifier` has it.
        drop: probability with which an event fails to arrive, while training; the others count 1 / (1 - drop).

    Raises:
        ValueError: naming the argument that doesn't fit.
    """

    def __init__(
        self,
        network: str | Module = "spiking.neurons.ELM",
        options: dict[str, Any] | None = None,
        optimizer: Literal["adamw", "adam", "sgd"] = "adam",
        lr: float = 2e-3,
        weight_decay: float = 0.0,
        schedule: Literal["one-cycle", "cosine", "constant"] = "cosine",
        spike_share: float = 0.5,
        drop: float = 0.0,
        synapse_rate: float = 1.0,
    ) -> None:
        super().__init__(
            network, options, optimizer=optimizer, lr=lr, weight_decay=weight_decay, schedule=schedule,
            initialise=False, synapse_rate=synapse_rate,
        )  # fmt: skip
        if not 0 <= spike_share <= 1:
            raise ValueError(f"spike_share: expected 0 to 1, got {spike_share}")
        if not 0 <= drop < 1:
            raise ValueError(f"drop: expected 0 or more and below 1, got {drop}")
        self.spike_share, self.drop = spike_share, drop
        self.objective: Objective | None = None

    def build(self, data: TaskData) -> None:  # type: ignore[override]
        """Make the network for a task, unless there is one."""
        super().build(data)  # type: ignore[arg-type]
        self.objective = data.objective
        if isinstance(self.objective, Voltage):
            assert isinstance(data.train, Windows)
            rate = min(max(data.train.spike_rate, 1e-6), 0.5)
            self.objective.offset, self.objective.share = math.log(rate / (1 - rate)), self.spike_share

    def forward(self, events: Events) -> Tensor:  # type: ignore[override]
        """The network's output (T, B, n)."""
        assert self.network is not None
        out: Tensor = self.network(events)[0]
        return out

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The loss of a batch, logged."""
        events, target = batch
        events = thinned(events, self.drop) if self.drop else events
        return self._weighted(*self._step((events, target), "loss", "train_accuracy"))

    def validation_step(self, batch: Batch, _: int) -> None:
        """The loss of sequences to choose by."""
        self._step(batch, "valid_loss", "valid_accuracy")

    def _step(self, batch: Batch, name: str, accuracy: str) -> tuple[Tensor, int]:
        """The mean loss, logged, and of how many sequences it is."""
        assert self.objective is not None
        events, target = batch
        out, count = self(events), self._count(events)
        loss = self.objective.loss(out, target, events.lengths)
        self._log(name, loss, count)
        right = self.objective.right(out, target, events.lengths)
        if right is not None:
            self._log(accuracy, right.float().mean(), count)
        return loss, count


def thinned(events: Events, drop: float) -> Events:
    """The events that arrive, each by a draw of its own, and count for those that don't."""
    stays = torch.rand(events.nnz, device=events.device) >= drop
    counted = torch.zeros(events.nnz + 1, dtype=torch.int64, device=events.device)
    torch.cumsum(stays, 0, out=counted[1:])
    value = torch.ones_like(events.index, dtype=torch.float32) if events.value is None else events.value
    return Events(
        counted[events.indptr], events.index[stays], events.shape, events.dt, value[stays] / (1 - drop),
        events.lengths, events.sensor, check=False,
    )  # fmt: skip
