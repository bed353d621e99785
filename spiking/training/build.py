"""Networks by name: what the data decide (channels, sensor, classes, step) is filled in, the rest are options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

from torch.nn import Module

from spiking.events import Sensor


class Source(Protocol):
    """What a network is made for: an event store or a task."""

    channels: int
    sensor: Sensor | None
    classes: tuple[str, ...]


def network_class(name: str) -> type[Module]:
    """The class of that name: one of `spiking.networks`, or a dotted path to one's own.

    Raises:
        ValueError: if there is none.
    """
    home, _, last = name.rpartition(".")
    try:
        found = getattr(import_module(home or "spiking.networks"), last)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"network: expected SpikingMLP, SpikingConvNet or the dotted path of a class, got {name!r} ({error})"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Module)):
        raise ValueError(f"network: expected a class of torch modules, got {name!r}")
    return found


def build_network(name: str, options: Mapping[str, Any], store: Source, dt: float) -> Module:
    """Make a network for a data set.

    Arguments:
        name: as `network_class` takes it.
        options: arguments of the class. Those named `sizes`, `sensor`, `inputs`, `classes`, `in_features`,
            `out_features` and `dt` come from the data if they aren't given; for `sizes`, `hidden` says what lies
            between the first and the last.
        store: the recordings or the task.
        dt: step in ms.

    Raises:
        ValueError: if the class has no such option, or the recordings lack the sensor that it needs.
    """
    kind = network_class(name)
    known = inspect.signature(kind).parameters
    given = dict(options)
    if "sizes" in known and "sizes" not in given:
        hidden = given.pop("hidden", [128])
        if not isinstance(hidden, Sequence) or isinstance(hidden, str):
            raise ValueError(f"options: hidden: expected a list of layer sizes, such as [128], got {hidden!r}")
        given["sizes"] = [store.channels, *hidden, len(store.classes)]
    ends = {"inputs": store.channels, "classes": len(store.classes)}
    facts = {"sensor": store.sensor, "dt": dt, **ends}
    facts |= {"in_features": ends["inputs"], "out_features": ends["classes"]}
    for fact, value in facts.items():
        if fact in known:
            given.setdefault(fact, value)
    anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    wrong = [] if anything else [option for option in given if option not in known]
    if wrong:
        raise ValueError(f"options: {kind.__name__} has no {', '.join(wrong)}; it has {', '.join(known)}")
    if "sensor" in known and given.get("sensor") is None:
        raise ValueError(f"network: {kind.__name__} needs recordings with a sensor (W, H, P); these have channels only")
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(f"options: {kind.__name__}: {error}") from error
