"""One training run: fit with Lightning, choose the best checkpoint on validation, measure the test split once.

Without validation recordings the last checkpoint is measured. Every epoch ends with `checkpoints/last.ckpt`, from which
`resume` goes on with the same bits.
"""

from __future__ import annotations

import copy
import logging
import pickle
import signal
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from spiking import plots
from spiking.datasets import DataError
from spiking.training.callbacks import History
from spiking.training.controls import controls
from spiking.training.data import EventData
from spiking.training.delays import delays
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


@dataclass
class Outcome:
    """What a run came to: its metrics, whether Ctrl-C ended it, and whether this process is the one that reports."""

    metrics: dict[str, float]
    interrupted: bool
    reports: bool = True


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
        ValueError: as `check_trainer`.
        DataError: if that checkpoint can't be read, or doesn't fit the network or the recordings.
    """
    quiet()
    check_trainer(trainer)
    data.setup()
    model.build(data)
    assert model.network is not None
    drawn = delays(model.network)  # the same after a resumption: the seed draws them
    history = History(folder)
    best, last = folder / "checkpoints" / "best.ckpt", folder / "checkpoints" / "last.ckpt"
    kept: list[Callback] = [keep(last)]
    if data.valid is not None:
        kept.insert(0, keep(best, monitor="valid_loss", mode="min"))
    own = trainer.get("callbacks") or []
    callbacks = [*(own if isinstance(own, list) else [own]), history, *kept]
    place = trainer.get("default_root_dir") or folder
    lightning = Trainer(**{**trainer, "callbacks": callbacks, "default_root_dir": place})
    _compile(model, data, layers=isinstance(lightning.accelerator, CPUAccelerator))
    going_on = resume and last.is_file()
    if going_on:
        restore(model, last, data.train.classes)  # Lightning does so again, but says less about what doesn't fit
    interrupted = start(lightning, model, data, str(last) if going_on else None)
    if not lightning.is_global_zero:
        return Outcome({}, interrupted, reports=False)
    try:
        metrics = _report(model, data, history, best if best.is_file() else last, folder, interrupted)
        if drawn:
            plots.delays(drawn, delays(model.network)).savefig(folder / "delays.png")
    finally:
        if interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    return Outcome(metrics, interrupted)


def check_trainer(trainer: Mapping[str, Any]) -> None:
    """Refuse arguments of Lightning's Trainer with which a run would do nothing, or something else than it says.

    Raises:
        ValueError: naming the argument.
    """
    for name in ("max_epochs", "max_steps", "limit_train_batches"):
        if trainer.get(name) == 0:
            raise ValueError(f"trainer.{name}: expected at least 1, got 0, which trains nothing")
    if trainer.get("fast_dev_run"):
        raise ValueError(
            "trainer.fast_dev_run: expected false, got true: it keeps no checkpoint to measure; max_epochs 1 with "
            "limit_train_batches 1 tries a run out"
        )
    if trainer.get("enable_checkpointing") is False:
        raise ValueError("trainer.enable_checkpointing: expected true, got false: a run measures its best checkpoint")
    if trainer.get("sync_batchnorm"):
        raise ValueError(
            "trainer.sync_batchnorm: expected false, got true: batch norm over time and batch takes the statistics of "
            "each process's own recordings"
        )


def keep(path: Path, **which: Any) -> ModelCheckpoint:
    """Lightning's callback that writes one checkpoint at the end of an epoch, under just this name."""
    return ModelCheckpoint(
        dirpath=path.parent, filename=path.stem, enable_version_counter=False, save_on_train_epoch_end=True, **which
    )


def _compile(model: Classifier, data: EventData, layers: bool) -> None:
    """Compile the kernels, and on a CPU run a batch through a copy: no epoch's time has the compiler's in it."""
    start = time.perf_counter()
    warm(layers=layers)
    if layers:
        events, labels = next(iter(data.train_dataloader()))
        logits, _ = copy.deepcopy(model)(events)
        torch.nn.functional.cross_entropy(logits, labels).backward()
    took = time.perf_counter() - start
    if took > 5:
        print(f"compiled the kernels in {took:.0f} s; they are kept for the next run", flush=True)


def start(trainer: Trainer, model: LightningModule, data: LightningDataModule, checkpoint: str | None) -> bool:
    """Train; True if Ctrl-C ended it (Lightning then leaves by SystemExit, with further Ctrl-C ignored)."""
    with warnings.catch_warnings():
        # Our loader needs no worker processes and tells Lightning its length itself.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*the dirpath is not empty.*|.*exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*Total length of `list` across ranks is zero.*")
        warnings.filterwarnings("ignore", message=".*you defined a `validation_step` but have no `val_dataloader`.*")
        warnings.filterwarnings("ignore", message=".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*")
        # An epoch that does not end in validation can't be the best.
        warnings.filterwarnings("ignore", message=".*could not find the monitored key.*")
        try:
            trainer.fit(model, datamodule=data, ckpt_path=checkpoint)
        except SystemExit:
            if trainer.state.status != "interrupted":
                raise
    return str(trainer.state.status) == "interrupted" or trainer.interrupted


def _report(
    model: Classifier, data: EventData, history: History, checkpoint: Path, folder: Path, interrupted: bool
) -> dict[str, float]:
    rows = history.rows
    metrics: dict[str, float] = {"epochs": len(rows), "seconds": round(history.seconds, 3)}
    if interrupted:
        metrics["interrupted"] = 1
    if rows:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        restore(model, checkpoint, data.train.classes)
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


def restore(model: Classifier, checkpoint: Path, classes: Sequence[str]) -> None:
    """Put a checkpoint's weights into a classifier whose network is built.

    Arguments:
        model: its network built.
        checkpoint: the file.
        classes: names of the classes of the recordings that it is for.

    Raises:
        DataError: if the file can't be read, or was trained on other classes or with another network.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise DataError(f"{checkpoint}: can't be read as a checkpoint ({_first_line(error)})") from error
    trained = list(state["classes"])
    if trained != list(classes):
        raise DataError(f"{checkpoint}: trained on the classes {trained}, the recordings have {list(classes)}")
    try:
        model.load_state_dict(state["state_dict"])
    except RuntimeError as error:
        detail = " ".join(str(error).split("\n", 2)[1:2]).strip()
        raise DataError(f"{checkpoint}: does not fit the network for these recordings and options: {detail}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


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
        lines.append(f"{metrics['epochs']:g} epochs in {metrics['seconds']:.0f} s")
    return "\n".join(lines)


def quiet() -> None:
    """Lightning's remarks about hardware and products are not about this run."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
