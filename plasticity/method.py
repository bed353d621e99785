"""Method: what every way to learn tasks one after the other does, and where in a training step.

    inputs, labels = method.observe(inputs, labels, task)   # before the forward pass; or observe(batch)
    loss = cross_entropy(model(inputs), labels) + method.penalty()
    loss.backward()
    method.project()                                        # after unscaling gradients, before clipping them
    optimizer.step()
    method.learn()
    ...
    method.next_task(batches=...)                           # once, when a task ends

`Method()` itself does nothing in any of these places: it is sequential training, the lower bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spiking import readout
from spiking.events import Events

Inputs = Any  # Events (T, B, in) or a tensor
Batches = Iterable[tuple[Inputs, Tensor]]
Forward = Callable[[Inputs], Tensor]


class Method:
    """Base of the methods against forgetting; by itself plain sequential training.

    `task` counts the tasks that are over.
    """

    def __init__(self) -> None:
        self.task = 0

    def observe(self, inputs: Inputs, labels: Tensor | None = None, task: int = 0) -> tuple[Inputs, Tensor]:
        """What to train on instead of a batch, before the forward pass.

        Arguments:
            inputs: Events (T, B, in) or a tensor; or a batch, the pair (inputs, labels).
            labels: (B,); `None` beside a pair.
            task: number of the task the batch belongs to.

        Returns:
            inputs and labels, of more samples where a method remembers some.

        Raises:
            ValueError: if there are no labels, or twice.
        """
        return pair(inputs, labels)

    def begin_task(self, batches: Batches) -> None:
        """Look at a task before it is learned, for methods that need to know what it is like.

        Arguments:
            batches: its inputs and labels.
        """

    def penalty(self) -> Tensor:
        """What to add to the loss, a tensor of no dimension."""
        return torch.zeros(())

    def project(self) -> None:
        """Change the gradients, after the backward pass and before the optimiser's step."""

    def learn(self) -> None:
        """Learn from the step that the optimiser has just taken and from the activity that led to it."""

    def next_task(self, batches: Batches | None = None, **options: Any) -> None:
        """End a task.

        Arguments:
            batches: inputs and labels of the task that is over, for methods that measure at its end.
            **options: of the method.
        """
        if options:
            raise TypeError(f"{type(self).__name__}.next_task: unexpected argument {', '.join(sorted(options))}")
        self.task += 1

    def stored(self) -> int:
        """How many numbers the method keeps from task to task."""
        return 0

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on in another process."""
        return {"task": self.task}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
            ValueError: if the state is that of something else.
        """
        wanted, given = set(self.state_dict()), set(state)
        if wanted != given:
            raise ValueError(f"state: {type(self).__name__} expects {sorted(wanted)}, got {sorted(given)}")
        self.task = int(state["task"])


def pair(inputs: Inputs, labels: Tensor | None) -> tuple[Inputs, Tensor]:
    """Inputs and labels, given as two or as a pair.

    Raises:
        ValueError: if they are neither.
    """
    paired = isinstance(inputs, (tuple, list))
    if paired and labels is None and len(inputs) == 2:
        inputs, labels = inputs
    elif paired or not isinstance(labels, Tensor):
        what = f"{type(inputs).__name__} of {len(inputs)}" if paired else type(inputs).__name__
        raise ValueError(
            f"observe: expected inputs and labels, or the pair of them, got {what} and {type(labels).__name__}"
        )
    return inputs, labels


def copied(value: Any, device: torch.device | None = None) -> Any:
    """The same state with tensors of its own, in dictionaries and lists too, on a device if one is given."""
    if isinstance(value, Mapping):
        return {key: copied(item, device) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item, device) for item in value]
    if not isinstance(value, Tensor):
        return value
    return value.clone() if device is None else value.to(device, copy=True)


def logits(model: nn.Module) -> Forward:
    """The outputs (B, classes) of a model as a loss takes them.

    Arguments:
        model: returns logits, or a readout over time (T, B, classes), which is averaged, alone or before its states.
    """

    def forward(inputs: Inputs) -> Tensor:
        out = model(inputs)
        out = out[0] if isinstance(out, tuple) else out
        if out.ndim == 2:
            return out
        return readout.mean(out, inputs.lengths if isinstance(inputs, Events) else None)

    return forward


def pick(inputs: Inputs, samples: Tensor, axis: int = 0) -> Inputs:
    """Some samples of a batch, Events or a tensor whose samples are on that axis."""
    if isinstance(inputs, Events):
        return inputs[:, samples.to(inputs.device)]
    return inputs.index_select(axis, samples.to(inputs.device))
