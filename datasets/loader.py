"""Loader: batches of a store, epoch after epoch, without worker processes.

Binning a batch takes milliseconds on as many threads as training uses, so there is no process or thread to hand batches
over from. What an epoch's order is, and how processes share it, `Passes` says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking.datasets.augment import Augment, Recordings
from spiking.datasets.binning import step_length
from spiking.datasets.passes import Passes
from spiking.datasets.store import EventStore
from spiking.events import Events

Augmentation = Callable[[Recordings, int, int], Recordings]


class Loader(Passes):
    """Batches (Events, labels) of a store's recordings; each `for` loop over it is one epoch.

    Arguments:
        store: the recordings.
        batch_size: recordings per batch and process.
        dt: length of a step, ms.
        steps: steps per batch; `None` means as many as each batch needs.
        shuffle: a new order each epoch.
        seed: of the order and of the augmentation.
        augment: changes recordings before they are binned, such as `Augment(shift=2)`.
        binary: several events in one step and channel count once.
        drop_last: leave out a last batch that isn't full.
        device: where batches go.
        rank, world: this process's number and how many there are; `None` asks torch.distributed.

    Every process has the same number of batches. If the last global batch has fewer recordings than there are
    processes, those without one get a recording of no steps, `lengths` 0 and label 0: it moves nothing, and should
    count for nothing.

    Raises:
        ValueError: naming the argument that doesn't fit.
    """

    def __init__(
        self,
        store: EventStore,
        batch_size: int,
        dt: float = 5.0,
        steps: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
        augment: Augmentation | None = None,
        binary: bool = False,
        drop_last: bool = False,
        device: torch.device | str | None = None,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        if not len(store):
            raise ValueError("store: expected recordings, got a store without any")
        super().__init__(len(store), batch_size, shuffle, seed, drop_last, rank, world)
        step_length(dt)
        self.store, self.dt, self.steps = store, dt, steps
        self.augment, self.binary, self.device = augment, binary, device
        self._whole: Recordings | None = None

    def _batch(self, at: np.ndarray[Any, Any], epoch: int) -> tuple[Events, Tensor]:
        if not len(at):
            none = torch.zeros(self.steps or 1, 1, self.store.channels, dtype=torch.bool)
            events = Events.from_dense(none, float(self.dt), torch.zeros(1, dtype=torch.int64), self.store.sensor)
            labels = torch.zeros(1, dtype=torch.int64)
        elif self.augment is None:
            events, labels = self.store.batch(at, self.dt, self.steps, self.binary)
        else:
            if self._whole is None:
                self._whole = Recordings.of(self.store)
            batch, how = self._whole.select(at), (self.dt, self.steps, self.binary)
            if isinstance(self.augment, Augment):
                events = self.augment.bin(batch, self.seed, epoch, *how)
            else:
                events = self.augment(batch, self.seed, epoch).bin(*how)
            labels = self.store.labels[torch.from_numpy(at)]
        if self.device is None:
            return events, labels
        return events.to(self.device), labels.to(self.device)
