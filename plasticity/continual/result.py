"""Result: what a run over a stream came to, and the checkpoint that it lies in at the end of every task."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spiking.datasets import DataError
from spiking.events import Events
from spiking.plasticity.continual import metrics

Array = np.ndarray[Any, Any]
CHECKPOINT, EVENTS = "last.pt", "events of"


@dataclass
class Result:
    """Accuracies of a run and what it cost.

    Attributes:
        tasks: how many the stream has.
        rows: of each task that is over, (T,) the accuracies on all tasks after it.
        before: (T,) accuracies before any training.
        within: rows (task, step, accuracy on each task, NaN for those not begun), measured inside tasks.
        seconds: spent in training, evaluation left out.
        stored: numbers that the method keeps, at the beginning of each task.
        rank: by layer, a row a task that is over: (rows used, inputs of the layer, share of the energy captured).
        joint: (T,) accuracy on task j of models trained jointly on tasks 0 to j, if they were given.
        at_once: all tasks were learned at once, so that nothing can be forgotten: there is no metric but ACC.
    """

    tasks: int
    rows: list[list[float]] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    within: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0
    stored: list[int] = field(default_factory=list)
    rank: dict[str, list[list[float]]] = field(default_factory=dict)
    joint: list[float] | None = None
    at_once: bool = False

    @property
    def R(self) -> Array:
        """(T, T), the accuracy on task j after task i, also for j > i; NaN in rows that a run has not come to."""
        matrix = np.full((self.tasks, self.tasks), np.nan)
        if self.rows:
            matrix[: len(self.rows)] = self.rows
        return matrix

    @property
    def metrics(self) -> dict[str, float]:
        """By name, see `metrics`, over the tasks that are over; and `seconds`, `stored`, the most numbers kept."""
        done = len(self.rows)
        inside = None
        if self.within and done == self.tasks:
            inside = np.array([row[2:] for row in self.within])
            begun = np.array([row[0] for row in self.within])
            inside[np.arange(self.tasks) >= begun[:, None]] = np.nan  # a task counts as learned when it is over
        before = self.before[:done] or None
        joint = self.joint[:done] if self.joint else None
        found = metrics.metrics(self.R[:done, :done], before, joint, inside) if done else {}
        if self.at_once:
            found = {name: found[name] for name in ("ACC",) if name in found}
        return {**found, "seconds": self.seconds, "stored": float(max(self.stored, default=0))}


def _plain(value: Any) -> Any:
    """A state with Events as dictionaries: a checkpoint holds tensors and plain values only."""
    if isinstance(value, Events):
        parts = {name: getattr(value, name) for name in Events.__slots__}
        return {EVENTS: {**parts, "shape": list(value.shape), "sensor": value.sensor and list(value.sensor)}}
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def _whole(value: Any) -> Any:
    """The inverse of `_plain`."""
    if isinstance(value, dict) and EVENTS in value:
        parts: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in value[EVENTS].items()}
        return Events(**parts)
    if isinstance(value, dict):
        return {name: _whole(part) for name, part in value.items()}
    return [_whole(part) for part in value] if isinstance(value, list) else value


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint that is, at any moment, whole."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{CHECKPOINT}.tmp"
    torch.save(_plain(state), temporary)
    os.replace(temporary, folder / CHECKPOINT)


def load(folder: Path, configuration: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """The checkpoint of a folder, or `None` if there is none.

    Arguments:
        folder: where it lies.
        configuration: what the run has to be of; `None` takes any.

    Raises:
        DataError: if it can't be read, or is of another configuration: naming what differs.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = _whole(torch.load(path, map_location="cpu", weights_only=True))
        there = dict(state["configuration"])
    except (OSError, EOFError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
        raise DataError(f"{path}: can't be read as a checkpoint; delete it to begin again") from error
    if configuration is not None:
        configuration = _plain(configuration)
        differing = [
            f"{name} {there.get(name)!r}, asked for {configuration.get(name)!r}"
            for name in [*configuration, *(name for name in there if name not in configuration)]
            if there.get(name) != configuration.get(name)
        ]
        if differing:
            raise DataError(f"folder: {folder} holds a run of another configuration: {'; '.join(differing)}")
    return state
