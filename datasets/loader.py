"""Loader: batches of a store, epoch after epoch, without worker processes.

Binning a batch takes milliseconds on as many threads as training uses, so there is no process or thread to hand batches
over from. The order of an epoch depends on (seed, epoch) only; in distributed training each process takes its share of
every global batch, so that W processes with batches of B see what one process sees with W*B.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking.datasets.augment import Augment, Recordings
from spiking.datasets.binning import step_length
from spiking.datasets.store import EventStore
from spiking.events import Events

Augmentation = Callable[[Recordings, int, int], Recordings]


class Loader:
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
        if isinstance(batch_size, bool) or int(batch_size) != batch_size or batch_size < 1:
            raise ValueError(f"batch_size: expected a whole number of at least 1, got {batch_size!r}")
        if not len(store):
            raise ValueError("store: expected recordings, got a store without any")
        if (rank is None) != (world is None) or (rank is not None and not 0 <= rank < (world or 0)):
            raise ValueError(f"rank: expected both rank and world with 0 <= rank < world, got {rank} and {world}")
        step_length(dt)
        self.store, self.batch_size, self.dt, self.steps = store, int(batch_size), dt, steps
        self.shuffle, self.seed, self.augment, self.binary = shuffle, seed, augment, binary
        self.drop_last, self.device = drop_last, device
        self._rank, self._world = rank, world
        self.epoch, self.position = 0, 0
        self._resumed = False
        self._whole: Recordings | None = None

    def _place(self) -> tuple[int, int]:
        """(rank, world)."""
        if self._rank is not None and self._world is not None:
            return self._rank, self._world
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1

    def __len__(self) -> int:
        whole = self.batch_size * self._place()[1]
        return len(self.store) // whole if self.drop_last else -(-len(self.store) // whole)

    def order(self, epoch: int) -> np.ndarray[Any, Any]:
        """(n,) the store's recordings in the order of an epoch, the same on every process."""
        n = len(self.store)
        return np.random.default_rng((self.seed, epoch)).permutation(n) if self.shuffle else np.arange(n)

    def _share(self, order: np.ndarray[Any, Any], k: int) -> np.ndarray[Any, Any]:
        """This process's part of global batch k."""
        rank, world = self._place()
        whole = order[k * self.batch_size * world : (k + 1) * self.batch_size * world]
        return np.array_split(whole, world)[rank]

    def __iter__(self) -> Iterator[tuple[Events, Tensor]]:
        if self.position and not self._resumed:  # the last loop was left early: its epoch is over
            self.epoch, self.position = self.epoch + 1, 0
        self._resumed = False
        epoch, order, total = self.epoch, self.order(self.epoch), len(self)
        for k in range(self.position, total):
            batch = self._batch(self._share(order, k), epoch)
            # before the batch is handed out, so that a state taken while it is used counts it as done
            self.epoch, self.position = (epoch, k + 1) if k + 1 < total else (epoch + 1, 0)
            yield batch

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

    def set_epoch(self, epoch: int) -> None:
        """Make the next loop epoch number `epoch`, from its beginning unless it is the one being resumed."""
        if epoch != self.epoch or not self._resumed:
            self.epoch, self.position, self._resumed = int(epoch), 0, False

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands: the epoch, and how many of its batches have been handed out."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a `state_dict`: the next loop begins with the batch after the last one handed out."""
        self.epoch, self.position, self._resumed = int(state["epoch"]), int(state["position"]), True
