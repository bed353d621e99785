"""The reservoir and NEST, spike for spike over a second, in float64 with weights on a grid of 2^-10."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from spiking.kernels import reservoir
from spiking.kernels.reservoir import IntegrateFire, Izhikevich, Kinetics, ShortTerm
from tests.scripts import script

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("nest") is None, reason="NEST is not installed: pip install nest-simulator"
)


BENCHMARK = script("reservoir")
LIF, P = BENCHMARK.NEURON, BENCHMARK.PARAMS
BOTH = {"tau_syn_ex": 5.0, "tau_syn_in": 3.0}
REGULAR = {
    "a": 0.02, "b": 0.2, "c": -65.0, "d": 8.0, "V_m": -65.0, "U_m": -13.0, "V_th": 30.0, "V_min": -1e10,
    "consistent_integration": True,
}  # fmt: skip
TSODYKS = {"U": 0.5, "u": 0.5, "x": 1.0, "tau_rec": 200.0, "tau_fac": 50.0}
CASES = {  # scale of the weights, our neuron, NEST's
    "delta": (4.0, (LIF, Kinetics(), None), ("iaf_psc_delta", P, None)),
    "biased": (3.0, (LIF._replace(bias=8.0), Kinetics(), None), ("iaf_psc_delta", {**P, "I_e": 8.0}, None)),
    "exponential": (40.0, (LIF, Kinetics("exponential", 5.0, 3.0), None), ("iaf_psc_exp", {**P, **BOTH}, None)),
    "alpha": (10.0, (LIF, Kinetics("alpha", 5.0, 3.0), None), ("iaf_psc_alpha", {**P, **BOTH}, None)),
    "short-term": (6.0, (LIF, Kinetics(), ShortTerm(0.5, 200.0, 50.0)), ("iaf_psc_delta", P, TSODYKS)),
    "izhikevich": (8.0, (Izhikevich(substeps=1), Kinetics(), None), ("izhikevich", REGULAR, None)),
}
SIZES = (200, 40, 0.1)  # neurons, inputs, connectivity


@pytest.fixture(scope="module")
def nest(tmp_path_factory):
    """NEST's spikes in each case, and in a network off the grid, from one process."""
    x = BENCHMARK.trains(1000, SIZES[1])
    cases = [(x, *BENCHMARK.network(*SIZES, scale), *other) for scale, _, other in CASES.values()]
    wild = (x, *BENCHMARK.network(*SIZES, 4.0, grid=False), "iaf_psc_delta", P, None)
    found = BENCHMARK.in_nest(tmp_path_factory.mktemp("nest"), *cases, wild)
    return {name: spikes for name, (spikes, _) in zip((*CASES, "wild"), found, strict=True)}


@pytest.mark.parametrize("kind", CASES)
def test_every_spike_of_a_second_is_that_of_nest(kind, nest):
    scale, ours, _ = CASES[kind]
    x, network = BENCHMARK.trains(1000, SIZES[1]), BENCHMARK.network(*SIZES, scale)
    spikes = reservoir(x, *network, *ours, dtype=torch.float64)[0].spikes
    assert BENCHMARK.equal((spikes.rows().numpy(), spikes.index.numpy()), nest[kind])
    assert spikes.nnz > 500 and network[0].weight.dtype == torch.float32


def test_rates_and_intervals_agree_where_chaos_parts_the_spikes(nest):
    """In single precision and off the grid: other roundings, and soon other spikes, but the same activity."""
    x, network = BENCHMARK.trains(1000, SIZES[1]), BENCHMARK.network(*SIZES, 4.0, grid=False)
    ours, theirs = BENCHMARK.ours(x, *network, torch.float32), nest["wild"]
    (rate, cv), (other, their_cv) = (BENCHMARK.statistics_of(s, SIZES[0], 1000) for s in (ours, theirs))
    assert rate == pytest.approx(other, rel=0.02) and cv == pytest.approx(their_cv, abs=0.03) and rate > 5


def test_the_comparison_sees_a_single_wrong_number(nest):
    x, network = BENCHMARK.trains(1000, SIZES[1]), BENCHMARK.network(*SIZES, CASES["delta"][0])
    spikes = reservoir(x, *network, IntegrateFire(20.0, 15.0, 0.0, 0.0, 3), dtype=torch.float64)[0].spikes
    assert not BENCHMARK.equal((spikes.rows().numpy(), spikes.index.numpy()), nest["delta"])
