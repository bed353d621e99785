"""Train on simulated saccades of other digits, test on real N-MNIST recordings, none of which training has seen.

    python benchmarks/saccades_to_real.py --real ../shared/data/nmnist_small --images ../shared/data/mnist [--out DIR]

The real recordings must show MNIST's training images of their numbers, 00001.bin image 0; those images are left out. A
part of the simulated recordings of the others is held out and chooses the checkpoint, so that the real recordings are
looked at once, at the end. The camera was fitted to the real recordings of images 0 to 499 (their statistics, without
labels), so the figure is also given for the others alone. The recipe is that of `spiking train mnist-saccades` on
--take of its recordings. A killed run goes on where it stopped when it is given the same --out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import seed_everything

from spiking.cli.config import parse, parser
from spiking.cli.train import preset_file
from spiking.datasets import EventStore, load
from spiking.training import run
from spiking.training.measure import measure
from spiking.training.report import write_metrics
from spiking.training.run import summary

FITTED = 500  # images whose recordings benchmarks/fit_nmnist_camera.py has seen


def images(real: EventStore) -> np.ndarray[Any, Any]:
    """(n,) the image that each real recording shows, by its name."""
    return np.array([int(Path(name).stem) - 1 for name in real.metadata["name"]])


def without(simulated: EventStore, real: EventStore) -> EventStore:
    """The simulated recordings of images that no real one shows."""
    shown = images(real)
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
    config = parse("mnist-saccades", overrides, preset_file("mnist-saccades"))
    real = load("nmnist", "all", root=given.real)
    simulated = without(load("mnist-saccades", root=given.images), real).select(slice(0, given.take))
    numbers = simulated.metadata["image"]
    print(f"{len(simulated)} simulated recordings, images {numbers.min()} to {numbers.max()}; {len(real)} real ones")
    given.out.mkdir(parents=True, exist_ok=True)
    seed_everything(config.seed, verbose=False)
    made = parser("mnist-saccades", preset_file("mnist-saccades")).instantiate(config)
    made.data.whole, made.data.test = simulated, real
    made.data.train, made.data.valid = simulated.split(hold_out=0.1, seed=0)
    outcome = run(made.model, made.data, dict(made.trainer), given.out, resume=True)
    if outcome.interrupted:
        print("interrupted; the same command goes on")
        return
    print(summary(outcome.metrics))
    unfitted = real.select(images(real) >= FITTED)
    if len(unfitted):
        found = measure(made.model, made.data.whole_loader(unfitted))
        write_metrics(given.out / "metrics.json", {**outcome.metrics, "unfitted_accuracy": found.accuracy})
        print(f"{len(unfitted)} recordings that the camera's fit has not seen: {100 * found.accuracy:.1f} %")
    print(given.out)


if __name__ == "__main__":
    main()
