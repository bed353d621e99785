"""Warming: every CPU kernel that a run may need is called once, on next to nothing, which compiles it or loads it.

A run's first batch does not need them all. Held-out recordings are binned without augmentation, spikes between layers
are compressed only once they are sparse enough, and the linear controls count events.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.nn import Module
from torch.nn.functional import cross_entropy

from spiking import readout
from spiking.datasets import Augment, EventStore
from spiking.events import Events
from spiking.kernels import event_conv, event_linear
from spiking.networks import ELMNetwork, SpikingMLP
from spiking.neurons import ELM, NEURONS

SPARSE = 64  # channels of which one fires


def warm(say: Callable[[str], object] | None = None, layers: bool = True, elm: bool = False) -> None:
    """Compile the Numba kernels of data and layers, which are kept on disk; torch's generator stays as it was.

    Arguments:
        say: is told what is compiled and how long it took.
        layers: those of layers too, which only a CPU needs.
        elm: those of ELM neurons too, which only networks of such need.
    """
    store = _recordings()
    work: dict[str, Callable[[], object]] = {
        "binning": lambda: store.batch(range(8), dt=1.0),
        "augmentation": lambda: next(iter(store.loader(8, dt=1.0, augment=Augment(shift=1)))),
        "counts": lambda: store.counts(2),
    }
    if layers:
        work["weights"] = _weights
        work["convolutions"] = _convolutions
        for name in (name for name in NEURONS if name != "li"):
            work[f"neuron {name}"] = lambda name=name: _neurons(name, store)  # type: ignore[misc]
    if elm:
        work["neuron elm"] = lambda: _elm(ELM(store.channels, 2, memory=2), store)
        work["layer of elm"] = lambda: _elm(ELMNetwork(store.channels, 2, [2], memory=2, branches=2, synapses=2), store)
    for name, call in work.items():
        start = time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            call()
        if say is not None:
            say(f"{name:<24}{time.perf_counter() - start:6.1f} s")


def _recordings() -> EventStore:
    """Eight recordings of four events, two classes."""
    event = torch.arange(32).numpy()
    return EventStore.from_arrays(
        event % 18, event % 4 * 900, range(0, 33, 4), [0, 1] * 4, sensor=(3, 3, 2), duration=4000
    )


def _weights() -> None:
    """Events, and dense spikes so few that they are compressed."""
    weight = torch.zeros(SPARSE, 2, requires_grad=True)
    few = torch.zeros(1, 1, SPARSE)
    few[0, 0, 0] = 1
    for x in (few, Events.from_dense(few, dt=1.0)):
        event_linear(x, weight).sum().backward()


def _convolutions() -> None:
    """A patch of each event, with a count and without one."""
    few = torch.zeros(1, 1, 18)
    few[0, 0, 0] = 1
    for frames in (few, 2 * few):
        weight = torch.zeros(2, 3, 3, 4, requires_grad=True)
        event_conv(Events.from_dense(frames, dt=1.0, sensor=(3, 3, 2)), weight, padding=1).sum().backward()


def _neurons(name: str, store: EventStore) -> None:
    net = SpikingMLP([store.channels, 8, len(store.classes)], neuron=name)
    events, labels = store.batch(range(len(store)), dt=1.0)
    cross_entropy(readout.max(net(events)[0], events.lengths), labels).backward()


def _elm(net: Module, store: EventStore) -> None:
    net(store.batch(range(len(store)), dt=1.0)[0])[0].sum().backward()
