"""The methods that `run` and the command know by name, with the numbers they start from.

    sequential      nothing is done against forgetting: the lower bound
    joint           one model learns all tasks at once: the upper bound; every row of its R is the same
    cumulative      for each task a new model learns all tasks so far: what intransigence compares with
    hlop            Hebbian orthogonal projection, the preset "improved"; hlop-published is the other
    gpm, owm        other projections, of all layers with weights
    ewc, si         springs
    replay          a memory of samples
    dendrites       active dendrites, a network of its own (contexts.py); dendrites-published brings optimiser and
                    epochs too

HLOP's published rows are those of 784-800-800-10 and ten tasks; layers of other widths get the same shares of theirs.
Heads whose outputs belong to one task each are not projected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from spiking.plasticity import EWC, GPM, HLOP, OWM, SI, Method, Replay, logits
from spiking.plasticity.continual import contexts
from spiking.plasticity.continual.streams import Stream
from spiking.plasticity.method import Batches
from spiking.plasticity.projection.base import Projection
from spiking.plasticity.projection.hlop import published_rows
from spiking.plasticity.sites import every

BOUNDS = ("sequential", "joint", "cumulative")
NAMES = (*BOUNDS, "hlop", "hlop-published", "gpm", "owm", "ewc", "si", "replay", *contexts.NAMES)
PUBLISHED = (784, 800, 800)  # inputs of the layers that the published rows are of
STRENGTH = 100.0  # of EWC; the best depends on the stream and is found with valid=


@dataclass
class Plan:
    """A method and what belongs to it in a run.

    Attributes:
        method: to be called.
        options: what its `next_task` is given before task k.
        task: the one that is being learned.
    """

    method: Method = field(default_factory=Method)
    options: Callable[[int], dict[str, Any]] = lambda task: {}
    task: int = 0


def build(
    method: str | Method | Callable[[nn.Module, Stream], Method], model: nn.Module, stream: Stream,
    options: Mapping[str, Any] | None = None, seed: int = 0,
) -> Plan:
    """A method for a model and a stream.

    Arguments:
        method: a name of `NAMES`, a `Method`, or what makes one from model and stream.
        model: with the layers that the method looks after.
        stream: to be learned.
        options: of the class that a name stands for.
        seed: of what it draws.

    Raises:
        ValueError: if there is no such method, or it doesn't take the options.
    """
    given = dict(options or {})
    if not isinstance(method, str):
        if given:
            raise ValueError(f"options: they are for methods by name; got {', '.join(sorted(given))} beside an object")
        made: Any = method if isinstance(method, Method) or not callable(method) else method(model, stream)
        if not isinstance(made, Method):
            raise ValueError(f"method: expected a name, a Method, or what makes one, got {type(made).__name__}")
        return Plan(made)
    check_name(method)
    if method in BOUNDS:
        if given:
            raise ValueError(f"options: {method} has none, got {', '.join(sorted(given))}")
        return Plan()
    plan = Plan()
    try:
        plan.method = _named(method, model, stream, given, seed, plan)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"options: {method} does not take {given}: {error}") from error
    if isinstance(plan.method, HLOP):
        sizes = projected(model, stream)
        if "rows" not in given:
            plan.options = lambda task: {"rows": rows(sizes, task, _with_head(stream))}
        asked = {**given, **plan.options(0)}["rows"]
        _check_room(plan.method, [plan.options(task).get("rows", asked) for task in range(len(stream.tasks))])
    return plan


def _check_room(hlop: HLOP, wanted: Sequence[Mapping[str, int]]) -> None:
    """Refuse rows that a layer has no room for by the last task; the improved preset takes those that fit."""
    for name, site in hlop.sites.items() if hlop.preset == "published" else ():
        total = sum(each.get(name, 0) for each in wanted)
        if total > site.inputs:
            raise ValueError(
                f"rows: {name} has {site.inputs} inputs, and {len(wanted)} tasks ask for {total} rows; choose fewer "
                "with the option rows, or the preset 'improved', which takes those that fit"
            )


def _named(
    method: str, model: nn.Module, stream: Stream, given: dict[str, Any], seed: int, plan: Plan
) -> Method:
    if method in contexts.NAMES:
        return contexts.Contexts(model)
    sizes = projected(model, stream)
    if method.startswith("hlop"):
        preset = "published" if method == "hlop-published" else "improved"
        return HLOP(model, **{"rows": rows(sizes, 0, _with_head(stream)), "preset": preset, "seed": seed, **given})
    if method == "gpm":
        return GPM(model, **{"layers": list(sizes), "seed": seed, **given})
    if method == "owm":
        return OWM(model, **{"layers": list(sizes), **given})
    if method == "ewc":
        forward = logits(model)

        def scores(inputs: Any) -> Tensor:
            """Outputs of the task that is over; the Fisher information is that of what was trained."""
            out = forward(inputs)[:, : stream.outputs]
            if stream.group is None:
                return out
            return out.masked_fill((stream.group != plan.task).to(out.device), -math.inf)

        return EWC(model, **{"strength": STRENGTH, "forward": scores, "seed": seed, **given})
    return SI(model, **given) if method == "si" else Replay(**{"seed": seed, **given})


def check_name(method: str) -> None:
    """Refuse a name that no method has.

    Raises:
        ValueError: listing those there are.
    """
    if method not in NAMES:
        raise ValueError(f"method: expected one of {', '.join(NAMES)}, got {method!r}")


def projected(model: nn.Module, stream: Stream) -> dict[str, int]:
    """Inputs of each layer with weights, by name; without the head where tasks have outputs of their own."""
    sizes = {name: site.inputs for name, site in every(model).items()}
    return sizes if _with_head(stream) or len(sizes) == 1 else dict(list(sizes.items())[:-1])


def _with_head(stream: Stream) -> bool:
    """Whether tasks share the head's outputs, so that it is projected like other layers."""
    return stream.setting != "task"


def rows(sizes: Mapping[str, int], task: int, head: bool = True) -> dict[str, int]:
    """New rows of HLOP for a task, by layer: the published ones, as shares of the layers' inputs.

    Arguments:
        sizes: inputs of each projected layer.
        task: its number.
        head: the last of them is the head.
    """
    first, hidden, last = published_rows(("0", "1", "2"), min(task, 9)).values()
    found = {}
    for k, (name, n) in enumerate(sizes.items()):
        count, whole = (first, PUBLISHED[0]) if k == 0 else (hidden, PUBLISHED[1])
        if head and k and k == len(sizes) - 1:
            count, whole = last, PUBLISHED[2]
        found[name] = max(1, round(count * n / whole))
    return found


@torch.no_grad()
def rank(method: Method, batches: Batches) -> dict[str, list[float]]:
    """By layer, rows that a method with subspaces has for a task's batches, inputs of the layer, energy captured."""
    if not isinstance(method, Projection):
        return {}
    told = method.report(batches)
    return {name: [said["rows"], said["inputs"], said.get("energy", math.nan)] for name, said in told.items()}
