"""Published recipes on spoken words, measured on two speakers whom training has not heard.

    python benchmarks/recipes.py --root PATH [--out DIR] [--epochs 20] [--width 128] [--seeds 3] [--only csilif ...]

Every recipe gets the same recordings and changes of them, 140 channels, steps of 4 ms, two hidden layers of the same
width, batches of 32 and the same number of epochs; neurons, surrogate, learning rate, dropout, norm and readout are its
own. Two of the training speakers are held out and measured once, after the last epoch, so that nothing is chosen by
them; the test recordings are not looked at. Both linear controls learn from the other speakers alike. Overrides of
`spiking train` are taken and apply to every recipe. A stopped run goes on when it is given the same --out.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning.pytorch import seed_everything

from spiking.cli.config import parse, parser
from spiking.cli.train import preset_file
from spiking.training import run
from spiking.training.report import write_metrics
from spiking.training.run import CONTROLS


class Recipe(NamedTuple):
    """A preset, and what of it is replaced."""

    title: str
    preset: str
    overrides: tuple[str, ...] = ()


RECIPES = {
    "seadlif": Recipe("SE-adLIF, recurrent (Baronig et al. 2024)", "shd"),
    "csilif": Recipe("C-SiLIF (Fabre et al. 2025)", "shd-csilif"),
    "silif": Recipe(
        "SiLIF (Fabre et al. 2025)", "shd-csilif",
        (
            "--model.options.neuron", "silif", "--model.options.learn", "[tau_mem, tau_adapt, a, b]",
            "--model.options.dropout", "0.25", "--model.lr", "0.001",
        ),
    ),
    "alif": Recipe(
        "ALIF, recurrent (Yin et al. 2021)", "shd",
        (
            "--model.options.neuron", "alif", "--model.options.learn", "[tau_mem, tau_adapt]",
            "--model.options.surrogate", "multi_gaussian", "--model.options.reset_time", "next",
            "--model.options.dropout", "0",
        ),
    ),
}  # fmt: skip
SAME = (
    "--data.name", "spoken", "--data.batch_size", "32", "--data.steps", "250", "--data.valid", "2",
    "--data.valid_by", "speaker", "--data.augment", "{shift: 20, time_warp: 0.1}",
)  # fmt: skip
KEPT = ("spikes_per_sample", "parameters", "seconds")


def main() -> int:
    """Run the recipes that are not done yet and print all."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--root", required=True, help="where the recordings of words lie")
    words.add_argument("--out", default="runs/recipes", help="where runs are kept (default %(default)s)")
    words.add_argument("--epochs", type=int, default=20)
    words.add_argument("--width", type=int, default=128, help="neurons of each hidden layer")
    words.add_argument("--seeds", type=int, default=3)
    words.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES), help="these recipes alone")
    given, overrides = words.parse_known_args()
    size = f"[{given.width}, {given.width}]"
    same = [*SAME, "--data.root", given.root, "--model.options.hidden", size, "--trainer.max_epochs", str(given.epochs)]
    metrics: dict[str, float] = {}
    for name in given.only:
        recipe, results = RECIPES[name], []
        for seed in range(given.seeds):
            result = one(recipe, [*same, *overrides], Path(given.out) / name / f"seed{seed}", seed)
            if result is None:
                print("interrupted; the same command goes on")
                return 1
            results.append(result)
            score = 100 * result["test_accuracy"]
            print(f"{recipe.title}, seed {seed}: {score:.1f} % in {result['seconds']:.0f} s", flush=True)
        accuracies = [result["test_accuracy"] for result in results]
        metrics |= {f"{name}.held_out_accuracy": float(np.mean(accuracies))}
        metrics |= {f"{name}.lowest": min(accuracies), f"{name}.highest": max(accuracies)}
        metrics |= {f"{name}.{key}": float(np.mean([result[key] for result in results])) for key in KEPT}
        metrics |= {key: result[key] for key in CONTROLS}
    write_metrics(Path(given.out) / "metrics.json", metrics)
    print("\n".join(table(metrics, given.only, f"{given.epochs} epochs, two layers of {given.width}")))
    print(given.out)
    return 0


def one(recipe: Recipe, overrides: list[str], folder: Path, seed: int) -> dict[str, float] | None:
    """The metrics of a run, which a finished one has kept; `None` if Ctrl-C ended it."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "metrics.json"
    same_settings(folder, [*recipe.overrides, *overrides])
    if not kept.is_file() or "interrupted" in json.loads(kept.read_text()):
        preset = preset_file(recipe.preset)
        config = parse(recipe.preset, [*recipe.overrides, *overrides], preset, seed)
        seed_everything(seed, verbose=False)
        made = parser(recipe.preset, preset).instantiate(config)
        data = made.data
        data.setup()
        print("held out:", ", ".join(np.unique(data.valid.metadata["speaker"]).tolist()), flush=True)
        data.whole, data.test, data.valid = data.train, data.valid, None
        if run(made.model, data, dict(made.trainer), folder, resume=True).interrupted:
            return None
    metrics: dict[str, float] = json.loads(kept.read_text())
    return metrics


def same_settings(folder: Path, settings: list[str]) -> None:
    """Leave a run's settings beside it, and stop where a folder has a run of others."""
    file = folder / "settings.json"
    if file.is_file() and json.loads(file.read_text()) != settings:
        sys.exit(f"{folder}: holds a run with {json.loads(file.read_text())}; give another --out for {settings}")
    file.write_text(json.dumps(settings))


def table(metrics: dict[str, float], names: list[str], setting: str) -> list[str]:
    """The lines of a Markdown table."""
    lines = [f"| {setting} | held-out speakers | lowest, highest | spikes | parameters |", "|---|---|---|---|---|"]
    for name in names:
        mean, low, high = (100 * metrics[f"{name}.{key}"] for key in ("held_out_accuracy", "lowest", "highest"))
        spikes, parameters = (metrics[f"{name}.{key}"] for key in ("spikes_per_sample", "parameters"))
        lines.append(
            f"| {RECIPES[name].title} | {mean:.1f} % | {low:.1f}, {high:.1f} | {spikes:,.0f} | {parameters:,.0f} |"
        )
    lines += [f"| {title} | {100 * metrics[key]:.1f} % | | | |" for key, title in CONTROLS.items()]
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
