"""Five-fold accuracy on real N-MNIST recordings, beside both linear controls in the same folds.

    python benchmarks/nmnist_folds.py --root ../shared/data/nmnist_small/nmnist_small.tar [--out DIR]

All recordings are pooled and divided into five folds, every class evenly. The recipe is that of `spiking train nmnist`,
whose overrides are taken, with nothing held out and the last epoch measured. It was developed on fold 0: on a fifth of
its training part, and in two short runs on its test part. A stopped run goes on when it is given the same --out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from lightning.pytorch import seed_everything

from spiking.cli.config import parse, parser
from spiking.cli.train import preset_file
from spiking.datasets import load
from spiking.training import run
from spiking.training.report import write_metrics

NAMES = {
    "test_accuracy": "spiking network",
    "control_counts_accuracy": "logistic regression on counts",
    "control_bins_accuracy": "ridge regression on five time bins",
}


def main() -> None:
    """Run the folds that are not done yet and print all."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--root", required=True, help="N-MNIST in the official layout, a folder or an archive")
    words.add_argument("--out", default="runs/nmnist-folds", help="where folds are kept (default %(default)s)")
    words.add_argument("--folds", type=int, default=5)
    given, overrides = words.parse_known_args()
    config = parse("nmnist", [*overrides, "--data.valid", "0"], preset_file("nmnist"))
    store, results = load("nmnist", split="all", root=given.root, skip_corrupt=config.data.skip_corrupt), []
    for k, (train, test) in enumerate(store.folds(given.folds)):
        folder = Path(given.out) / f"fold{k}"
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "metrics.json"
        if not kept.is_file() or "interrupted" in json.loads(kept.read_text()):
            seed_everything(config.seed, verbose=False)
            made = parser("nmnist", preset_file("nmnist")).instantiate(config)
            made.data.whole = made.data.train = train
            made.data.test, made.data.valid = test, None
            if run(made.model, made.data, dict(made.trainer), folder, resume=True).interrupted:
                print(f"interrupted in fold {k}; the same command goes on")
                return
        results.append(json.loads(kept.read_text()))
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
