"""One run on a task: fit with Lightning, take the epoch that validation chose, measure the test sequences once.

The weights of the chosen epoch come from its checkpoint on disk, a copy of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from spiking import plots
from spiking.training.callbacks import History
from spiking.training.fit import Outcome, fit, prepare
from spiking.training.report import write_metrics
from spiking.training.tasks.data import TaskData
from spiking.training.tasks.module import TaskModel


def run(
    model: TaskModel, data: TaskData, trainer: Mapping[str, Any], folder: Path, resume: bool = False
) -> Outcome:
    """Train, measure and report.

    Arguments:
        model: its network built, or not yet.
        data: its sequences.
        trainer: arguments of Lightning's Trainer.
        folder: the run folder, there and writable.
        resume: go on from its last checkpoint, if it has one.

    Raises:
        ValueError: as `spiking.training.fit.check_trainer`.
        DataError: if that checkpoint can't be read, or doesn't fit the network or the task.
    """
    prepare(model, data, trainer)
    assert model.network is not None
    before = time_constants(model.network)  # the same after a resumption: the seed draws them
    return fit(
        model, data, trainer, folder, resume, compile=lambda _: _compile(model, data),
        report=lambda history, interrupted: _report(model, data, history, folder, interrupted, before),
    )


def _report(
    model: TaskModel, data: TaskData, history: History, folder: Path, interrupted: bool, before: dict[str, Tensor]
) -> dict[str, float]:
    assert model.network is not None
    rows = history.rows
    metrics: dict[str, float] = {"epochs": len(rows), "seconds": round(history.seconds, 3)}
    metrics["parameters"] = sum(p.numel() for p in model.network.parameters() if p.requires_grad)
    if rows:
        scored = [row for row in rows if "valid_loss" in row]
        chosen = min(scored, key=lambda row: row["valid_loss"]) if scored else {}
        metrics |= {{"epoch": "best_epoch"}.get(name, name): chosen[name] for name in chosen if name != "loss"}
        if interrupted:  # whoever stopped a run may go on with it: the test sequences stay unseen
            metrics["interrupted"] = 1
        else:
            metrics |= evaluate(model, data, folder)
        after = time_constants(model.network)
        if any(not torch.equal(before[name], after[name]) for name in before):  # by default none trains
            plots.time_constants(before, after).savefig(folder / "time_constants.png")
    write_metrics(folder / "metrics.json", metrics)
    plots.loss_curve(rows).savefig(folder / "learning_curve.png")
    return metrics


@torch.no_grad()
def evaluate(model: TaskModel, data: TaskData, folder: Path) -> dict[str, float]:
    """Measure the test sequences, and draw what was found.

    Arguments:
        model, data: the network built, the task set up.
        folder: where pictures go.

    Returns:
        figures named test_...
    """
    ask = model.objective
    assert ask is not None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()
    answers, truths = [], []
    loss = 0.0
    for events, target in data.test_loader():
        events, target = events.to(device), target.to(device)
        out = model(events)
        loss += float(ask.loss(out, target, events.lengths)) * events.shape[1]
        answers.append(ask.answer(out, events.lengths).cpu())
        truths.append(ask.truth(target).cpu())
    answer, truth = torch.cat(answers), torch.cat(truths)
    ask.draw(folder, answer, truth)
    found = {"loss": loss / len(truth), **ask.scores(answer, truth)}
    return {name if name.startswith("chance") else f"test_{name}": value for name, value in found.items()}


def time_constants(network: Module) -> dict[str, Tensor]:
    """By the module's name, time constants of memories in ms."""
    found = {name or "neuron": getattr(module, "tau_memory", None) for name, module in network.named_modules()}
    return {name: tau.detach().cpu().clone().flatten() for name, tau in found.items() if isinstance(tau, Tensor)}


def _compile(model: TaskModel, data: TaskData) -> None:
    """Run one sequence through a copy."""
    assert model.objective is not None
    events, target = data.train.batch([0])
    twin = copy.deepcopy(model)
    model.objective.loss(twin(events), target, events.lengths).backward()
