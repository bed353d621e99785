"""Delayed match to sample: a cue, a long silence, a second cue; were the two the same?

    a cue is one of S symbols, the spikes of its channel in each of its steps; label 1 if both are the same, else 0

Half of the pairs match. With noise, every channel fires in every step of the delay with that probability.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking.datasets.tasks.task import Task, drawn
from spiking.events import Events


class DelayedMatch(Task):
    """Sequences of delayed match to sample.

    Arguments:
        steps: T, both cues and the delay.
        symbols: how many different cues.
        cue: steps of a cue.
        noise: probability of a spike in each step of the delay and channel.
        shortest: each sequence has a number of steps of its own, drawn from this to T; `None` gives all T.
        samples: how many sequences there are.
        seed: draws them.

    Raises:
        ValueError: naming the argument that doesn't fit.
    """

    classes = ("other", "same")

    def __init__(
        self, steps: int = 4096, symbols: int = 4, cue: int = 10, noise: float = 0.0, samples: int = 1000,
        seed: int = 0, shortest: int | None = None,
    ) -> None:
        if symbols < 2:
            raise ValueError(f"symbols: expected at least 2, got {symbols}")
        if cue < 1 or steps < 2 * cue:
            raise ValueError(f"steps: expected room for two cues of {cue} >= 1 steps, got {steps}")
        if not 0 <= noise < 1:
            raise ValueError(f"noise: expected a probability from 0 to below 1, got {noise}")
        if samples < 1:
            raise ValueError(f"samples: expected at least 1, got {samples}")
        if shortest is not None and not 2 * cue <= shortest <= steps:
            raise ValueError(f"shortest: expected {2 * cue}, room for two cues, to {steps} steps, got {shortest}")
        self.steps, self.channels, self.cue, self.noise = steps, symbols, cue, noise
        self.samples, self.seed, self.shortest = samples, seed, shortest

    def __len__(self) -> int:
        return self.samples

    def batch(self, indices: Any) -> tuple[Events, Tensor]:
        """Some sequences; see `Task.batch`.

        Returns:
            Events (T, B, symbols) and the labels (B,).
        """
        at = self.numbers(indices)
        S, cue = self.channels, self.cue
        x = np.zeros((self.steps, len(at), S), bool)
        label, lengths = np.zeros(len(at), np.int64), np.full(len(at), self.steps)
        for b, rng in enumerate(drawn(self.seed, at)):
            T = lengths[b] = self.steps if self.shortest is None else rng.integers(self.shortest, self.steps + 1)
            first, other, same = rng.integers(0, S), rng.integers(1, S), rng.integers(0, 2)
            x[:cue, b, first] = True
            x[T - cue : T, b, first if same else (first + other) % S] = True
            if self.noise:
                x[cue : T - cue, b] |= rng.random((T - 2 * cue, S)) < self.noise
            label[b] = same
        own = None if self.shortest is None else torch.from_numpy(lengths)
        return Events.from_dense(torch.from_numpy(x), self.dt, own), torch.from_numpy(label)
