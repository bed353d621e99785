"""Passes: the order in which an epoch goes through numbered recordings, cut into batches for each process.

The order depends on (seed, epoch) only; in distributed training each process takes its share of every global batch, so
that W processes with batches of B see what one process sees with W*B.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking.events import Events

Array = np.ndarray[Any, Any]


class Passes(ABC):
    """Batches of numbered recordings; each `for` loop over it is one epoch.

    Arguments:
        size: how many recordings there are.
        batch_size: recordings per batch and process.
        shuffle: a new order each epoch.
        seed: of the order.
        drop_last: leave out a last batch that isn't full.
        rank, world: this process's number and how many there are; `None` asks torch.distributed.
        draws: recordings of an epoch, drawn with replacement; `None` takes each of them once.

    Raises:
        ValueError: naming the argument that doesn't fit.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        rank: int | None = None,
        world: int | None = None,
        draws: int | None = None,
    ) -> None:
        if isinstance(batch_size, bool) or int(batch_size) != batch_size or batch_size < 1:
            raise ValueError(f"batch_size: expected a whole number of at least 1, got {batch_size!r}")
        if (rank is None) != (world is None) or (rank is not None and not 0 <= rank < (world or 0)):
            raise ValueError(f"rank: expected both rank and world with 0 <= rank < world, got {rank} and {world}")
        if draws is not None and draws < 1:
            raise ValueError(f"draws: expected at least 1, got {draws}")
        self.size, self.batch_size = size, int(batch_size)
        self.shuffle, self.seed, self.drop_last, self.draws = shuffle, seed, drop_last, draws
        self._rank, self._world = rank, world
        self.epoch, self.position = 0, 0
        self._resumed = False

    @abstractmethod
    def _batch(self, at: Array, epoch: int) -> tuple[Events, Tensor]:
        """The recordings of these numbers; of none, one of no steps."""

    def _place(self) -> tuple[int, int]:
        """(rank, world)."""
        if self._rank is not None and self._world is not None:
            return self._rank, self._world
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1

    def __len__(self) -> int:
        whole = self.batch_size * self._place()[1]
        n = self.draws or self.size
        return n // whole if self.drop_last else -(-n // whole)

    def order(self, epoch: int) -> Array:
        """(n,) the numbers of an epoch's recordings in order, the same on every process."""
        rng = np.random.default_rng((self.seed, epoch))
        if self.draws is not None:
            return rng.integers(0, self.size, self.draws)
        return rng.permutation(self.size) if self.shuffle else np.arange(self.size)

    def _share(self, order: Array, k: int) -> Array:
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
