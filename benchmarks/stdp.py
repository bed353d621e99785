"""What plasticity inside a network costs, and what it does to reading digits: `python benchmarks/stdp.py [--digits]`.

The network is that of benchmarks/reservoir.py: 1,000 neurons, 10 % connectivity, delays of 1 to 8 ms, 200 inputs, 1 s
at 1 ms, float64, on one core; its 80,000 excitatory synapses learn. Amplitudes are so small that no spike moves, and
where one does no time is printed and the exit status is 1: both sides do the same work but for the learning.

`--digits` lets the liquid of `spiking reservoir nalsm --data digits` learn from the training recordings, without
labels, before its readout is trained. The rule is chosen on writers held out of the training split, twice a quarter of
its blocks of writers; the test split is read once, by the plain liquid and the chosen one, with three seeds.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spiking.datasets import EventStore, load
from spiking.kernels.reservoir import Explosion, reservoir
from spiking.kernels.stdp import Homeostasis, Plastic, PlasticNetwork, Rule, stdp
from spiking.plasticity.hebbian import BCM, STDP, IntrinsicPlasticity
from spiking.reservoir import LSM
from spiking.reservoir.readouts import score

TINY = 1e-9
RULES = {
    "pairs": Rule(TINY, TINY),
    "pairs, soft bounds": Rule(TINY, TINY, mu_plus=0.4, mu_minus=0.4),
    "triplets": Rule(TINY, TINY, a3_plus=TINY, a3_minus=TINY),
    "pairs with reward": Rule(TINY, TINY, tau_eligibility=500.0, tau_reward=100.0),
}
CANDIDATES: dict[str, list[Any]] = {
    "plain": [],
    "STDP 0.0001": [STDP(0.0001, 0.000105)],
    "STDP 0.001": [STDP(0.001, 0.00105)],
    "STDP 0.001, soft bounds": [STDP(0.001, 0.00105, mu=0.4)],
    "BCM 0.0003": [BCM(0.0003)],
    "IP 10 Hz": [IntrinsicPlasticity(10.0, 0.002, (0.5, 2.0))],
    "STDP 0.0001 and IP 10 Hz": [STDP(0.0001, 0.000105), IntrinsicPlasticity(10.0, 0.002, (0.5, 2.0))],
}


def reference_network() -> Any:
    """Benchmark `reservoir`, whose network this is."""
    path = Path(__file__).with_name("reservoir.py")
    spec = importlib.util.spec_from_file_location("benchmark_reservoir", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_nest(module: Any, x: Any, arriving: Any, fed: Any, top: float) -> tuple[Any, float]:
    """Spikes and seconds of NEST with the first of the rules."""
    numbers = {"lambda": TINY, "alpha": 1.0, "mu_plus": 0.0, "mu_minus": 0.0, "tau_plus": 20.0, "Wmax": top}
    case = (x, arriving, fed, "iaf_psc_delta", {**module.PARAMS, "tau_minus": 20.0}, None)
    with tempfile.TemporaryDirectory() as folder:
        found: tuple[Any, float] = module.in_nest(Path(folder), case, learns=numbers)[0]
    return found


def cost(N: int, inputs: int, T: int, rounds: int, nest: bool = False) -> int:
    """Compare spikes, then print times."""
    module = reference_network()
    neuron, (arriving, fed), x = module.NEURON, module.network(N, inputs, 0.1), module.trains(T, inputs)
    top = float(fed.weight.max()) * 3
    network = PlasticNetwork(arriving, Plastic(fed, 0.0, top, fed.weight > 0), neuron)
    reward = torch.rand(T, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def alone() -> Any:
        return reservoir(x, arriving, fed, neuron, dtype=torch.float64)[0]

    def learning(rule: Rule | None, thresholds: Homeostasis | None = None) -> Callable[[], Any]:
        waits = rule is not None and rule.tau_eligibility is not None
        return lambda: stdp(x, network, rule, thresholds, reward=reward if waits else None)[0]

    cases: dict[str, Callable[[], Any]] = {"`reservoir`": alone, "`stdp` without a rule": learning(None)}
    cases |= {name: learning(rule) for name, rule in RULES.items()}
    cases["thresholds"] = learning(None, Homeostasis(10.0, TINY, 1.0))
    wanted = alone().spikes
    for name, run in cases.items():
        if not (torch.equal(run().spikes.index, wanted.index) and wanted.nnz):
            print(f"{name}: the spikes differ, no time")
            return 1
    theirs = in_nest(module, x, arriving, fed, top) if nest else None
    if theirs is not None and not module.equal((wanted.rows().numpy(), wanted.index.numpy()), theirs[0]):
        print("NEST: the spikes differ, no time")
        return 1
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):  # in turn, so that what else the machine does meets all of them
        for name, run in cases.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    base = statistics.median(times["`reservoir`"])
    print(f"{wanted.nnz} spikes, {len(network.recurrent.learning)} synapses that learn, load {os.getloadavg()[0]:.2f}")
    print("\n| | ms | x `reservoir` |\n|---|---|---|")
    for name, each in times.items():
        took = statistics.median(each)
        print(f"| {name} | {took * 1e3:.1f} | {took / base:.1f} |")
    if theirs is not None:
        print(f"| pairs, NEST's stdp_synapse | {theirs[1] * 1e3:.1f} | {theirs[1] / base:.1f} |")
    return 0


def accuracies(names: list[str], train: EventStore, test: EventStore, seed: int, neurons: int) -> dict[str, float]:
    """Of one liquid after it has learned by each candidate's rules."""
    plain, found = LSM("nalsm", neurons=neurons, bins=5, seed=1000 * seed).calibrate(train), dict[str, float]()
    for name in names:
        lsm = LSM(**plain.get_params())
        try:
            if CANDIDATES[name]:
                lsm.adapt(train, CANDIDATES[name])
            counts = lsm.features(train), lsm.features(test)
        except Explosion as error:
            print(f"{name}: {error}", flush=True)
            found[name] = 0.0
            continue
        found[name] = score("ridge", (counts[0], train.labels.numpy()), (counts[1], test.labels.numpy()))
        spikes = f"{counts[1].sum(1).mean() / neurons:.2f} spikes a neuron and recording"
        learned = f", {lsm.history_[-1]}" if lsm.learned else ""
        print(f"seed {seed}, {name}: {100 * found[name]:.2f} %, {spikes}{learned}", flush=True)
    return found


