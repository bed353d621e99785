"""Networks that learn, for tests, and their comparison with the specification."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spiking import Events
from spiking.kernels import SparseWeight
from spiking.kernels.reservoir import IntegrateFire, Izhikevich, Kinetics, ReservoirState, ShortTerm, Synapses
from spiking.kernels.stdp import Homeostasis, LearningState, Plastic, PlasticNetwork, Rule, Sliding, stdp

SOURCES, N = 20, 70
LIF = IntegrateFire(20.0, 1.0, 0.0, 0.0, 2)
RULES: dict[str, Rule] = {
    "pairs": Rule(0.05, 0.06),
    "soft": Rule(0.05, 0.06, 12.0, 25.0, mu_plus=0.3, mu_minus=1.0),
    "nearest": Rule(0.05, 0.06, nearest=True),
    "triplets": Rule(0.02, 0.03, 16.8, 33.7, 0.03, 0.01, 100.0, 40.0),
    "sliding": Rule(0.0, 0.04, 16.8, 33.7, 0.05, tau_y=114.0, sliding=Sliding(30.0, 50.0, 200.0)),
    "reward": Rule(0.1, 0.12, tau_eligibility=100.0),
    "spread reward": Rule(0.1, 0.12, mu_plus=0.5, tau_eligibility=60.0, tau_reward=8.0),
}
NEURONS: dict[str, tuple[Any, ...]] = {  # neuron, kinetics, short-term plasticity
    "lif": (LIF, Kinetics(), None),
    "two receptors": (LIF, Kinetics("exponential", 3.0, 5.0, exact=False), None),
    "alpha": (LIF, Kinetics("alpha", 2.0), None),
    "adaptive": (IntegrateFire(20.0, 1.0, None, 0.01, 0, 50.0, 0.2), Kinetics(), None),
    "izhikevich": (Izhikevich(bias=4.0, refractory=1), Kinetics("exponential", 5.0, 3.0), None),
    "short-term": (LIF, Kinetics(), ShortTerm(torch.full((N, 2), 0.5), 100.0, 50.0, torch.arange(N) % 2)),
}
SCALE = {"two receptors": 3.0, "alpha": 2.0, "izhikevich": 4.0}


def network(kind: str = "lif", delay: int = 5, seed: int = 0, dtype: torch.dtype = torch.float64) -> PlasticNetwork:
    """A fifth of the neurons inhibits and does not learn, and a few other synapses don't either."""
    g = torch.Generator().manual_seed(seed)

    def some(sources: int, scale: float, first: int) -> Synapses:
        weight = torch.randint(1, 500, (sources, N), generator=g) * (scale * SCALE.get(kind, 1.0)) / 1024
        if sources == N:
            weight[N * 4 // 5 :] *= -1.5
        kept = torch.rand(sources, N, generator=g) < 0.2
        sparse = SparseWeight.from_dense((weight * kept).to(dtype))
        return Synapses.of(sparse, torch.randint(first, delay + 1, (sparse.nnz,), generator=g))

    inputs, recurrent = some(SOURCES, 3.0, 0), some(N, 1.0, 1)
    learns = (recurrent.weight > 0) & (torch.rand(recurrent.word.numel(), generator=g) < 0.9)
    top = 0.6 * SCALE.get(kind, 1.0)
    return PlasticNetwork(inputs, Plastic(recurrent, 0.0, top, learns), *NEURONS[kind])


def train(T: int = 60, rate: float = 0.15, length: int | None = None, seed: int = 1) -> Events:
    x = torch.rand(T, 1, SOURCES, generator=torch.Generator().manual_seed(seed)) < rate
    return Events.from_dense(x, dt=1.0, lengths=None if length is None else torch.tensor([length]))


def rewards(T: int, rule: Rule, seed: int = 2) -> Tensor | None:
    """Rare rewards of either sign, for rules that wait for them."""
    if rule.tau_eligibility is None:
        return None
    g = torch.Generator().manual_seed(seed)
    return torch.randn(T, generator=g, dtype=torch.float64) * (torch.rand(T, generator=g) < 0.3)


def same(a: Any, b: Any, tolerance: float = 1e-12, exact: bool = False) -> None:
    """The spikes of two runs are equal, and what they have learned and their states, to rounding unless `exact`."""
    assert torch.equal(a[0].spikes.indptr, b[0].spikes.indptr) and torch.equal(a[0].spikes.index, b[0].spikes.index)
    for name, p, q in zip(("total", "last", "steps"), a[0][3:], b[0][3:], strict=True):
        assert torch.equal(p, q), name
    names = (*ReservoirState._fields, *LearningState._fields[1:])
    for name, p, q in zip(names, (*a[1].network, *a[1][1:]), (*b[1].network, *b[1][1:]), strict=True):
        if exact:
            assert torch.equal(p, q), name
        else:
            close = {"rtol": tolerance, "atol": tolerance}
            torch.testing.assert_close(p, q, **close, msg=lambda m, name=name: f"{name}: {m}")


def both(x: Events, given: PlasticNetwork, rule: Rule, tolerance: float = 1e-12, **more: Any) -> Any:
    """Compare Numba with the reference; the outcome of the latter."""
    runs = [
        stdp(x, given, rule, reward=rewards(len(x), rule), backend=name, **more) for name in ("reference", "numba")
    ]
    same(*runs, tolerance)
    return runs[0]


HOMEOSTASIS = Homeostasis(20.0, 0.05, 0.5, 2.0)
