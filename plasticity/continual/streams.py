"""Streams of tasks from images or event recordings.

    permuted  every task shuffles pixels or channels in its own way         domain-incremental
    rotated   every task turns the images by its own angle                  domain-incremental
    split     every task has classes of its own. "task": the number of the task is known at test too, and only the
              outputs of its classes count; "domain": labels are places of a class within its task, one small head
              for all; "class": one head for all classes, nothing known

`permuted("mnist")` draws the permutations of Xiao et al. 2024 (and GPM's way of drawing): task i of run r shuffles
0..783 with NumPy's `RandomState(100 r + i)`, the first task too, and normalises by mean 0.1307 and deviation 0.3081.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking.datasets import EventStore, images, load
from spiking.datasets.split import hold_out_share
from spiking.plasticity.arguments import real, whole
from spiking.plasticity.continual.examples import Examples, Permute, Pictures, Recordings, Rotate, turned_channels

Source = Any  # the name of a data set, an EventStore, or (images, labels)
SETTINGS = ("task", "domain", "class")
NORMAL = {"mnist": (0.1307, 0.3081), "fashion": (0.2860, 0.3530)}
SEEDS = 2**32  # that NumPy's RandomState takes
HELD_OUT = 0.2  # of data that has no test part of its own


@dataclass(frozen=True, eq=False)
class Task:
    """One task: its examples, those of `valid` held out of training, and its name."""

    name: str
    train: Examples
    test: Examples
    valid: Examples | None = None


@dataclass(frozen=True, eq=False)
class Stream:
    """Tasks to learn one after the other.

    Attributes:
        name: what it is called.
        tasks: in order.
        outputs: classes of the head.
        setting: "task", "domain" or "class".
        group: (outputs,) the task that an output belongs to, where the setting is "task".
        shape: height and width of the images, or a camera's sensor; `None` if unknown.
    """

    name: str
    tasks: tuple[Task, ...]
    outputs: int
    setting: str = "domain"
    group: Tensor | None = None
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError("tasks: expected at least one, got none")
        if self.setting not in SETTINGS:
            raise ValueError(f"setting: expected one of {', '.join(SETTINGS)}, got {self.setting!r}")
        if (self.group is None) == (self.setting == "task"):
            raise ValueError(
                f"group: expected the task of each output for the setting 'task' and None for others, got {self.group} "
                f"for {self.setting!r}"
            )
        for k, task in enumerate(self.tasks):
            for part, examples in (("train", task.train), ("test", task.test), ("valid", task.valid)):
                if examples is not None:
                    self._check(f"task {k} ({task.name})", part, examples)
            found = task.train.labels.unique()
            if len(found) < 2:
                raise ValueError(
                    f"tasks: task {k} ({task.name}) has one class, {int(found[0])}; there is nothing to tell apart"
                )

    def _check(self, task: str, part: str, examples: Examples) -> None:
        """Refuse a part of a task that is empty, or that the stream's head or its other tasks do not fit."""
        if not len(examples.labels):
            raise ValueError(f"tasks: {task} has no sample in {part}")
        if examples.inputs != self.inputs:
            raise ValueError(f"tasks: {task} has {examples.inputs} inputs in {part}, the first task {self.inputs}")
        most = int(examples.labels.max())
        if most >= self.outputs:
            raise ValueError(
                f"outputs: {task} has the label {most} in {part}, a head of {self.outputs} is too small"
            )

    @property
    def inputs(self) -> int:
        """Pixels or channels."""
        return self.tasks[0].train.inputs

    @property
    def events(self) -> bool:
        """Whether its examples are event recordings."""
        return isinstance(self.tasks[0].train, Recordings)

    def ordered(self, seed: int) -> Stream:
        """The same tasks in an order that a seed draws."""
        order = np.random.default_rng(seed).permutation(len(self.tasks))
        group = self.group
        if group is not None:  # classes of no task keep their -1
            group = torch.where(group < 0, group, torch.from_numpy(np.argsort(order))[group.clamp(min=0)])
        return replace(self, tasks=tuple(self.tasks[k] for k in order), group=group)

    def allowed(self, labels: Tensor) -> Tensor | None:
        """(B, outputs) bool, the outputs that count for samples of these labels; `None` if all do."""
        return None if self.group is None else self.group[labels][:, None] == self.group

    def describe(self) -> dict[str, Any]:
        """What tells it from another stream, in plain numbers and words."""
        first = self.tasks[0].train
        binned = {"binning": first.binning} if isinstance(first, Recordings) else {}
        labels = [part.labels.numpy() for task in self.tasks for part in (task.train, task.test)]
        digest = hashlib.sha256(b"".join(part.tobytes() for part in labels)).hexdigest()[:12]
        return {
            "stream": self.name, "setting": self.setting, "tasks": [task.name for task in self.tasks],
            "train": [len(task.train.labels) for task in self.tasks],
            "valid": [0 if task.valid is None else len(task.valid.labels) for task in self.tasks],
            "test": [len(task.test.labels) for task in self.tasks],
            "inputs": self.inputs, "outputs": self.outputs, "labels": digest, **binned,
        }  # fmt: skip


