"""Examples: what a task trains or tests on, images or event recordings, and how a task changes them.

Changes are made batch by batch, from one copy of the data that all tasks share: ten permutations of MNIST take the room
of one. What a change draws at random it draws when it is made, never while it reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from spiking.datasets import EventStore
from spiking.events import Events

Array = np.ndarray[Any, Any]
Change = Callable[[Tensor], Tensor]


class Examples(Protocol):
    """What a task trains or tests on."""

    @property
    def labels(self) -> Tensor:
        """(n,) int64."""
        ...

    @property
    def inputs(self) -> int:
        """Pixels or channels of an example."""
        ...

    def batch(self, at: Array) -> Any:
        """The examples at these positions, (B, inputs) or Events (T, B, inputs)."""
        ...

    def part(self, at: Array, labels: Tensor | None = None) -> Examples:
        """Some of them, with other labels if they are given."""
        ...


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images as rows of pixels.

    Attributes:
        data: (n, pixels) bytes, read as 0 to 1, or floating-point numbers.
        labels: (n,) int64.
        at: (m,) which of them; `None` is all.
        normal: mean and deviation that are taken out, after the change.
        change: of the pixels of a batch (B, pixels), such as `Permute`.
    """

    data: Tensor
    labels: Tensor
    at: Array | None = None
    normal: tuple[float, float] = (0.0, 1.0)
    change: Change | None = None

    @property
    def inputs(self) -> int:
        return int(self.data.shape[1])

    def batch(self, at: Array) -> Tensor:
        rows = self.data[torch.from_numpy(at if self.at is None else self.at[at])]
        x = rows.float() / 255 if rows.dtype == torch.uint8 else rows.float()
        x = x if self.change is None else self.change(x)
        return (x - self.normal[0]) / self.normal[1]

    def part(self, at: Array, labels: Tensor | None = None) -> Pictures:
        chosen = at if self.at is None else self.at[at]
        labels = self.labels[torch.from_numpy(at)] if labels is None else labels
        return Pictures(self.data, labels, chosen, self.normal, self.change)

    def changed(self, change: Change) -> Pictures:
        """The same images, changed otherwise."""
        return Pictures(self.data, self.labels, self.at, self.normal, change)


@dataclass(frozen=True, eq=False)
class Recordings:
    """Recordings of an event store, binned.

    Attributes:
        store: the recordings.
        labels: (n,) int64.
        dt: length of a step, ms.
        steps: T; `None` means as many as each batch needs.
        binary: several events in one step and channel count once.
        channel: (N,) where the events of each channel go; -1 leaves them out.
    """

    store: EventStore
    labels: Tensor
    dt: float = 5.0
    steps: int | None = None
    binary: bool = False
    channel: Tensor | None = field(default=None)

    @property
    def inputs(self) -> int:
        return self.store.channels

    @property
    def binning(self) -> str:
        """How events become steps, in words."""
        steps = "" if self.steps is None else f", {self.steps} steps"
        return f"{self.dt:g} ms{steps}{', binary' * self.binary}"

    def batch(self, at: Array) -> Events:
        events, _ = self.store.batch(at, self.dt, self.steps, self.binary)
        if self.channel is None:
            return events
        index = self.channel[events.index.long()]
        stay = index >= 0
        before = torch.cat([torch.zeros(1, dtype=torch.int64), stay.long().cumsum(0)])
        value = None if events.value is None else events.value[stay]
        return Events(
            before[events.indptr], index[stay], events.shape, events.dt, value, events.lengths, events.sensor
        )

    def part(self, at: Array, labels: Tensor | None = None) -> Recordings:
        labels = self.labels[torch.from_numpy(at)] if labels is None else labels
        return Recordings(self.store.select(at), labels, self.dt, self.steps, self.binary, self.channel)

    def changed(self, channel: Tensor) -> Recordings:
        """The same recordings, their channels mapped."""
        return Recordings(self.store, self.labels, self.dt, self.steps, self.binary, channel)


@dataclass(frozen=True, eq=False)
class Permute:
    """Pixels in another order: pixel k becomes what pixel order[k] was."""

    order: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x[:, self.order]


@dataclass(frozen=True, eq=False)
class Rotate:
    """Images turned about their middle by an angle in degrees, counter-clockwise, between pixels linearly."""

    angle: float
    height: int
    width: int

    def __call__(self, x: Tensor) -> Tensor:
        a = math.radians(self.angle)
        h, w = self.height, self.width
        turn = torch.tensor([[math.cos(a), -math.sin(a) * h / w, 0.0], [math.sin(a) * w / h, math.cos(a), 0.0]])
        size = [len(x), 1, h, w]
        grid = torch.nn.functional.affine_grid(turn.expand(len(x), 2, 3), size, align_corners=False)
        turned = torch.nn.functional.grid_sample(x.view(size), grid, align_corners=False)
        return turned.reshape(len(x), -1)


def turned_channels(sensor: tuple[int, int, int], angle: float) -> Tensor:
    """(N,) where each pixel of a camera lies after turning about the middle, -1 outside; nearest pixel.

    Arguments:
        sensor: (W, H, P).
        angle: degrees, counter-clockwise.
    """
    W, H, P = sensor
    a = math.radians(angle)
    y, x = np.mgrid[:H, :W]
    u, v = x - (W - 1) / 2, y - (H - 1) / 2
    to_x = np.rint(math.cos(a) * u + math.sin(a) * v + (W - 1) / 2).astype(np.int64)
    to_y = np.rint(-math.sin(a) * u + math.cos(a) * v + (H - 1) / 2).astype(np.int64)
    inside = (to_x >= 0) & (to_x < W) & (to_y >= 0) & (to_y < H)
    plane = np.where(inside, to_y * W + to_x, -1).ravel()
    return torch.from_numpy(np.concatenate([np.where(plane >= 0, plane + p * W * H, -1) for p in range(P)]))


@dataclass(frozen=True, eq=False)
class Mixed:
    """Examples of several tasks as one."""

    parts: tuple[Examples, ...]

    @property
    def inputs(self) -> int:
        return self.parts[0].inputs

    @property
    def labels(self) -> Tensor:
        return torch.cat([part.labels for part in self.parts])

    def batch(self, at: Array) -> Any:
        ends = np.cumsum([len(part.labels) for part in self.parts])
        owner = np.searchsorted(ends, at, side="right")
        found, places = [], []
        for k in np.unique(owner):
            mine = np.flatnonzero(owner == k)
            found.append(self.parts[k].batch(at[mine] - (ends[k] - len(self.parts[k].labels))))
            places.append(mine)
        back = torch.from_numpy(np.argsort(np.concatenate(places)))
        return Events.cat(found)[:, back] if isinstance(found[0], Events) else torch.cat(found)[back]

    def part(self, at: Array, labels: Tensor | None = None) -> Mixed:
        raise NotImplementedError("Mixed: take parts of the tasks before mixing them")


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches of examples, the same ones each time they are gone through.

    Arguments:
        examples: which.
        size: examples of a batch.
        seed: of their order; `None` is their own.
        device: where inputs and labels go.
    """

    examples: Examples
    size: int
    seed: tuple[int, ...] | None = None
    device: str = "cpu"

    def __len__(self) -> int:
        return -(-len(self.examples.labels) // self.size)

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        n = len(self.examples.labels)
        order = np.arange(n) if self.seed is None else np.random.default_rng(self.seed).permutation(n)
        for k in range(0, n, self.size):
            at = order[k : k + self.size]
            labels = self.examples.labels[torch.from_numpy(at)]
            yield self.examples.batch(at).to(self.device), labels.to(self.device)
