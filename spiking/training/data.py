"""EventData: a data set's training, validation and test recordings, as Lightning wants them."""

from __future__ import annotations

import lightning.pytorch as pl

from spiking.datasets import Augment, EventStore, Loader, load
from spiking.datasets.errors import DataError


class EventData(pl.LightningDataModule):
    """Recordings for training, held-out validation and test.

    Arguments:
        name: a data set of `spiking datasets list`; "folder" reads the folder `root`.
        root: where the data set's own files lie.
        batch_size: recordings per batch and process.
        dt: length of a step, ms.
        steps: steps per batch; `None` means as many as each batch needs.
        binary: several events in one step and channel count once.
        valid: share (below 1) or number of what is held out of the training recordings; 0 holds nothing out.
        valid_by: column whose values are not divided, such as the writer; `None` holds out recordings, every
            class in the same share.
        augment: random changes to training recordings.
        seed: of the order and of the augmentation.

    Raises:
        ValueError: if `name` is "folder" and there is no `root`, or `valid` is neither a share nor a whole number.
    """

    def __init__(
        self,
        name: str = "digits",
        root: str | None = None,
        batch_size: int = 64,
        dt: float = 10.0,
        steps: int | None = None,
        binary: bool = False,
        valid: float = 0.15,
        valid_by: str | None = None,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if name == "folder" and root is None:
            raise ValueError("root: folder needs the folder of your recordings, one sub-folder a class, got None")
        if not (0 <= valid < 1 or (valid >= 1 and float(valid).is_integer())):
            raise ValueError(f"valid: expected a share from 0 to below 1, or a whole number, got {valid}")
        self.source = f"folder:{root}" if name == "folder" else name
        self.root = None if name == "folder" else root
        self.batch_size, self.dt, self.steps, self.binary = batch_size, dt, steps, binary
        self.valid_share, self.valid_by = valid, valid_by
        self.augment, self.seed = augment, seed
        self.whole: EventStore | None = None

    def setup(self, stage: str | None = None) -> None:
        """Load and split, once."""
        if self.whole is not None:
            return
        self.whole = load(self.source, split="train", root=self.root)
        if len(self.whole.classes) < 2:
            raise DataError(f"{self.source}: expected recordings of at least two classes, got {self.whole.classes}")
        self.test = load(self.source, split="test", root=self.root)
        self.train, self.valid = self.whole, None
        if self.valid_share:
            held = int(self.valid_share) if self.valid_share >= 1 else self.valid_share
            # The split stays the same for every seed, so that runs differ in training alone.
            self.train, self.valid = self.whole.split(by=self.valid_by, hold_out=held, seed=0)

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