def permuted(
    source: Source, root: str | os.PathLike[str] | None = None, tasks: int = 10, run: int = 0, seed: int | None = None,
    valid: float = 0.0, test: Source = None, **binning: Any,
) -> Stream:
    """Tasks that differ by the order of pixels or channels.

    Arguments:
        source: "mnist", "fashion", another name of `spiking.datasets.load`, an `EventStore`, or (images, labels).
        root: where a named data set's files lie.
        tasks: how many.
        run: r of the published seeds 100 r + i.
        seed: draws the permutations from `RandomState(seed + i)` instead.
        valid: share of each task's training examples that is held out for validation.
        test: what to test on, in the form of `source`; `None` takes a named set's own test part, or holds out a fifth.
        **binning: `dt`, `steps` and `binary` of event recordings; `skip_corrupt` of those that have a name.

    Raises:
        ValueError: naming the argument that does not fit.
        DataError: if files are missing or wrong.
    """
    name, train, tested, shape, classes = _source(source, root, test, binning)
    whole("tasks", tasks, 1)
    whole("run", run, 0, (SEEDS - tasks) // 100)
    first = 100 * run if seed is None else whole("seed", seed, 0, SEEDS - tasks)
    made = []
    for i in range(tasks):
        order = np.arange(train.inputs)
        np.random.RandomState(first + i).shuffle(order)
        made.append(_domain(f"permutation {i}", train, tested, torch.from_numpy(order), valid))
    return Stream(f"permuted {name}, permutations {first} to {first + tasks - 1}", tuple(made), classes, shape=shape)


def rotated(
    source: Source, root: str | os.PathLike[str] | None = None, tasks: int = 10, most: float = 180.0,
    valid: float = 0.0, test: Source = None, **binning: Any,
) -> Stream:
    """Tasks that differ by an angle: 0, most / tasks, 2 most / tasks, ... degrees.

    Arguments:
        most: the angle that a further task would have, degrees.
        source, root, tasks, valid, test, **binning: as `permuted` takes them; images (n, H, W) or a camera's events.

    Raises:
        ValueError, DataError: as `permuted`, and if pixels have no places.
    """
    name, train, tested, shape, classes = _source(source, root, test, binning)
    whole("tasks", tasks, 1)
    real("most", most)
    if shape is None:
        raise ValueError("source: to be turned it must be images (n, H, W) or recordings of a camera with a sensor")
    made = []
    for i in range(tasks):
        angle = most * i / tasks
        turn = Rotate(angle, *shape) if isinstance(train, Pictures) else turned_channels(shape, angle)  # type: ignore[arg-type]
        made.append(_domain(f"{angle:g} degrees", train, tested, turn, valid))
    return Stream(f"rotated {name} up to {most:g} degrees", tuple(made), classes, shape=shape)


def split(
    source: Source, classes: int | Sequence[Sequence[int]] = 2, setting: str = "task",
    root: str | os.PathLike[str] | None = None, valid: float = 0.0, test: Source = None, **binning: Any,
) -> Stream:
    """Tasks that differ by their classes.

    Arguments:
        classes: how many a task has, in the order of their numbers, or which each task has.
        setting: "task", "domain" or "class", see the head of this module.
        source, root, valid, test, **binning: as `permuted` takes them.

    Raises:
        ValueError, DataError: as `permuted`, and if a task has one class or no sample.
    """
    if setting not in SETTINGS:
        raise ValueError(f"setting: expected one of {', '.join(SETTINGS)}, got {setting!r}")
    name, train, tested, shape, total = _source(source, root, test, binning)
    if not isinstance(classes, Iterable):
        classes = whole("classes", classes, 1)
        parts = [list(range(k, min(k + classes, total))) for k in range(0, total, classes)]
    else:
        parts = [[int(c) for c in part] for part in classes]
    flat = [c for part in parts for c in part]
    if len(set(flat)) < len(flat) or not all(0 <= c < total for c in flat):
        raise ValueError(f"classes: expected different classes of 0 to {total - 1}, got {parts}")
    group = torch.full((total,), -1)
    made = []
    for i, part in enumerate(parts):
        group[part] = i
        if len(part) < 2:
            raise ValueError(f"classes: task {i} has one class, {part}, of {total}; there is nothing to tell apart")
        place = torch.full((total,), -1)
        place[part] = torch.arange(len(part)) if setting == "domain" else torch.tensor(part)
        both: list[Examples] = []
        for examples in (train, tested):
            at = np.flatnonzero(np.isin(examples.labels.numpy(), part))
            both.append(examples.part(at, place[examples.labels[torch.from_numpy(at)]]))
        if not len(both[0].labels):
            raise ValueError(f"classes: task {i} with the classes {part} has no sample")
        made.append(_held_out("classes " + " ".join(map(str, part)), both[0], both[1], valid))
    outputs = max(map(len, parts)) if setting == "domain" else total
    title = f"split {name}, {len(parts)} tasks"
    return Stream(title, tuple(made), outputs, setting, group if setting == "task" else None, shape)


def _source(
    source: Source, root: Any, test: Source, binning: dict[str, Any]
) -> tuple[str, Examples, Examples, tuple[int, ...] | None, int]:
    """Name, training and test examples, shape and number of classes."""
    if isinstance(source, str) and source in NORMAL:
        pair = [_pictures(images(source, part, root), NORMAL[source]) for part in ("train", "test")]
        return source, pair[0][0], pair[1][0], pair[0][1], 10
    name = source if isinstance(source, str) else "recordings" if isinstance(source, EventStore) else "images"
    skip = binning.pop("skip_corrupt", False)
    if isinstance(source, str):
        if test is None:
            test = load(source, "test", root, skip_corrupt=skip)
        source = load(source, "train", root, skip_corrupt=skip)
    if isinstance(source, EventStore):
        source, test = source.split(hold_out=HELD_OUT) if test is None else (source, test)
        kept = [Recordings(store, store.labels, **binning) for store in (source, test)]
        return name, kept[0], kept[1], source.sensor, len(source.classes)
    train, shape = _pictures(source)
    if test is None:
        held = hold_out_share(train.labels.numpy(), HELD_OUT, 0)
        return name, train.part(np.flatnonzero(~held)), train.part(np.flatnonzero(held)), shape, _classes(train)
    return name, train, _pictures(test)[0], shape, _classes(train)


def _pictures(pair: Any, normal: tuple[float, float] = (0.0, 1.0)) -> tuple[Pictures, tuple[int, ...] | None]:
    try:
        data, labels = (
            part if isinstance(part, Tensor) else torch.from_numpy(np.require(part, requirements=["C", "W"]))
            for part in pair
        )
    except (TypeError, ValueError) as error:
        kind = type(pair).__name__
        raise ValueError(f"source: expected a name, an EventStore or (images, labels), got {kind}") from error
    if data.ndim not in (2, 3) or labels.shape != data.shape[:1]:
        raise ValueError(
            f"source: expected images (n, pixels) or (n, H, W) and labels (n,), got {tuple(data.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if labels.is_floating_point() or (len(labels) and int(labels.min()) < 0):
        raise ValueError("source: expected labels that are whole numbers from 0 on")
    shape = tuple(data.shape[1:]) if data.ndim == 3 else None
    return Pictures(data.reshape(len(data), -1), labels.long(), normal=normal), shape


def _classes(examples: Examples) -> int:
    return int(examples.labels.max()) + 1 if len(examples.labels) else 1


def _domain(name: str, train: Any, test: Any, change: Any, valid: float) -> Task:
    if isinstance(train, Pictures) and isinstance(change, Tensor):
        change = Permute(change)
    return _held_out(name, train.changed(change), test.changed(change), valid)


def _held_out(name: str, train: Examples, test: Examples, valid: float) -> Task:
    if not 0 <= valid < 1:
        raise ValueError(f"valid: expected a share from 0 to below 1, got {valid}")
    if not valid:
        return Task(name, train, test)
    held = hold_out_share(train.labels.numpy(), valid, 0)
    return Task(name, train.part(np.flatnonzero(~held)), test, train.part(np.flatnonzero(held)))
