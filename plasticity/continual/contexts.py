"""Active dendrites in a stream: the network that the method brings, a context for each task, and the published setting.

Before a task its prototype, the mean of its training samples, becomes the context of its training; in evaluation each
sample takes the nearest prototype (`spiking.plasticity.dendrites`). Iyer et al. 2022 learn permuted MNIST with 2048 and
2048 units, as many segments a unit as there are tasks, 5 % winners, half of the weights, Adam that begins anew with
each task, batches of 256, and epochs and a learning rate that depend on the number of tasks:

    tasks   up to 5   10       25       50       100
    epochs  1         3        5        3        3
    rate    5e-4      5e-4     3e-4     3e-4     1e-4
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from spiking.events import Events
from spiking.plasticity.continual.models import EVENT_WIDTHS, WIDTHS
from spiking.plasticity.continual.streams import Stream
from spiking.plasticity.dendrites import DendriticMLP
from spiking.plasticity.method import Batches, Method

NAMES = ("dendrites", "dendrites-published")
PUBLISHED_WIDTHS, PUBLISHED_BATCH = (2048, 2048), 256
PUBLISHED_PACE = {5: (1, 5e-4), 10: (3, 5e-4), 25: (5, 3e-4), 50: (3, 3e-4), 100: (3, 1e-4)}  # tasks: epochs, rate


class Contexts(Method):
    """Give a network of active dendrites a context for each task.

    Arguments:
        model: a `DendriticMLP`, or one with it inside.

    Raises:
        ValueError: if there is none.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        found = [module for module in model.modules() if isinstance(module, DendriticMLP)]
        if not found:
            raise ValueError(f"model: dendrites need a DendriticMLP, got {type(model).__name__}")
        self.network = found[0]

    def begin_task(self, batches: Batches) -> None:
        """Add the mean of the task's samples to the prototypes."""
        total, count = torch.zeros_like(self.network.prototypes[:0].sum(0)), 0
        for inputs, labels in batches:
            total += (inputs.counts() if isinstance(inputs, Events) else inputs).sum(0)
            count += len(labels)
        self.network.begin_task(total[None] / max(count, 1))

    def stored(self) -> int:
        """Numbers of the prototypes; the segments are weights."""
        return self.network.prototypes.numel()


def network(
    stream: Stream, published: bool = False, widths: Sequence[int] | None = None, segments: int | None = None,
    **options: Any,
) -> DendriticMLP:
    """The network for a stream.

    Arguments:
        stream: whose inputs and outputs it has.
        published: whether `None` means the published widths.
        widths: units of the hidden layers; `None` means 800 and 800 for images and 256 for events, or the published.
        segments: of each unit; `None` means one for each task.
        **options: of `DendriticMLP`.
    """
    if widths is None:
        widths = PUBLISHED_WIDTHS if published else EVENT_WIDTHS if stream.events else WIDTHS
    count = len(stream.tasks) if segments is None else segments
    return DendriticMLP([stream.inputs, *widths, stream.outputs], count, **options)


def published_pace(tasks: int) -> tuple[int, float]:
    """Epochs through each task, and Adam's learning rate, of a stream of so many tasks."""
    return PUBLISHED_PACE[min((most for most in PUBLISHED_PACE if most >= tasks), default=100)]


def published_optimizer(tasks: int, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam in one pass over the 38 million weights, which is where it would spend its time."""
    return torch.optim.Adam(parameters, lr=published_pace(tasks)[1], fused=True)
