"""History: one row an epoch, on the screen, in `metrics.csv` and in every checkpoint.

Because the checkpoint holds the rows, a run that is resumed rewrites the CSV as the uninterrupted run would have.
"""

from __future__ import annotations

import csv
import os
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

COLUMNS = ("epoch", "loss", "train_accuracy", "valid_loss", "valid_accuracy", "spikes_per_sample")


class History(pl.Callback):
    """Keeps, prints and writes what each epoch gave.

    Arguments:
        folder: where `metrics.csv` goes.

    Attributes:
        rows: one dictionary an epoch, with those of `COLUMNS` that there are.
        seconds: time spent in training and validation, over all resumptions.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self._since = 0.0
        self._shown = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the clock."""
        self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """On a terminal, how far the epoch is."""
        if trainer.is_global_zero and sys.stdout.isatty():
            done, total = batch_idx + 1, trainer.num_training_batches
            self._line(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  batch {done}/{total}", end="\r")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the row, write the file, print the line."""
        took = time.perf_counter() - self._since
        self.seconds += took
        measured = {name: float(value) for name, value in trainer.callback_metrics.items() if name in COLUMNS}
        row: dict[str, float] = {"epoch": trainer.current_epoch + 1, **measured}
        self.rows.append(row)
        if not trainer.is_global_zero:
            return
        write_rows(self.folder / "metrics.csv", self.rows)
        named = "train_accuracy" in row  # where nothing is named, the losses are all there is
        parts = [f"epoch {row['epoch']:>3}/{trainer.max_epochs}", f"loss {row['loss']:.{3 if named else 4}f}"]
        if not named and "valid_loss" in row:
            parts.append(f"valid {row['valid_loss']:.4f}")
        for name, column in (("train", "train_accuracy"), ("valid", "valid_accuracy")):
            if column in row:
                parts.append(f"{name} {100 * row[column]:5.1f} %")
        self._line("  ".join([*parts, f"{took:.1f} s"]))

    def state_dict(self) -> dict[str, Any]:
        """Rows and seconds, for the checkpoint."""
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint's."""
        self.rows, self.seconds = list(state_dict["rows"]), float(state_dict["seconds"])

    def _line(self, text: str, end: str = "\n") -> None:
        print(text.ljust(self._shown if end == "\n" else 0), end=end, flush=True)
        self._shown = len(text) if end == "\r" else 0


def write_rows(path: Path, rows: list[dict[str, float]]) -> None:
    """A CSV that is, at any moment, whole."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        present = [name for name in COLUMNS if any(name in row for row in rows)]
        writer = csv.DictWriter(file, present)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)
