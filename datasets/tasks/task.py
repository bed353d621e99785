"""Task: numbered sequences with targets, made when they are asked for, and the loader that goes through them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking.datasets.passes import Passes
from spiking.events import Events

Array = np.ndarray[Any, Any]


class Task(ABC):
    """Sequences k = 0, 1, ..., each the same whenever it is asked for.

    Attributes:
        channels: of the input.
        classes: names of the numbers that a network gives in each step.
        steps: T.
        dt: length of a step, ms.
    """

    channels: int
    classes: tuple[str, ...]
    steps: int
    dt: float = 1.0
    sensor = None

    @abstractmethod
    def __len__(self) -> int:
        """How many sequences there are."""

    @abstractmethod
    def batch(self, indices: Any) -> tuple[Events, Tensor]:
        """Some sequences.

        Arguments:
            indices: their numbers.

        Returns:
            Events (T, B, channels), of which values may be any number, and the targets.

        Raises:
            IndexError: if there is no sequence of such a number.
        """

    def loader(self, batch_size: int, **options: Any) -> TaskLoader:
        """Batches, epoch after epoch; options as `TaskLoader` takes them."""
        return TaskLoader(self, batch_size, **options)

    def numbers(self, indices: Any) -> Array:
        """(B,) the numbers, checked."""
        at = np.asarray(indices)
        if at.ndim != 1 or (at.size and at.dtype.kind not in "iu"):
            raise IndexError(f"indices: expected a list of whole numbers, got {at.dtype} {at.shape}")
        if at.size and not (0 <= at.min() and at.max() < len(self)):
            raise IndexError(f"indices: expected 0 to {len(self) - 1}, got {at.min()} to {at.max()}")
        return at.astype(np.int64)


class TaskLoader(Passes):
    """Batches (Events, targets) of a task.

    Arguments:
        task: the sequences, or a list of tasks of equal size, one for each epoch; the last stays.
        batch_size: of a process.
        **options: `shuffle`, `seed`, `drop_last`, `rank`, `world` and `draws` of `Passes`.
    """

    def __init__(self, task: Task | Sequence[Task], batch_size: int, **options: Any) -> None:
        self.tasks = [task] if isinstance(task, Task) else list(task)
        sizes = {len(one) for one in self.tasks}
        if len(sizes) != 1:
            raise ValueError(f"task: expected at least one task, all of one size, got sizes {sorted(sizes)}")
        super().__init__(sizes.pop(), batch_size, **options)

    def _batch(self, at: Array, epoch: int) -> tuple[Events, Tensor]:
        task = self.tasks[min(epoch, len(self.tasks) - 1)]
        if len(at):
            return task.batch(at)
        events, target = task.batch([0])  # a process without one gets a sequence that counts for nothing
        none = torch.zeros(events.shape, dtype=torch.bool)
        return Events.from_dense(none, events.dt, torch.zeros(1, dtype=torch.int64)), target


def drawn(seed: int, numbers: Array) -> list[np.random.Generator]:
    """A generator for each sequence, which depends on its number and the seed alone."""
    return [np.random.default_rng((seed, int(k))) for k in numbers]
