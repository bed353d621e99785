"""What a run leaves behind: `metrics.json` of flat plain numbers, and the pictures."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from spiking import plots
from spiking.datasets import EventStore
from spiking.training.data import EventData
from spiking.training.measure import Measurement
from spiking.training.module import Classifier


def write_metrics(path: Path, metrics: Mapping[str, float]) -> None:
    """A JSON file that is, at any moment, whole."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(dict(metrics), indent=2) + "\n")
    os.replace(temporary, path)


def numbers(found: Measurement, split: str) -> dict[str, float]:
    """A measurement as flat metrics, those of spikes where a layer fires at all."""
    metrics = {f"{split}_accuracy": found.accuracy, f"{split}_loss": found.loss}
    if found.rates:
        metrics["spikes_per_sample"] = found.spikes
    if found.synops is not None:
        metrics["synops_per_sample"] = found.synops
    for k, rate in enumerate(found.rates):
        metrics[f"layer{k}_rate_hz"] = float(rate.mean())
    return metrics


@torch.no_grad()
def draw(folder: Path, model: Classifier, data: EventData, store: EventStore, found: Measurement) -> None:
    """Confusion matrix, firing rates where a layer fires, and a raster: the first recording named rightly, if one was.

    Arguments:
        folder: where the PNGs go.
        model, data: of the run.
        store: the recordings that were measured.
        found: the measurement.
    """
    plots.confusion(found.labels, found.predictions, store.classes).savefig(folder / "confusion.png")
    if found.rates:
        plots.rates(found.rates).savefig(folder / "rates.png")
    chosen = int((found.labels == found.predictions).int().argmax())
    events, labels = store.batch([chosen], data.dt, data.steps, data.binary)
    model = model.cpu().eval()
    assert model.network is not None
    (membrane, spikes), _ = model.network(events, trace=True)
    layers = [layer[:, 0] for layer in spikes]
    said = int(found.predictions[chosen])
    chart = plots.raster(events, layers, membrane[:, 0], store.classes, int(labels[0]), said)
    chart.savefig(folder / "raster.png")


def combine(runs: Sequence[Mapping[str, float]], names: Sequence[str] | None = None) -> dict[str, float]:
    """Metrics of several runs as one: `seed0.test_accuracy`, ..., `test_accuracy`, `test_accuracy_ci95`.

    Arguments:
        runs: of each, its metrics.
        names: what they are called; `None` means seed0, seed1 and so on.

    The interval is the half width of Student's 95 % interval of the mean; with one seed there is none.
    """
    from scipy.stats import t

    together: dict[str, float] = {}
    shared = [name for name in runs[0] if all(name in run for run in runs)]
    for name in shared:
        values = np.array([run[name] for run in runs], dtype=float)
        together[name] = float(values.mean())
        if len(values) > 1:
            spread = float(values.std(ddof=1)) / math.sqrt(len(values))
            together[f"{name}_ci95"] = float(t.ppf(0.975, len(values) - 1)) * spread
    for own, run in zip(names or [f"seed{k}" for k in range(len(runs))], runs, strict=True):
        together |= {f"{own}.{name}": value for name, value in run.items()}
    return together


def combine_folds(runs: Sequence[Mapping[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Metrics of runs that left out one value each: `combine`, and `leave_one_out_accuracy` over all recordings."""
    sizes = np.array([run["valid_recordings"] for run in runs])
    right = np.array([run["valid_accuracy"] for run in runs]) * sizes
    return {"leave_one_out_accuracy": float(right.sum() / sizes.sum()), **combine(runs, names)}
