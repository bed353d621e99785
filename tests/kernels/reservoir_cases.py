"""Recurrent networks for tests, and their comparison with the specification."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spiking import Events
from spiking.kernels import SparseWeight, reservoir
from spiking.kernels.reservoir import (
    Generated,
    IntegrateFire,
    Izhikevich,
    Kinetics,
    Recorder,
    ReservoirState,
    ShortTerm,
    Synapses,
)  # fmt: skip

SOURCES, N = 20, 70
LIF = IntegrateFire(20.0, 1.0, 0.0, 0.0, 2)
GROUPS = torch.arange(N) % 2
MANY = ShortTerm(torch.rand(N, 2, generator=torch.Generator().manual_seed(3)), 100.0, torch.tensor([0.0, 30.0]), GROUPS)
NEURONS: dict[str, tuple[Any, ...]] = {  # neuron, kinetics, short-term plasticity
    "lif": (LIF, Kinetics(), None),
    "exponential": (LIF, Kinetics("exponential", 5.0), None),
    "two receptors": (LIF, Kinetics("exponential", 5.0, 3.0), None),
    "alpha": (LIF, Kinetics("alpha", 2.0, 4.0), None),
    "alpha, equal times": (LIF, Kinetics("alpha", 20.0), None),
    "at once": (LIF, Kinetics("exponential", 2.0, exact=False), None),
    "adaptive": (IntegrateFire(20.0, 1.0, None, 0.01, torch.arange(N) % 3, 50.0, 0.2), Kinetics(), None),
    "izhikevich": (Izhikevich(bias=torch.arange(N) / 7.0, refractory=1), Kinetics("exponential", 5.0, 3.0), None),
    "short-term": (LIF, Kinetics(), ShortTerm(0.5, 100.0, 50.0)),
    "short-term groups": (LIF, Kinetics("exponential", 3.0, 2.0, exact=False), MANY._replace(facilitation=9.0)),
}


def stored(delay: int = 5, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Synapses, Synapses]:
    """Input and recurrent synapses whose weights are multiples of 2^-10, so that sums are exact in any order."""
    g = torch.Generator().manual_seed(seed)

    def some(sources: int, scale: int, first: int) -> Synapses:
        weight = torch.randint(-300, 500, (sources, N), generator=g) * scale / 1024
        weight = SparseWeight.from_dense((weight * (torch.rand(sources, N, generator=g) < 0.2)).to(dtype))
        return Synapses.of(weight, torch.randint(first, delay + 1, (weight.nnz,), generator=g))

    return some(SOURCES, 3, 0), some(N, 1, 1)


def drawn(autapses: bool = True) -> tuple[Generated, Generated]:
    """The like, drawn when a spike comes."""
    inputs = Generated(3, (SOURCES, N), 8, (0.25, 1.0), delay=(0, 3))
    return inputs, Generated(2**32 - 1, (N, N), 11, (0.125, 0.5), 52, (-0.9, -0.25), (1, 4), autapses)


def trains(T: int = 50, lengths: Any = (50, 0, 33), rate: float = 0.15, counts: bool = False, seed: int = 1) -> Events:
    g = torch.Generator().manual_seed(seed)
    x = (torch.rand(T, len(lengths), SOURCES, generator=g) < rate).double()
    if counts:
        x *= torch.randint(-1, 3, x.shape, generator=g)
    return Events.from_dense(x, dt=1.0, lengths=torch.tensor(lengths, dtype=torch.int64).clamp(max=T))


def same(a: Any, b: Any, exact: bool = False) -> None:
    """The spikes of two runs are equal, and their records and states, to rounding unless `exact`."""
    tolerance = {"rtol": 0.0, "atol": 0.0} if exact else {"rtol": 1e-9, "atol": 1e-9}
    assert torch.equal(a[0].spikes.indptr, b[0].spikes.indptr) and torch.equal(a[0].spikes.index, b[0].spikes.index)
    assert torch.equal(a[0].spikes.lengths, b[0].spikes.lengths)
    names = (*a[0]._fields[1:], *ReservoirState._fields)
    for name, p, q in zip(names, (*a[0][1:], *a[1]), (*b[0][1:], *b[1]), strict=True):
        torch.testing.assert_close(p, q, **tolerance, msg=lambda m, name=name: f"{name}: {m}")


def both(backend: str, x: Events, network: Any, kind: str, dtype: torch.dtype = torch.float64, **more: Any) -> Tensor:
    """Compare a backend with the reference; the spikes of each recording."""
    neuron, kinetics, short_term = NEURONS[kind]
    record = Recorder(bins=3, traces=4)
    runs = [
        reservoir(x, *network, neuron, kinetics, short_term, record=record, dtype=dtype, backend=name, **more)
        for name in ("reference", backend)
    ]
    same(*runs)
    return runs[0][0].total
