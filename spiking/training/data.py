"""EventData: a data set's training, validation and test recordings, as Lightning wants them."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import numpy as np

from spiking.datasets import Augment, EventStore, Loader, load
from spiking.datasets.catalogue import splits
from spiking.datasets.errors import DataError
from spiking.datasets.sources.adding import SECOND

SHARE = 0.15
PAIRS, WHOLE = ("shd-adding", "spoken-adding"), 2 * SECOND / 1000  # one digit after the other, ms


class EventData(pl.LightningDataModule):
    """Recordings for training, held-out validation and test.

    Arguments:
        name: a data set of `spiking datasets list`; "folder" reads the folder `root`.
        root: where the data set's own files lie.
        batch_size: recordings per batch and process.
        dt: length of a step, ms.
        steps: steps per batch; `None` means as many as each batch needs.
        binary: several events in one step and channel count once.
        pool: neighbouring channels, or pixels along each side of a square, that become one channel.
        valid: share (below 1) or number of what is held out of the training recordings; 0 holds nothing out. `None`
            takes the data set's own validation recordings, and where it has none a share of 0.15.
        valid_by: column whose values are not divided, such as the writer; `None` holds out recordings, every
            class in the same share.
        fold: hold out one value of `valid_by` alone, the fold-th in their order, whatever `valid` says.
        augment: random changes to training recordings.
        seed: of the order and of the augmentation.
        skip_corrupt: leave out recordings that can't be read, with a warning that names them.

    Raises:
        ValueError: if `name` is "folder" and there is no `root`, `valid` is neither a share nor a whole number, or
            there is a `fold` without `valid_by` or beyond its values, or `steps` end before two digits to be added do.
    """

    def __init__(
        self,
        name: str = "digits",
        root: str | None = None,
        batch_size: int = 64,
        dt: float = 10.0,
        steps: int | None = None,
        binary: bool = False,
        pool: int = 1,
        valid: float | None = None,
        valid_by: str | None = None,
        fold: int | None = None,
        augment: Augment | None = None,
        seed: int = 0,
        skip_corrupt: bool = False,
    ) -> None:
        super().__init__()
        if name == "folder" and root is None:
            raise ValueError("root: folder needs the folder of your recordings, one sub-folder a class, got None")
        if valid is not None and not (0 <= valid < 1 or (valid >= 1 and float(valid).is_integer())):
            raise ValueError(f"valid: expected a share from 0 to below 1, or a whole number, got {valid}")
        if fold is not None and valid_by is None:
            raise ValueError("fold: needs valid_by, the column whose values are held out one by one")
        if name in PAIRS and steps is not None and steps * dt < WHOLE:
            raise ValueError(
                f"data.steps: {name} needs at least {WHOLE:g} ms, its second digit begins at {WHOLE / 2:g} ms, got "
                f"{steps} steps of {dt:g} ms"
            )
        self.source = f"folder:{root}" if name == "folder" else name
        self.root = None if name == "folder" else root
        self.batch_size, self.dt, self.steps, self.binary, self.pool = batch_size, dt, steps, binary, pool
        self.valid_share, self.valid_by, self.fold = valid, valid_by, fold
        self.augment, self.seed, self.skip_corrupt = augment, seed, skip_corrupt
        self.whole: EventStore | None = None

    def setup(self, stage: str | None = None) -> None:
        """Load and split, once."""
        if self.whole is not None:
            return
        self.whole = self._load("train")
        if len(self.whole.classes) < 2:
            raise DataError(f"{self.source}: expected recordings of at least two classes, got {self.whole.classes}")
        self.test = self._load("test")
        self.train, self.valid = self._divide(self.whole)

    def _load(self, split: str) -> EventStore:
        store = load(self.source, split=split, root=self.root, skip_corrupt=self.skip_corrupt)
        return store if self.pool == 1 else store.pooled(self.pool)

    def _divide(self, whole: EventStore) -> tuple[EventStore, EventStore | None]:
        """(training, validation) recordings, the same for every seed, so that runs differ in training alone."""
        if self.fold is not None:
            values = self.values(whole)
            if not 0 <= self.fold < len(values):
                raise ValueError(f"fold: expected 0 to {len(values) - 1} for column {self.valid_by!r}, got {self.fold}")
            return whole.split(by=self.valid_by, hold_out=[values[self.fold]])
        if self.valid_share is None and "valid" in splits(self.source, self.root):
            return whole, self._load("valid")
        share = SHARE if self.valid_share is None else self.valid_share
        if not share:
            return whole, None
        return whole.split(by=self.valid_by, hold_out=int(share) if share >= 1 else share, seed=0)

    def values(self, whole: EventStore | None = None) -> list[Any]:
        """The values of the column `valid_by` among the training recordings, in order; `fold` counts them.

        Raises:
            ValueError: if there is no such column, or fewer than two values.
        """
        whole = whole or self._load("train")
        if self.valid_by not in whole.metadata:
            raise ValueError(f"valid_by: expected one of the columns {sorted(whole.metadata)}, got {self.valid_by!r}")
        values: list[Any] = np.unique(whole.metadata[self.valid_by]).tolist()
        if len(values) < 2:
            raise ValueError(f"valid_by: column {self.valid_by!r} has the one value {values}; nothing would be left")
        return values

    @property
    def rate(self) -> float:
        """Events per channel and second of the training recordings."""
        return self.train.rate

    def train_dataloader(self) -> Loader:
        """Augmented, in a new order each epoch."""
        return self.train.loader(
            self.batch_size, self.dt, self.steps, shuffle=True, seed=self.seed, augment=self.augment,
            binary=self.binary,
        )  # fmt: skip

    def val_dataloader(self) -> Loader | list[Loader]:
        """Held-out training recordings."""
        if self.valid is None:
            return []
        return self.valid.loader(self.batch_size, self.dt, self.steps, binary=self.binary)

    def whole_loader(self, store: EventStore) -> Loader:
        """All of a store's recordings in order, on this process alone."""
        return Loader(store, self.batch_size, self.dt, self.steps, binary=self.binary, rank=0, world=1)
