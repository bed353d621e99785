"""The window of STDP, and synapses that compete under it: some grow strong, the others fade (Song et al. 2000).

    python examples/stdp.py [--out FOLDER]

A neuron hears 1,000 excitatory synapses that learn and 200 inhibitory ones that don't, all with random spikes at 10 Hz.
Causal pairs strengthen what helps it to fire, the others weaken it, and strengths end at the two bounds. Learning is
four times as fast as in the paper. Prints rate and strengths over time; stdp.png shows the window and the strengths.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from spiking import Events
from spiking.kernels import SparseWeight
from spiking.kernels.reservoir import IntegrateFire, Synapses
from spiking.kernels.stdp import PlasticNetwork, stdp
from spiking.plasticity.hebbian import STDP

E, I, RATE, TOP = 1000, 200, 0.01, 0.3  # synapses of either kind, spikes in a step of 1 ms, mV of the strongest one
LAGS = [*range(-60, 0), *range(1, 61)]


def window(rule: STDP) -> torch.Tensor:
    """The change of a synapse by one pair of spikes for each time between them."""
    step = torch.arange(200)[:, None, None]
    trains = [Events.from_dense(step == t, dt=1.0) for t in (torch.full((len(LAGS),), 100), 99 + torch.tensor(LAGS))]
    half = SparseWeight.from_dense(torch.eye(len(LAGS), dtype=torch.float64) / 2)
    return rule.learn(*trains, half, delay=1).values - 0.5  # the second spikes come to the synapses a step later


def network(rule: STDP) -> PlasticNetwork:
    """1,000 neurons that repeat their inputs, and one that all of them reach."""
    inputs, fed = torch.zeros(E + I, E + 1), torch.zeros(E + 1, E + 1)
    inputs[:E, :E] = 2 * torch.eye(E)
    inputs[E:, E], fed[:E, E] = -TOP / 2, torch.linspace(0.001, TOP, E)
    last = torch.arange(E + 1) == E
    threshold, reset = torch.where(last, 20.0, 1.0), torch.where(last, 14.0, 0.0)  # mV above rest
    plastic = rule.plastic(Synapses.of(SparseWeight.from_dense(fed), 1), unit=TOP)
    heard, neuron = Synapses.of(SparseWeight.from_dense(inputs), 0), IntegrateFire(20.0, threshold, reset)
    return PlasticNetwork(heard, plastic, neuron)


def main(parts: int = 60, steps: int = 5000) -> float:
    """Learn, draw, and return the share of strengths in the outer fifths at either end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    out = parser.parse_args().out
    rule, state, g = STDP(0.02, 0.021, w_max=1.0), None, torch.Generator().manual_seed(0)
    given = network(rule)
    for part in range(parts):
        x = Events.from_dense(torch.rand(steps, 1, E + I, generator=g) < RATE, dt=1.0)
        record, state = stdp(x, given, rule.numbers, state=state)
        share = state.weight / TOP
        if part % 10 == 0 or part == parts - 1:
            fired = int((record.spikes.index == E).sum()) / steps * 1e3
            print(f"{(part + 1) * steps / 1e3:5.0f} s: {fired:5.1f} Hz, mean strength {share.mean():.3f} of the bound")
    outer = float(((share < 0.2) | (share > 0.8)).double().mean())
    print(f"{100 * outer:.0f} % of the strengths lie in the outer fifths, 40 % did before")
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    axes[0].plot(LAGS, 100 * window(rule), ".-", color="#2166ac")
    axes[0].set(xlabel="from pre- to postsynaptic spike (ms)", ylabel="change, % of the bound")
    axes[1].hist([torch.linspace(0, 1, E), share], bins=20, color=["#bbbbbb", "#b2182b"], label=["before", "after"])
    axes[1].set(xlabel="strength, share of the bound", ylabel="synapses")
    axes[1].legend()
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "stdp.png", dpi=150)
    return outer


if __name__ == "__main__":
    main()
