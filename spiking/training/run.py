"""One training run: fit with Lightning, choose the best checkpoint on validation, measure the test split once.

Without validation recordings the last checkpoint is measured.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from spiking import plots
from spiking.training.callbacks import History
from spiking.training.controls import controls
from spiking.training.data import EventData
from spiking.training.delays import delays
from spiking.training.fit import Outcome, fit, prepare
from spiking.training.measure import measure
from spiking.training.module import Classifier
from spiking.training.report import draw, numbers, write_metrics
from spiking.training.warm import warm

FIGURES = {
    "test_mse": ("mean squared error, test", 4), "chance_mse": ("of always saying the mean", 4),
    "test_auc": ("spikes, area under the ROC", 4), "test_average_precision": ("spikes, average precision", 3),
    "test_tp_at_1fp": ("true positives at 1 % false", 3), "test_soma_rmse_mv": ("soma, error in mV", 3),
    "test_soma_explained_variance": ("soma, explained variance", 3), "parameters": ("parameters", 0),
}
CONTROLS = {
    "control_counts_accuracy": "logistic regression on counts",
    "control_bins_accuracy": "ridge regression on five time bins",
}


def run(
    model: Classifier, data: EventData, trainer: Mapping[str, Any], folder: Path, resume: bool = False
) -> Outcome:
    """Train, measure and report.

    Arguments:
        model: a classifier, its network not built yet or one's own.
        data: its recordings.
        trainer: arguments of Lightning's Trainer.
        folder: the run folder, there and writable.
        resume: go on from its last checkpoint, if it has one.

    Raises:
        ValueError: as `spiking.training.fit.check_trainer`.
        DataError: if that checkpoint can't be read, or doesn't fit the network or the recordings.
    """
    prepare(model, data, trainer)
    assert model.network is not None
    drawn = delays(model.network)  # the same after a resumption: the seed draws them

    def report(history: History, interrupted: bool) -> dict[str, float]:
        metrics = _report(model, data, history, folder, interrupted)
        if drawn:
            assert model.network is not None
            plots.delays(drawn, delays(model.network)).savefig(folder / "delays.png")
        return metrics

    return fit(
        model, data, trainer, folder, resume, compile=lambda on_cpu: _compile(model, data, on_cpu), report=report
    )


def _compile(model: Classifier, data: EventData, layers: bool) -> None:
    """Warm the kernels, and on a CPU run a batch through a copy."""
    warm(layers=layers)
    if layers:
        events, labels = next(iter(data.train_dataloader()))
        logits, _ = copy.deepcopy(model)(events)
        torch.nn.functional.cross_entropy(logits, labels).backward()


def _report(
    model: Classifier, data: EventData, history: History, folder: Path, interrupted: bool
) -> dict[str, float]:
    rows = history.rows
    metrics: dict[str, float] = {"epochs": len(rows), "seconds": round(history.seconds, 3)}
    if interrupted:
        metrics["interrupted"] = 1
    if rows:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        assert model.network is not None
        metrics["parameters"] = sum(p.numel() for p in model.network.parameters())
        scored = [row for row in rows if "valid_loss" in row]  # not every epoch needs to end in validation
        if scored:
            chosen = min(scored, key=lambda row: row["valid_loss"])
            metrics |= {"valid_accuracy": chosen["valid_accuracy"], "best_epoch": chosen["epoch"]}
        # Whoever stopped a run may go on with it, and folds are there to choose by: the test recordings stay unseen.
        unseen = interrupted or data.fold is not None
        split, store = ("valid", data.valid or data.train) if unseen else ("test", data.test)
        found = measure(model, data.whole_loader(store), device)
        metrics |= numbers(found, split)
        if data.fold is not None:
            metrics["valid_recordings"] = len(store)
        if not unseen:
            assert data.whole is not None
            metrics |= controls(data.whole, data.test)
        draw(folder, model, data, store, found)
    write_metrics(folder / "metrics.json", metrics)
    levels = {name: metrics[key] for key, name in {"test_accuracy": "test", **CONTROLS}.items() if key in metrics}
    plots.learning_curve(rows, levels).savefig(folder / "learning_curve.png")
    return metrics


def summary(metrics: Mapping[str, float]) -> str:
    """The lines that a run ends with: the network's accuracy beside the linear controls', or a task's figures."""
    lines: list[str] = []
    for key, (name, digits) in FIGURES.items():
        if key in metrics and (key != "parameters" or lines):
            interval = f" +- {metrics[f'{key}_ci95']:.{digits}f}" if metrics.get(f"{key}_ci95") else ""
            lines.append(f"{name:<36}{metrics[key]:,.{digits}f}{interval}")
    named = {"test_accuracy": "network, test", "leave_one_out_accuracy": "left out one by one", **CONTROLS}
    for key, name in named.items():
        if key in metrics:
            interval = f" +- {100 * metrics[f'{key}_ci95']:.1f}" if f"{key}_ci95" in metrics else ""
            lines.append(f"{name:<36}{100 * metrics[key]:5.1f}{interval} %")
    if "spikes_per_sample" in metrics:
        synops = f", {metrics['synops_per_sample']:,.0f} synaptic operations" if "synops_per_sample" in metrics else ""
        lines.append(f"{metrics['spikes_per_sample']:,.0f} spikes{synops} per recording")
    if "epochs" in metrics:
        lines.append(f"{metrics['epochs']:g} epoch{'s' * (metrics['epochs'] != 1)} in {metrics['seconds']:.0f} s")
    return "\n".join(lines)
