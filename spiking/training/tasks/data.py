"""TaskData: a task's training, validation and test sequences, as Lightning wants them.

Training sequences of the drawn tasks never come again. Those to validate on and those to test on are fixed, and are
others: simulations or pictures of their own, or other seeds.
"""

from __future__ import annotations

from typing import Any, Literal

import lightning.pytorch as pl

from spiking.datasets import images
from spiking.datasets.errors import DataError
from spiking.datasets.tasks import AddingProblem, DelayedMatch, Pixels, Task, TaskLoader, Windows, read_simulations
from spiking.training.tasks.objective import Label, Objective, Value, Voltage

ENDLESS = 1 << 40
LENGTH = {"adding": 4096, "match": 4096, "l5pc": 500}


class TaskData(pl.LightningDataModule):
    """Sequences for training, validation and test.

    Arguments:
        task: "adding" (two marked numbers), "match" (delayed match to sample), "smnist" (pixels of digits) or "l5pc"
            (a pyramidal cell's voltage and spikes).
        root: where the files of smnist and l5pc lie.
        batch_size: sequences per batch and process.
        steps: T; 784 for smnist. `None` is the task's own, 4,096 or, for l5pc, 500.
        draws: sequences of an epoch; `None` takes every picture of smnist once, and 1,000 of the other tasks.
        valid, test: how many are drawn to validate and to test on; of smnist the last `valid` training pictures are
            held out and the `test` first test pictures taken, `None` all of them; l5pc has simulations for both.
        grow: steps of the first epoch's training sequences of adding and match, doubled until there are `steps`; `None`
            trains on whole ones from the start. Whole ones are validated and tested on.
        grow_after: epochs before the first doubling.
        grow_every: epochs from one doubling to the next.
        shortest: each training sequence of adding and match has a length of its own, from this to the epoch's steps.
        burn: first steps of a window of l5pc that count for nothing.
        options: more arguments of the task: `symbols`, `cue` and `noise` of match, `permute` of smnist.
        seed: of the order and of what is drawn to train on.

    Raises:
        ValueError: naming the argument that doesn't fit.
    """

    def __init__(
        self,
        task: Literal["adding", "match", "smnist", "l5pc"] = "adding",
        root: str | None = None,
        batch_size: int = 32,
        steps: int | None = None,
        draws: int | None = None,
        valid: int = 500,
        test: int | None = 1000,
        grow: int | None = None,
        grow_after: int = 1,
        grow_every: int = 1,
        shortest: int | None = None,
        burn: int = 150,
        options: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if valid < 1 or (test is not None and test < 1):
            raise ValueError(f"valid, test: expected at least 1 sequence each to measure by, got {valid} and {test}")
        if task == "l5pc" and root is None:
            raise ValueError("root: l5pc needs the folder of the simulations, got None")
        if task == "smnist" and steps not in (None, 784):
            raise ValueError(f"steps: smnist has 784 pixels, got {steps}")
        length = LENGTH.get(task, 784) if steps is None else steps
        if task == "l5pc" and not 0 <= burn < length:
            raise ValueError(f"burn: expected 0 to below steps={length}, got {burn}")
        if grow is not None and (task in ("smnist", "l5pc") or not 2 <= grow <= length):
            raise ValueError(f"grow: expected 2 to {length} steps of adding or match, got {grow} for {task}")
        if shortest is not None and (task in ("smnist", "l5pc") or shortest > (grow or length)):
            raise ValueError(
                f"shortest: expected at most {grow or length} steps of adding or match, got {shortest} for {task}"
            )
        for name, epochs in (("grow_after", grow_after), ("grow_every", grow_every)):
            if epochs < 1:
                raise ValueError(f"{name}: expected at least 1 epoch, got {epochs}")
        self.grow, self.grow_after, self.grow_every, self.shortest = grow, grow_after, grow_every, shortest
        self.task, self.root, self.batch_size, self.length = task, root, batch_size, length
        self.draws = 1000 if draws is None and task != "smnist" else draws
        self.valid_size, self.test_size, self.burn = valid, test, burn
        self.options, self.seed = options or {}, seed
        self.dt = 1.0
        self.objective: Objective | None = None

    def setup(self, stage: str | None = None) -> None:
        """Read or prepare, once."""
        if self.objective is not None:
            return
        try:
            self.train, self.valid, self.test = {
                "adding": self._drawn, "match": self._drawn, "smnist": self._pixels, "l5pc": self._windows
            }[self.task]()  # fmt: skip
        except TypeError as error:
            raise ValueError(f"options: {self.task}: {error}") from error
        if self.task == "l5pc":
            self.objective = Voltage(self.burn)
        else:
            self.objective = Value() if self.task == "adding" else Label(self.train.classes)

    def _drawn(self) -> tuple[Task, Task, Task]:
        sizes = (ENDLESS, self.valid_size, self.test_size or 1000)
        first, second, third = (self._draw(self.length, size, k) for k, size in enumerate(sizes))
        return first, second, third

    def _draw(self, steps: int, samples: int, seed: int) -> Task:
        kind = AddingProblem if self.task == "adding" else DelayedMatch
        shortest = self.shortest if seed == 0 else None  # 0 is to train on; whole ones are validated and tested on
        return kind(steps=steps, samples=samples, seed=seed, shortest=shortest, **self.options)

    def _pixels(self) -> tuple[Task, Task, Task]:
        (seen, label), (other, truth) = (images("mnist", split, root=self.root) for split in ("train", "test"))
        cut = len(seen) - self.valid_size
        if cut < 1:
            raise DataError(f"valid: expected fewer than the {len(seen)} training pictures, got {self.valid_size}")
        return (
            Pixels(seen[:cut], label[:cut], **self.options), Pixels(seen[cut:], label[cut:], **self.options),
            Pixels(other[: self.test_size], truth[: self.test_size], **self.options),
        )  # fmt: skip

    def _windows(self) -> tuple[Task, Task, Task]:
        assert self.root is not None
        parts = [read_simulations(self.root, split) for split in ("train", "valid", "test")]
        skip = max(500 - self.burn, 0)  # measured from 500 ms on, when the cell has forgotten how it was started
        first = min(500, max(0, min(len(one.soma) for one in parts[0]) - self.length))
        train = Windows(parts[0], self.length, first, **self.options)
        valid, test = (Windows(part, self.length, skip, self.length - self.burn) for part in parts[1:])
        return train, valid, test

    def train_dataloader(self) -> TaskLoader:
        """Others in each epoch."""
        tasks = [self.train]
        if self.grow is not None:
            steps = [self.grow] * self.grow_after
            while 2 * steps[-1] < self.length:
                steps += [2 * steps[-1]] * self.grow_every
            tasks = [*(self._draw(one, ENDLESS, 0) for one in steps), self.train]
        return TaskLoader(tasks, self.batch_size, shuffle=True, seed=self.seed, draws=self.draws)

    def val_dataloader(self) -> TaskLoader:
        """To choose the epoch by."""
        return self.valid.loader(self.batch_size)

    def test_loader(self) -> TaskLoader:
        """What is measured once, on this process alone."""
        return self.test.loader(self.batch_size, rank=0, world=1)
