"""The reservoir next to NEST: equal spikes first, then time: `python benchmarks/reservoir.py`.

1,000 neurons (80 % excitatory), 10 % connectivity, delays of 1 to 8 ms, 200 inputs, 1 s at 1 ms, on one core. The
weights are multiples of 2^-10, so that sums are exact in any order, and the spikes must be those of NEST, one by one:
where they differ no time is printed and the exit status is 1. NEST's time is that of its `Run` alone; ours is that of
the whole call. Then the memory of a synapse, the same with connections that are drawn from a seed, and a case whose
weights are no such multiples, where chaos parts the two and only rates and intervals can agree.

`--saccades` instead measures the features of recordings of `mnist-saccades` (1,000 neurons, 25 recurrent targets each,
every input onto 150) on all of torch's threads, and says what 70,000 would take.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking import Events
from spiking.kernels import SparseWeight, reservoir
from spiking.kernels.reservoir import Connections, Generated, IntegrateFire, Recorder, Synapses

Spikes = tuple[np.ndarray, np.ndarray]
NEURON = IntegrateFire(tau_mem=20.0, threshold=15.0, reset=0.0, refractory=2)
PARAMS = {"tau_m": 20.0, "C_m": 20.0, "E_L": 0.0, "V_th": 15.0, "V_reset": 0.0, "V_m": 0.0, "t_ref": 2.0, "I_e": 0.0}
RATE = 0.03  # input spikes per step and channel


def network(N: int, inputs: int, share: float, scale: float = 1.0, grid: bool = True) -> tuple[Synapses, Synapses]:
    """A balanced network; `grid` puts its weights on multiples of 2^-10."""
    g = torch.Generator().manual_seed(1)

    def some(sources: int, low: float, high: float, excitatory: int, factor: float) -> SparseWeight:
        weight = low + (high - low) * torch.rand(sources, N, generator=g)
        weight[excitatory:] *= factor
        weight = (weight * scale * 1024).round() / 1024 if grid else weight * scale
        return SparseWeight.from_dense(weight * (torch.rand(sources, N, generator=g) < share))

    arriving, fed = some(inputs, 0.5, 3.0, inputs, 1.0), some(N, 0.05, 0.4, N * 4 // 5, -4.0)
    delays = [torch.randint(1, last, (w.nnz,), generator=g) for w, last in ((arriving, 4), (fed, 9))]
    return Synapses.of(arriving, delays[0]), Synapses.of(fed, delays[1])


def trains(T: int, inputs: int) -> Events:
    """Independent input spikes."""
    return Events.from_dense(torch.rand(T, 1, inputs, generator=torch.Generator().manual_seed(2)) < RATE, dt=1.0)


Case = tuple[Events, Synapses, Synapses, str, dict[str, Any], dict[str, float] | None]  # the last: tsodyks2_synapse


def in_nest(folder: Path, *cases: Case, learns: dict[str, float] | None = None) -> list[tuple[Spikes, float]]:
    """The spikes of each case, (steps, neurons), and the seconds that NEST ran; `learns` is that of a stdp_synapse."""
    files = []
    for k, (x, inputs, recurrent, model, params, tsodyks) in enumerate(cases):
        given: dict[str, Any] = {
            "N": inputs.shape[1], "inputs": inputs.shape[0], "T": len(x), "dt": x.dt, "model": model,
            "params": json.dumps(params), "step": x.rows().numpy(), "channel": x.index.numpy(),
        }  # fmt: skip
        for name, synapses in (("in", inputs), ("re", recurrent)):
            arrays = (synapses.sparse().rows(), synapses.target, synapses.weight, synapses.delay)
            named = zip(("source", "target", "weight", "delay"), arrays, strict=True)
            given.update({f"{name}_{key}": array.numpy() for key, array in named})
        if tsodyks is not None:
            given["tsodyks"] = json.dumps(tsodyks)
        if learns is not None:
            given["stdp"] = json.dumps(learns)
        files += [str(folder / f"network{k}.npz"), str(folder / f"spikes{k}.npz")]
        np.savez(files[-2], **given)
    script = Path(__file__).with_name("nest_network.py")
    subprocess.run([sys.executable, str(script), *files], check=True, capture_output=True)
    found = [np.load(name) for name in files[1::2]]
    return [((f["step"], f["neuron"]), float(f["seconds"])) for f in found]


def ours(x: Events, inputs: Connections, recurrent: Connections, dtype: torch.dtype = torch.float64) -> Spikes:
    """The spikes of the network in the same form."""
    spikes = reservoir(x, inputs, recurrent, NEURON, dtype=dtype)[0].spikes
    assert spikes is not None
    return spikes.rows().numpy(), spikes.index.numpy()


def equal(a: Spikes, b: Spikes) -> bool:
    """Whether two runs have the same spikes, and any."""
    return len(a[0]) > 0 and all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


def statistics_of(spikes: Spikes, N: int, T: int) -> tuple[float, float]:
    """Mean rate in Hz, and mean coefficient of variation of intervals over neurons with ten spikes."""
    step, neuron = spikes
    cvs = []
    for n in range(N):
        gaps = np.diff(step[neuron == n])
        if len(gaps) >= 9:
            cvs.append(gaps.std() / gaps.mean())
    return len(step) / N / T * 1e3, float(np.mean(cvs)) if cvs else float("nan")


def seconds(rounds: int, *arguments: Any) -> float:
    """Median seconds of a call."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        ours(*arguments)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def against_nest(N: int, inputs: int, T: int, rounds: int) -> int:
    """Compare, then print times and memory."""
    x, stored = trains(T, inputs), network(N, inputs, 0.1)
    loose = network(N, inputs, 0.1, grid=False)
    try:
        with tempfile.TemporaryDirectory() as folder:
            cases = [(x, *given, "iaf_psc_delta", PARAMS, None) for given in (stored, loose)]
            (wanted, nest), (wild, _) = in_nest(Path(folder), *cases)
    except subprocess.CalledProcessError as error:
        print(f"NEST did not run: {error.stderr.decode().strip().splitlines()[-1]}")
        return 1
    found = ours(x, *stored)
    if not equal(found, wanted):
        print(f"the spikes differ ({len(found[0])} and NEST's {len(wanted[0])}): no time")
        return 1
    rate, cv = statistics_of(found, N, T)
    print(f"{len(found[0])} spikes, {rate:.1f} Hz, CV {cv:.2f}: all equal to NEST's")
    drawn = tuple(
        Generated(seed, s.shape, N // 10, (low, high), excitatory, (-high * 4, -low * 4), delay)
        for seed, s, low, high, excitatory, delay in (
            (1, stored[0], 0.5, 3.0, None, (1, 3)), (2, stored[1], 0.05, 0.4, N * 4 // 5, (1, 8)),
        )
    )  # fmt: skip
    count = stored[0].word.numel() + stored[1].word.numel()
    held = sum(s.nbytes for s in stored) / count
    print(f"load average {os.getloadavg()[0]:.2f}\n\n| | ms | x NEST | bytes a synapse |\n|---|---|---|---|")
    print(f"| NEST, one thread | {nest * 1e3:.1f} | 1 | |")
    for name, given, dtype, memory in (
        ("reservoir, float64", stored, torch.float64, held), ("reservoir, float32", stored, torch.float32, held),
        ("reservoir, drawn from a seed, float32", drawn, torch.float32, 0.0),
    ):  # fmt: skip
        ours(x, *given, dtype)
        took = seconds(rounds, x, *given, dtype)
        print(f"| {name} | {took * 1e3:.1f} | {nest / took:.1f} | {memory:.1f} |")
    mine = statistics_of(ours(x, *loose, torch.float32), N, T)
    other = statistics_of(wild, N, T)
    print(f"\nfree weights, float32: {mine[0]:.2f} Hz, CV {mine[1]:.3f}; NEST {other[0]:.2f} Hz, CV {other[1]:.3f}")
    return 0


def saccades(root: Path, count: int, batch: int) -> int:
    """Seconds for the spike counts of some recordings."""
    from spiking.datasets import load

    store = load("mnist-saccades", root=root, split="test")
    g, N = torch.Generator().manual_seed(0), 1000

    def some(sources: int, share: float, scale: float, signs: Tensor) -> SparseWeight:
        weight = scale * signs * (torch.rand(sources, N, generator=g) < share)
        return SparseWeight.from_dense(weight)

    inputs = store.channels
    signs = torch.randint(0, 2, (inputs, N), generator=g) * 2.0 - 1
    dale = (torch.arange(N)[:, None] < 800) * 2.0 - 1
    arriving, fed = some(inputs, 0.15, 3.0, signs), some(N, 0.025, 1.0, dale.expand(N, N))
    given = Synapses.of(arriving, 0), Synapses.of(fed, 1)
    neuron = IntegrateFire(tau_mem=64.0, threshold=20.0, refractory=2)
    total, spent, events, spikes = 0, 0.0, 0, 0
    for first in range(0, count, batch):
        x, _ = store.batch(list(range(first, min(count, first + batch))), dt=1.0)
        reservoir(x[:1], *given, neuron)
        start = time.perf_counter()
        record, _ = reservoir(x, *given, neuron, record=Recorder(spikes=False, bins=1))
        spent += time.perf_counter() - start
        total, events, spikes = total + x.shape[1], events + x.nnz, spikes + int(record.total.sum())
    print(
        f"{total} recordings, {events / total:.0f} events and {spikes / total:.0f} spikes each "
        f"({spikes / total / N / len(x) * 1e3:.1f} Hz): {spent / total * 1e3:.2f} ms a recording on "
        f"{torch.get_num_threads()} threads, so {spent / total * 70_000:.0f} s for 70,000"
    )
    return 0


def main() -> int:
    """Print versions, then one of the two measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small network, for the tests")
    parser.add_argument("--saccades", type=Path, metavar="DIR", help="folder with MNIST's idx files")
    parser.add_argument("--recordings", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, python {platform.python_version()}, numba {version('numba')}")
    if options.saccades is not None:
        return saccades(options.saccades, options.recordings, 64)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return against_nest(*((200, 40, 200, 1) if options.quick else (1000, 200, 1000, options.rounds)))
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    raise SystemExit(main())
