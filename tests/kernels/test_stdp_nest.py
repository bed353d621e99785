"""Pairs of spikes as NEST's stdp_synapse learns them, whose delay lies in the dendrite as ours does."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
import torch

from spiking import Events
from spiking.kernels import SparseWeight
from spiking.kernels.reservoir import Kinetics
from spiking.kernels.stdp import Plastic, PlasticNetwork, stdp
from spiking.plasticity.hebbian import STDP

from .test_reservoir_nest import BENCHMARK, LIF, P

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("nest") is None, reason="NEST is not installed: pip install nest-simulator"
)

# Parrots repeat what they hear a step later; through their port 1 they only listen, so that no spike is moved.
SCRIPT = """
import json, sys, nest
nest.ResetKernel()
given, found = json.load(sys.stdin), []
for rule in given["rules"]:
    nest.ResetKernel()
    pairs = []
    for pre, post, delay in zip(given["pre"], given["post"], given["delay"]):
        neurons = nest.Create("parrot_neuron", 2)
        neurons[1].tau_minus = rule["tau_minus"]
        for times, neuron in zip((pre, post), neurons):
            source = nest.Create("spike_generator", params={"spike_times": [float(t) for t in times]})
            nest.Connect(source, neuron, syn_spec={"delay": 1.0})
        numbers = {k: v for k, v in rule.items() if k != "tau_minus"}
        nest.Connect(neurons[0], neurons[1], syn_spec={
            "synapse_model": "stdp_synapse", "weight": given["weight"], "delay": float(delay), "receptor_type": 1,
            **numbers,
        })
        pairs.append(nest.GetConnections(neurons[0], neurons[1]))
    nest.Simulate(float(given["T"]))
    found.append([pair.weight for pair in pairs])
print("weights", json.dumps(found))
"""
T, DELAYS = 600, (1, 1, 4, 7, 12)
RULES = [(0.0, 0.0), (0.0, 1.0), (0.4, 0.4), (1.0, 1.0)]


def test_pairs_are_those_of_nest():
    g = torch.Generator().manual_seed(0)
    trains = torch.rand(2, T - 50, 5, generator=g) < torch.tensor([0.02, 0.04])[:, None, None]
    pre, post = torch.zeros(T, 5, dtype=torch.bool), torch.zeros(T, 5, dtype=torch.bool)
    pre[10:-40], post[10:-40] = trains
    pre[T - 10] = True  # NEST brings a synapse up to date when its source spikes
    pre[300], post[300 - 1] = True, True  # a pair of one step where the delay is 1
    rules = [
        {"lambda": 0.02, "alpha": 1.2, "mu_plus": p, "mu_minus": m, "tau_plus": 17.0, "tau_minus": 34.0, "Wmax": 2.0}
        for p, m in RULES
    ]
    # A generator's spike reaches its parrot a step later, where ours stands.
    given = {"T": T + 20, "weight": 0.9, "delay": DELAYS, "rules": rules}
    for name, train in (("pre", pre), ("post", post)):
        given[name] = [(train[:, n].nonzero()[:, 0]).tolist() for n in range(5)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.split("weights")[-1])
    weight = SparseWeight.from_dense(torch.eye(5, dtype=torch.float64) * 0.9)
    trains = [Events.from_dense(x[:, None], dt=1.0) for x in (pre, post)]
    for (plus, minus), expected in zip(RULES, theirs, strict=True):
        rule = STDP(0.02, 0.024, 17.0, 34.0, (plus, minus), w_max=2.0)
        ours = rule.learn(*trains, weight, torch.tensor(DELAYS)).values
        torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)
        assert (ours - 0.9).abs().min() > 1e-3


def test_a_network_that_learns_has_every_spike_of_nest(tmp_path):
    """A second of 200 neurons whose excitatory synapses move by a tenth of their way and change the spikes."""
    x, (inputs, fed) = BENCHMARK.trains(1000, 40), BENCHMARK.network(200, 40, 0.1, 4.0)
    top = 3 * float(fed.weight.max())
    numbers = {"lambda": 0.01, "alpha": 1.05, "mu_plus": 0.0, "mu_minus": 1.0, "tau_plus": 20.0, "Wmax": top}
    case = (x, inputs, fed, "iaf_psc_delta", {**P, "tau_minus": 30.0}, None)
    (theirs, _), (still, _) = (
        BENCHMARK.in_nest(tmp_path, case, learns=learns)[0] for learns in (numbers, {**numbers, "lambda": 0.0})
    )
    rule = STDP(0.01, 0.0105, 20.0, 30.0, (0.0, 1.0)).numbers
    network = PlasticNetwork(inputs, Plastic(fed, 0.0, top, fed.weight > 0), LIF, Kinetics())
    record, state = stdp(x, network, rule)
    assert BENCHMARK.equal((record.spikes.rows().numpy(), record.spikes.index.numpy()), theirs)
    assert not BENCHMARK.equal(theirs, still) and record.spikes.nnz > 500
    assert ((state.weight - fed.weight).abs() > 0.01 * top).sum() > 100
