"""The adding problem: two of many numbers are marked; their sum is asked for at the end.

    x_t = (v_t, mark_t),  v_t ~ U[0, 1),  one mark in each half;  y = v_i + v_j

Hochreiter & Schmidhuber 1997 with the marks of Arjovsky, Shah & Bengio 2016. Whoever always says 1 has a mean squared
error of 1/6 = 0.167, the variance of the sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking.datasets.tasks.task import Task, drawn
from spiking.events import Events

CHANCE = 1 / 6


class AddingProblem(Task):
    """Sequences of the adding problem.

    Arguments:
        steps: T.
        samples: how many there are.
        seed: draws them.
        shortest: each sequence has a number of steps of its own, drawn from this to T; `None` gives all T.

    Raises:
        ValueError: naming the argument that doesn't fit.
    """

    channels = 2
    classes = ("sum",)

    def __init__(
        self, steps: int = 4096, samples: int = 1000, seed: int = 0, shortest: int | None = None
    ) -> None:
        if steps < 2:
            raise ValueError(f"steps: expected at least 2, one for each mark, got {steps}")
        if samples < 1:
            raise ValueError(f"samples: expected at least 1, got {samples}")
        if shortest is not None and not 2 <= shortest <= steps:
            raise ValueError(f"shortest: expected 2 to {steps} steps, got {shortest}")
        self.steps, self.samples, self.seed, self.shortest = steps, samples, seed, shortest

    def __len__(self) -> int:
        return self.samples

    def batch(self, indices: Any) -> tuple[Events, Tensor]:
        """Some sequences; see `Task.batch`.

        Returns:
            Events (T, B, 2) and the sums (B,).
        """
        at = self.numbers(indices)
        x = np.zeros((self.steps, len(at), 2), np.float32)
        target, lengths = np.zeros(len(at), np.float32), np.full(len(at), self.steps)
        for b, rng in enumerate(drawn(self.seed, at)):
            T = lengths[b] = self.steps if self.shortest is None else rng.integers(self.shortest, self.steps + 1)
            x[:T, b, 0] = rng.random(T, np.float32)
            marks = [rng.integers(0, T // 2), rng.integers(T // 2, T)]
            x[marks, b, 1] = 1
            target[b] = x[marks, b, 0].sum()
        own = None if self.shortest is None else torch.from_numpy(lengths)
        return Events.from_dense(torch.from_numpy(x), self.dt, own), torch.from_numpy(target)
