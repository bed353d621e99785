"""A liquid state machine on handwritten digits, and every metric of a liquid with its picture.

    python examples/reservoir.py [--recordings N] [--neurons N] [--out FOLDER]

Prints the accuracy of a linear readout beside that of the input's own counts, then what the metrics say, and writes
ranks.png, separation.png, branching.png, divergence.png and memory.png. `spiking reservoir nalsm --data digits --sweep
gain` draws accuracy, branching factor and ranks against gain.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from spiking import Events, plots
from spiking.datasets import load
from spiking.reservoir import LSM
from spiking.reservoir.dynamics import branching_factor, lyapunov
from spiking.reservoir.metrics import class_separation, memory_capacity
from spiking.reservoir.readouts import score
from spiking.reservoir.sweep import quality

STEPS, DELAYS = 3000, 60


def main(recordings: int = 1200, neurons: int = 1000, subset: int = 100) -> float:
    """Measure, draw, and return the accuracy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--recordings", type=int, default=recordings)
    parser.add_argument("--neurons", type=int, default=neurons)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    train, test = load("digits", split="train").select(slice(0, options.recordings)), load("digits", split="test")

    lsm = LSM.from_preset("nalsm", inputs=train.channels, neurons=options.neurons, dt=1.0, seed=0, bins=5)
    lsm.calibrate(train)
    states = lsm.features(train)
    labels = train.labels.numpy(), test.labels.numpy()
    accuracy = score("ridge", (states, labels[0]), (lsm.features(test), labels[1]))
    control = score("ridge", (train.counts(5), labels[0]), (test.counts(5), labels[1]))
    print(f"readout of {options.neurons} neurons {100 * accuracy:.1f} %, of the input {100 * control:.1f} %")

    events, _ = train.batch(range(16), dt=1.0)
    spikes, _ = lsm.simulate(events)
    found = branching_factor(spikes, lsm.network().recurrent)
    print(f"gain {lsm.gain:.2f}: {1000 * spikes.density:.1f} Hz, branching factor {found.mean:.2f}")
    plots.branching(found.neurons).savefig(options.out / "branching.png")

    both = quality(lsm, train, subset)
    effective = {"different recordings": both.kernel.effective, "variants of one": both.spread}
    values = {"different recordings": both.kernel.values, "variants of one": both.generalisation[0].values}
    plots.ranks(values, effective).savefig(options.out / "ranks.png")
    print(f"kernel quality {both.kernel.effective:.1f}, generalisation rank {both.spread:.1f} (effective ranks)")

    counts = lsm.features(train, bins=1)
    print(f"class separation {class_separation(counts, labels[0]):.2f}")
    plots.separation(counts, labels[0], train.classes).savefig(options.out / "separation.png")

    curves, own = {}, lsm.gain
    for factor in (0.5, 1.0, 1.5):
        lsm.gain = factor * own
        grown = lyapunov(lsm, events, start=30)
        curves[f"gain {lsm.gain:.2f}: {grown.exponent:.0f} / s"] = grown.curve
    plots.divergence(curves, events.dt).savefig(options.out / "divergence.png")
    print("one input spike less: " + ", ".join(curves))

    lsm.gain = own
    rng = np.random.default_rng(0)
    signal = np.repeat(rng.random(STEPS // 10), 10)
    drive = rng.random((STEPS, 1, train.channels)) < 0.01 * signal[:, None, None]
    traces = lsm.traces(Events.from_dense(torch.from_numpy(drive), dt=1.0), STEPS, tau=10.0)[0]
    memory = memory_capacity(traces, signal, DELAYS, ridge=0.1)
    plots.memory(memory.curve, 1.0).savefig(options.out / "memory.png")
    print(f"memory capacity {memory.total:.1f} steps of 1 ms, of a rate that changes every 10 ms")
    print(options.out / "memory.png")
    return accuracy


if __name__ == "__main__":
    main()
