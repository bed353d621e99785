"""Published recipes on spoken digits, by two speakers whom training has not heard.

    python benchmarks/recipes.py --root PATH [--out DIR] [--epochs 20] [--width 128] [--seeds 3] [--only NAME ...]

Every recipe gets the same recordings, two hidden layers of the same width, batches of 32 and the same number of epochs;
neurons, surrogate, learning rate, dropout, norm and readout are its own, as in its preset. Two of the training speakers are
held out and measured once, after the last epoch, so nothing is chosen by them. The test recordings are not looked at.
Overrides of `spiking train` are taken and apply to every recipe. A stopped run goes on when it is given the same --out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from lightning.pytorch import seed_everything

from spiking.cli.config import parse, parser
from spiking.cli.train import preset_file
from spiking.training import run
from spiking.training.report import write_metrics

# By name, the preset and what of it is replaced.
RECIPES = {
    "SE-adLIF, recurrent (Baronig et al. 2024)": ("shd", []),
    "C-SiLIF (Fabre et al. 2025)": ("shd-csilif", []),
    "SiLIF (Fabre et al. 2025)": (
        "shd-csilif",
        [
            "--model.options.neuron", "silif", "--model.options.learn", "[tau_mem, tau_adapt, a, b]",
            "--model.options.dropout", "0.25", "--model.lr", "0.001",
        ],
    ),
    "ALIF, recurrent (Yin et al. 2021)": (
        "shd",
        [
            "--model.options.neuron", "alif", "--model.options.learn", "[tau_mem, tau_adapt]",
            "--model.options.surrogate", "multi_gaussian", "--model.options.reset_time", "next",
            "--model.options.dropout", "0",
        ],
    ),
}  # fmt: skip
SAME = ["--data.name", "spoken", "--data.batch_size", "32", "--data.steps", "250", "--data.valid", "2", "--data.valid_by",
        "speaker", "--data.augment", "{shift: 20, time_warp: 0.1}"]  # fmt: skip
COLUMNS = {"test_accuracy": "held-out speakers", "spikes_per_sample": "spikes", "parameters": "parameters"}


def one(preset: str, overrides: list[str], folder: Path, seed: int) -> dict[str, float] | None:
    """The metrics of a run, which a finished one has kept; `None` if Ctrl-C ended it."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "metrics.json"
    if not kept.is_file() or "interrupted" in json.loads(kept.read_text()):
        config = parse(preset, overrides, preset_file(preset), seed)
        seed_everything(seed, verbose=False)
        made = parser(preset, preset_file(preset)).instantiate(config)
        data = made.data
        data.setup()
        print("held out:", ", ".join(np.unique(data.valid.metadata["speaker"]).tolist()), flush=True)
        data.whole, data.test, data.valid = data.train, data.valid, None
        if run(made.model, data, dict(made.trainer), folder, resume=True).interrupted:
            return None
    metrics: dict[str, float] = json.loads(kept.read_text())
    return metrics


def main() -> int:
    """Run the recipes that are not done yet and print all."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--root", required=True, help="where the recordings of words lie")
    words.add_argument("--out", default="runs/recipes", help="where runs are kept (default %(default)s)")
    words.add_argument("--epochs", type=int, default=20)
    words.add_argument("--width", type=int, default=128, help="neurons of each hidden layer")
    words.add_argument("--seeds", type=int, default=3)
    words.add_argument("--only", nargs="+", help="names of neurons, such as C-SiLIF, to run these alone")
    given, overrides = words.parse_known_args()
    chosen = {name: recipe for name, recipe in RECIPES.items() if not given.only or name.split(",")[0].split()[0] in given.only}
    if not chosen:
        words.error(f"--only: expected names among {', '.join(RECIPES)}, got {' '.join(given.only)}")
    size = f"[{given.width}, {given.width}]"
    same = [*SAME, "--data.root", given.root, "--model.options.hidden", size, "--trainer.max_epochs", str(given.epochs)]
    metrics: dict[str, float] = {}
    rows = []
    for name, (preset, own) in chosen.items():
        results = []
        for seed in range(given.seeds):
            folder = Path(given.out) / name.split(" (")[0].replace(", ", "-") / f"seed{seed}"
            result = one(preset, [*own, *same, *overrides], folder, seed)
            if result is None:
                print("interrupted; the same command goes on")
                return 1
            results.append(result)
            print(f"{name}, seed {seed}: {100 * result['test_accuracy']:.1f} % after {result['seconds']:.0f} s", flush=True)
        for key in ("test_accuracy", "spikes_per_sample", "parameters", "seconds"):
            metrics[f"{name}.{key}"] = float(np.mean([result[key] for result in results]))
        accuracies = [100 * result["test_accuracy"] for result in results]
        rows.append(
            f"| {name} | {np.mean(accuracies):.1f} % ({min(accuracies):.1f} to {max(accuracies):.1f}) | "
            f"{metrics[f'{name}.spikes_per_sample']:,.0f} | {metrics[f'{name}.parameters']:,.0f} |"
        )
    print(f"\n| recipe, {given.epochs} epochs, 2 x {given.width} neurons | held-out speakers | spikes | parameters |")
    print("|---|---|---|---|")
    print("\n".join(rows))
    for key, name in (("control_counts_accuracy", "logistic regression on counts"), ("control_bins_accuracy", "ridge regression on five time bins")):
        print(f"| {name} | {100 * results[0][key]:.1f} % | | |")
    write_metrics(Path(given.out) / "metrics.json", metrics)
    print(given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