def digits(neurons: int, names: list[str], every: int) -> int:
    """Choose on held-out writers, then read the test split once."""
    train, test = (load("digits", split=split) for split in ("train", "test"))
    train, test = (part.select(slice(None, None, every)) for part in (train, test))
    writers, inner = np.unique(train.metadata["writer"]), list[dict[str, float]]()
    for fold in range(2):
        held = np.isin(train.metadata["writer"], writers[fold::4])
        parts = train.select(np.flatnonzero(~held)), train.select(np.flatnonzero(held))
        inner.append(accuracies(names, *parts, 0, neurons))
    means = {name: 100 * statistics.mean(found[name] for found in inner) for name in names}
    print("\n| | held-out writers, % |\n|---|---|")
    for name, mean in means.items():
        print(f"| {name} | {mean:.2f} |")
    best = max((name for name in names if name != "plain"), key=lambda name: means[name])
    print(f"\nchosen: {best}")
    outer = [accuracies(["plain", best], train, test, seed, neurons) for seed in range(3)]
    for name in ("plain", best):
        each = [100 * found[name] for found in outer]
        print(f"test, {name}: {statistics.mean(each):.2f} % ({', '.join(f'{v:.2f}' for v in each)})")
    return 0


def main() -> int:
    """Print one of the two measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small network, for the tests")
    parser.add_argument("--digits", action="store_true", help="accuracy on digits instead of time")
    parser.add_argument("--nest", action="store_true", help="the same in NEST, whose spikes have to be equal too")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if options.digits:
            return digits(*((60, ["plain", "STDP 0.001"], 15) if options.quick else (1000, [*CANDIDATES], 1)))
        return cost(*((200, 200, 200, 1) if options.quick else (1000, 200, 1000, options.rounds, options.nest)))
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    raise SystemExit(main())
