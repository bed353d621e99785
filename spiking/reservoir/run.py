"""One measurement of a liquid: features, a readout, the controls beside it, pictures.

Controls see the same recordings without a liquid: logistic regression on counts, ridge regression on five equal parts
of time (spiking.training.controls), and the same readout on input counts in the same parts as the liquid's. What
the liquid adds is what it reads above all three.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from spiking import plots
from spiking.datasets import EventStore
from spiking.datasets.progress import progress_bar
from spiking.reservoir.calibrate import activity
from spiking.reservoir.counts import bin_counts
from spiking.reservoir.dynamics import branching_factor
from spiking.reservoir.ensemble import Ensemble
from spiking.reservoir.lsm import BATCH
from spiking.reservoir.metrics import class_separation
from spiking.reservoir.readouts import predictions
from spiking.training.controls import controls

Array = np.ndarray[Any, Any]
Metrics = dict[str, float]
CELLS = 20_000_000  # numbers of a table of input counts beyond which its control is left out
NAMES = {
    "test_accuracy": "readout of the liquid",
    "control_counts_accuracy": "control: logistic regression on counts",
    "control_bins_accuracy": "control: ridge regression on five time bins",
    "control_same_accuracy": "control: the same readout on input counts in the same parts",
}


def run(
    liquid: Ensemble, train: EventStore, test: EventStore, readout: str, folder: Path, metrics: Metrics,
    say: Callable[[str], None], seed: int = 0,
) -> None:  # fmt: skip
    """Measure once and leave pictures.

    Arguments:
        liquid: calibrated already.
        train, test: recordings.
        readout: as `readouts.readout`.
        folder: for the liquid, the features and the pictures.
        metrics: receives each number as soon as it is known, so that an interrupted run keeps what it has.
        say: receives a line for each stage.
        seed: of the readout.
    """
    head = liquid.members[0]
    liquid.save(folder / "liquid.json")
    _draw_network(liquid, folder)
    metrics |= {
        "neurons": sum(lsm.size for lsm in liquid.members), "train_recordings": len(train),
        "test_recordings": len(test), "gain": head.gain, "input_gain": head.input_gain,
    }  # fmt: skip
    found = activity(head, head.look(train))
    metrics["rate_hz"] = found.rate
    if math.isfinite(found.branching):  # metrics are numbers: none where no neuron spikes, or activity explodes
        metrics["branching"] = found.branching
    if found.exploded:
        metrics["exploded"] = 1
        say(found.note)
    y, truth = train.labels.numpy(), test.labels.numpy()
    say(f"gain {head.gain:.3g}, input gain {head.input_gain:.3g}: {found.rate:.1f} Hz, branching {found.branching:.2f}")
    before = time.perf_counter()
    counts = liquid.features(train, progress=True), liquid.features(test, progress=True)
    metrics["seconds_features"] = time.perf_counter() - before
    say(f"features of {len(train) + len(test)} recordings in {metrics['seconds_features']:.1f} s")
    metrics["separation"] = class_separation(counts[0], y)
    guess = predictions(readout, (counts[0], y), counts[1], seed)
    metrics["test_accuracy"] = float((guess == truth).mean())
    say(f"test accuracy {100 * metrics['test_accuracy']:.1f} %")
    _draw_activity(liquid, train, counts[0], folder)
    plots.confusion(truth, guess, test.classes).savefig(folder / "confusion.png")
    metrics |= controls(train, test)
    if len(train) * head.bins * train.channels <= CELLS:
        table = [input_counts(part, head.bins, head.parts, head.step, head.steps) for part in (train, test)]
        metrics["control_same_accuracy"] = float((predictions(readout, (table[0], y), table[1], seed) == truth).mean())


def input_counts(store: EventStore, bins: int, parts: str, dt: float, steps: int | None) -> Array:
    """The counts that a liquid of these parts would give if its neurons were the channels; (n, bins * N)."""
    starts = progress_bar(range(0, len(store), BATCH), "counting events", True)
    rows = [bin_counts(store.batch(slice(k, k + BATCH), dt=dt, steps=steps)[0], bins, parts) for k in starts]
    return np.concatenate(rows)


def table(metrics: Metrics) -> str:
    """The accuracies, one a line."""
    lines = []
    for key, name in NAMES.items():
        if key in metrics:
            half = metrics.get(key + "_ci95", math.nan)
            spread = f" +- {100 * half:.1f}" if math.isfinite(half) else ""
            lines.append(f"{name:<62}{100 * metrics[key]:5.1f}{spread} %")
    return "\n".join(lines)


def _draw_network(liquid: Ensemble, folder: Path) -> None:
    lsm = liquid.members[0]
    network = lsm.network()
    weight = network.recurrent.values * lsm.gain
    chart = plots.degrees(network.recurrent.indptr, network.recurrent.index, weight, network.inhibitory)
    chart.savefig(folder / "degrees.png")


def _draw_activity(liquid: Ensemble, store: EventStore, counts: Array, folder: Path) -> None:
    lsm = liquid.members[0]
    events = store.batch([0], dt=lsm.step, steps=lsm.steps)[0]
    spikes, _ = lsm.simulate(events)
    plots.raster(events, [spikes.to_dense()[:, 0]]).savefig(folder / "raster.png")
    plots.branching(branching_factor(spikes, lsm.network().recurrent).neurons).savefig(folder / "branching.png")
    plots.separation(counts[:, : lsm.size * lsm.bins], store.labels, store.classes).savefig(folder / "separation.png")
