"""Five-fold accuracy on real N-MNIST recordings, beside both linear controls in the same folds.

    python benchmarks/nmnist_folds.py --root ../shared/data/nmnist_small/nmnist_small.tar [--out DIR]

All recordings are pooled and divided into five folds, every class evenly. The recipe is that of `spiking train nmnist`
with nothing held out and the last epoch measured. It was developed on fold 0: on a fifth of its training part, and in
two short runs on its test part. A killed run goes on where it stopped when it is given the same --out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import seed_everything

from spiking.cli.config import parse
from spiking.cli.train import preset_file
from spiking.datasets import Augment, EventStore, load
from spiking.training import Classifier, EventData, run
from spiking.training.report import write_metrics

NAMES = {
    "test_accuracy": "spiking network",
    "control_counts_accuracy": "logistic regression on counts",
    "control_bins_accuracy": "ridge regression on five time bins",
}


class Fold(EventData):
    """One fold's recordings with the preset's settings."""

    def __init__(self, train: EventStore, test: EventStore, **settings: Any) -> None:
        super().__init__(**settings)
        self.whole = self.train = train
        self.test, self.valid = test, None


def main() -> None:
    """Run the folds that are not done yet and print all."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--root", required=True, help="N-MNIST in the official layout, a folder or an archive")
    words.add_argument("--out", default="runs/nmnist-folds", help="where folds are kept (default %(default)s)")
    words.add_argument("--folds", type=int, default=5)
    given, overrides = words.parse_known_args()
    config = parse("nmnist", ["--data.valid", "0", *overrides], preset_file("nmnist"))
    settings = {key: value for key, value in config.data.as_dict().items() if key not in ("root", "augment")}
    augment = None if config.data.augment is None else Augment(**config.data.augment.as_dict())
    store, results = load("nmnist", split="all", root=given.root), []
    for k, (train, test) in enumerate(store.folds(given.folds)):
        folder = Path(given.out) / f"fold{k}"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "metrics.json").is_file():
            seed_everything(config.seed, verbose=False)
            data = Fold(train, test, augment=augment, **settings)
            model = Classifier(**{**config.model.as_dict(), "rates": None})
            run(model, data, config.trainer.as_dict(), folder, resume=True)
        results.append(json.loads((folder / "metrics.json").read_text()))
        scores = ", ".join(f"{name} {100 * results[-1][key]:.1f} %" for key, name in NAMES.items())
        print(f"fold {k}: {scores}", flush=True)
    metrics = {f"fold{k}.{key}": result[key] for k, result in enumerate(results) for key in NAMES}
    for key, name in NAMES.items():
        metrics[key] = float(np.mean([result[key] for result in results]))
        print(f"mean of {len(results)} folds, {name:<36}{100 * metrics[key]:5.1f} %")
    metrics["seconds"] = float(sum(result["seconds"] for result in results))
    write_metrics(Path(given.out) / "metrics.json", metrics)
    print(given.out)


if __name__ == "__main__":
    main()
