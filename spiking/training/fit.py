"""Fitting: what every training run does, whatever it learns, from the checks of its arguments to the best checkpoint.

Every epoch ends with `checkpoints/last.ckpt`, from which `resume` goes on with the same bits; where there is something
to validate on, the best epoch is `checkpoints/best.ckpt`, and its weights are those that are reported on.
"""

from __future__ import annotations

import logging
import pickle
import signal
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from spiking.datasets import DataError
from spiking.training.callbacks import History
from spiking.training.module import Classifier


@dataclass
class Outcome:
    """What a run came to: its metrics, whether Ctrl-C ended it, and whether this process is the one that reports."""

    metrics: dict[str, float]
    interrupted: bool
    reports: bool = True


def prepare(model: Classifier, data: Any, trainer: Mapping[str, Any]) -> None:
    """Check the trainer's arguments, read the data and make the network.

    Arguments:
        model: a classifier or a task's model, its network not built yet or one's own.
        data: an `EventData` or a `TaskData`.
        trainer: arguments of Lightning's Trainer.

    Raises:
        ValueError: as `check_trainer`.
    """
    quiet()
    check_trainer(trainer)
    data.setup()
    model.build(data)


def fit(
    model: Classifier, data: Any, trainer: Mapping[str, Any], folder: Path, resume: bool, *,
    compile: Callable[[bool], None], report: Callable[[History, bool], dict[str, float]],
) -> Outcome:
    """Train, and report on the best checkpoint's weights.

    Arguments:
        model, data, trainer: after `prepare`.
        folder: the run folder, there and writable.
        resume: go on from its last checkpoint, if it has one.
        compile: calls what the run will call, so that no epoch's time has the kernels' compiler in it; is told whether
            the run is on a CPU.
        report: measures and writes, with the history and whether Ctrl-C ended the run; its result are the metrics.

    Raises:
        DataError: if that checkpoint can't be read, or doesn't fit the network or the data.
    """
    history = History(folder)
    best, last = folder / "checkpoints" / "best.ckpt", folder / "checkpoints" / "last.ckpt"
    kept: list[Callback] = [keep(last)]
    if data.valid is not None:
        kept.insert(0, keep(best, monitor="valid_loss", mode="min"))
    own = trainer.get("callbacks") or []
    callbacks = [*(own if isinstance(own, list) else [own]), history, *kept]
    place = trainer.get("default_root_dir") or folder
    lightning = Trainer(**{**trainer, "callbacks": callbacks, "default_root_dir": place})
    _compile(compile, isinstance(lightning.accelerator, CPUAccelerator))
    going_on = resume and last.is_file()
    if going_on:
        restore(model, last, data.train.classes)  # Lightning does so again, but says less about what doesn't fit
    interrupted = start(lightning, model, data, str(last) if going_on else None)
    if not lightning.is_global_zero:
        return Outcome({}, interrupted, reports=False)
    try:
        if history.rows:
            restore(model, best if best.is_file() else last, data.train.classes)
        return Outcome(report(history, interrupted), interrupted)
    finally:
        if interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _compile(call: Callable[[bool], None], on_cpu: bool) -> None:
    begin = time.perf_counter()
    call(on_cpu)
    took = time.perf_counter() - begin
    if took > 5:
        print(f"compiled the kernels in {took:.0f} s; they are kept for the next run", flush=True)


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


def quiet() -> None:
    """Lightning's remarks about hardware and products are not about this run."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
