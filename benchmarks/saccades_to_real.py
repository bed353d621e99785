"""Train on simulated saccades of other digits, test on real N-MNIST recordings, none of which training has seen.

    python benchmarks/saccades_to_real.py --real ../shared/data/nmnist_small --images ../shared/data/mnist [--out DIR]

The real recordings must show MNIST's training images of their numbers, 00001.bin image 0; those images are left out. A
part of the simulated recordings of the others is held out and chooses the checkpoint, so that the real recordings are
looked at once, at the end. The recipe is that of `spiking train mnist-saccades` on --take of its recordings. A killed
run goes on where it stopped when it is given the same --out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import seed_everything

from spiking.cli.config import parse
from spiking.cli.train import preset_file
from spiking.datasets import Augment, EventStore, load
from spiking.training import Classifier, EventData, run
from spiking.training.run import summary


class Transfer(EventData):
    """Simulated recordings to learn from, real ones to be tested on."""

    def __init__(self, simulated: EventStore, real: EventStore, **settings: Any) -> None:
        super().__init__(**settings)
        self.whole, self.test = simulated, real
        held = self.valid_share if self.valid_share < 1 else int(self.valid_share)
        self.train, self.valid = simulated.split(hold_out=held, seed=0)


def without(simulated: EventStore, real: EventStore) -> EventStore:
    """The simulated recordings of images that no real one shows."""
    shown = [int(Path(name).stem) - 1 for name in real.metadata["name"]]
    labels = np.full(simulated.metadata["image"].max() + 1, -1)
    labels[simulated.metadata["image"]] = simulated.labels.numpy()
    if not (labels[shown] == real.labels.numpy()).all():
        raise SystemExit("these recordings don't show MNIST's training images of their numbers")
    return simulated.select(~np.isin(simulated.metadata["image"], shown))


def main() -> None:
    """Train, and test once."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--real", required=True, help="N-MNIST in the official layout, a folder or an archive")
    words.add_argument("--images", required=True, help="the folder with MNIST's four idx files")
    words.add_argument("--take", type=int, default=20_000, help="simulated recordings (default %(default)s)")
    words.add_argument(
        "--out", type=Path, default=Path("runs/saccades-to-real"), help="run folder (default %(default)s)"
    )
    given, overrides = words.parse_known_args()
    valid = ["--data.valid", "0.1"]
    config = parse("mnist-saccades", [*valid, *overrides], preset_file("mnist-saccades"))
    settings = {key: value for key, value in config.data.as_dict().items() if key not in ("root", "augment")}
    augment = None if config.data.augment is None else Augment(**config.data.augment.as_dict())
    real = load("nmnist", "all", root=given.real)
    simulated = without(load("mnist-saccades", root=given.images), real)
    simulated = simulated.select(slice(0, given.take))
    numbers = simulated.metadata["image"]
    print(f"{len(simulated)} simulated recordings, images {numbers.min()} to {numbers.max()}; {len(real)} real ones")
    given.out.mkdir(parents=True, exist_ok=True)
    seed_everything(config.seed, verbose=False)
    model = Classifier(**{**config.model.as_dict(), "rates": None})
    data = Transfer(simulated, real, augment=augment, **settings)
    outcome = run(model, data, config.trainer.as_dict(), given.out, resume=True)
    print(summary(outcome.metrics))
    print(given.out)


if __name__ == "__main__":
    main()
