"""The methods that `run` and the command know by name, with the numbers they start from.

    sequential  nothing is done against forgetting: the lower bound
    joint       one model learns all tasks at once: the upper bound; every row of its R is the same
    cumulative  for each task a new model learns all tasks so far: what intransigence compares with
    hlop        Hebbian orthogonal projection, Xiao et al. 2024; also gpm, owm, ewc, si, replay

HLOP's published rows are those of 784-800-800-10 and ten tasks; other widths get the same shares of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import nn

from spiking.plasticity.continual.streams import Stream
from spiking.plasticity.method import Method

CLASSES = {"hlop": "HLOP", "gpm": "GPM", "owm": "OWM", "ewc": "EWC", "si": "SI", "replay": "Replay"}
BOUNDS = ("sequential", "joint", "cumulative")
NAMES = (*BOUNDS, *CLASSES)
FIRST, LATER = (80, 200, 100), (70, 70, 50, 50, 50, 30, 30, 30, 10)
PUBLISHED = (784, 800, 800)


@dataclass
class Plan:
    """A method, and what its `next_task` is given before task k."""

    method: Method
    options: Callable[[int], dict[str, Any]]


def build(
    method: str | Method | Callable[[nn.Module, Stream], Method], model: nn.Module, stream: Stream,
    options: Mapping[str, Any] | None = None,
) -> Plan:
    """A method for a model and a stream.

    Arguments:
        method: a name of `NAMES`, a `Method`, or what makes one from model and stream.
        model: with the layers that the method looks after.
        stream: to be learned.
        options: of the class that a name stands for.

    Raises:
        ValueError: if there is no such method, or it doesn't take the options.
    """
    given = dict(options or {})
    if not isinstance(method, str):
        if given:
            raise ValueError(f"options: they are for methods by name; got {', '.join(sorted(given))} beside an object")
        made = method if isinstance(method, Method) else method(model, stream)
        if not isinstance(made, Method):
            raise ValueError(f"method: expected it to make a Method, got {type(made).__name__}")
        return Plan(made, lambda task: {})
    check_name(method)
    if method in BOUNDS:
        if given:
            raise ValueError(f"options: {method} has none, got {', '.join(sorted(given))}")
        return Plan(Method(), lambda task: {})
    kind = getattr(import_module("spiking.plasticity"), CLASSES[method])
    try:
        if method == "hlop" and "rows" not in given:
            layers = projected(model, stream)
            made = kind(model, rows=rows(layers, 0), **given)
            return Plan(made, lambda task: {"rows": rows(layers, task)})
        return Plan(kind(model, **given), lambda task: {})
    except TypeError as error:
        raise ValueError(f"options: {method} does not take {given}: {error}") from error


def check_name(method: str) -> None:
    """Refuse a name that no method has.

    Raises:
        ValueError: listing those there are.
    """
    if method not in NAMES:
        raise ValueError(f"method: expected one of {', '.join(NAMES)}, got {method!r}")


def projected(model: nn.Module, stream: Stream) -> dict[str, int]:
    """Inputs of each layer with synapses, by name; without the head where tasks have outputs of their own."""
    sizes = {
        name: int(layer.in_features) for name, layer in model.named_modules()
        if isinstance(getattr(layer, "weight", None), nn.Parameter) and hasattr(layer, "in_features")
    }  # fmt: skip
    return dict(list(sizes.items())[:-1]) if stream.setting == "task" and len(sizes) > 1 else sizes


def rows(sizes: Mapping[str, int], task: int) -> dict[str, int]:
    """Rows that HLOP gets for a task, by layer: the published ones, as shares of the layers' inputs."""
    found = {}
    for k, (name, n) in enumerate(sizes.items()):
        place = 0 if k == 0 else 2 if k == len(sizes) - 1 else 1
        count = FIRST[place] if task == 0 else LATER[min(task, len(LATER)) - 1]
        found[name] = max(1, round(count * n / PUBLISHED[place]))
    return found
