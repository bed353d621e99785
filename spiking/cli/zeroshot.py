"""`spiking reservoir zeroshot`: heads between images and sounds of digits, measured on digits that they never saw."""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spiking.cli.mistake import Mistake
from spiking.cli.run_folder import release, run_folder
from spiking.datasets.errors import DataError

if TYPE_CHECKING:
    from spiking.reservoir.zeroshot import Side

WITH, WITHOUT = "liquids", "input counts"


def main(argv: Sequence[str]) -> int:
    """Run `spiking reservoir zeroshot`."""
    given = _words().parse_args(argv)
    for name in ("seeds", "bins", "epochs", "batch", "width"):
        if getattr(given, name) < 1:
            raise Mistake(f"--{name}: expected at least 1, got {getattr(given, name)}")
    try:
        sides = _sides(given)
        return _all(given, sides, run_folder(given.out, "reservoir-zeroshot", None))
    except (DataError, Mistake):
        raise
    except ValueError as error:
        raise Mistake(str(error)) from error
    finally:
        release()


def _all(given: argparse.Namespace, sides: dict[str, tuple[Side, Side]], folder: Path) -> int:
    import numpy as np

    from spiking import plots
    from spiking.reservoir.zeroshot import Recipe, all_pairs, published
    from spiking.training.report import write_metrics

    folder.mkdir(parents=True, exist_ok=True)
    start, metrics, tables = time.perf_counter(), dict[str, float](), {}
    recipe = Recipe(width=given.width, batch=given.batch, epochs=given.epochs)
    classes = int(max(side.train_labels.max() for pair in sides.values() for side in pair)) + 1
    try:
        for name, pair in sides.items():
            short = name.replace(" ", "_")
            if given.published:
                found = published(*pair)
                metrics |= {f"{short}.published_{key}": value for key, value in found.items()}
                percent = {key: f"{100 * value:.1f} %" for key, value in found.items()}
                print(f"{name}, published protocol, digits 8 and 9 unseen, the epoch chosen on the test sets:")
                print(f"  unseen {percent['unseen_selected_on_test']}, seen {percent['seen_selected_on_test']}")
                print(f"  after the last epoch {percent['unseen_last']} and {percent['seen_last']}", flush=True)
            tables[name] = all_pairs(*pair, range(given.seeds), recipe, lambda line: print(line, flush=True), classes)
            unseen, seen = tables[name][..., 1], tables[name][..., 0]
            metrics |= {
                f"{short}.unseen": float(unseen.mean()), f"{short}.unseen_sd": float(unseen.std()),
                f"{short}.unseen_least": float(unseen.min()), f"{short}.unseen_most": float(unseen.max()),
                f"{short}.seen": float(seen.mean()),
            }  # fmt: skip
    except KeyboardInterrupt:
        metrics["interrupted"] = 1
    metrics["seconds"] = time.perf_counter() - start
    write_metrics(folder / "metrics.json", metrics)
    if tables:
        with (folder / "pairs.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["features", "unseen", "seed", "accuracy_seen", "accuracy_unseen"])
            for name, table in tables.items():
                for row, (a, b) in zip(table, itertools.combinations(range(classes), 2), strict=True):
                    writer.writerows([name, f"{a} {b}", seed, *each] for seed, each in enumerate(row.tolist()))
        plots.unseen_pairs({name: table[..., 1] for name, table in tables.items()}).savefig(folder / "pairs.png")
    for name, table in tables.items():
        seen, unseen = np.moveaxis(100 * np.asarray(table), 2, 0)
        ends = f"sd {unseen.std():.1f}, {unseen.min():.0f} to {unseen.max():.0f}; chance 50"
        print(f"{name:<14}{len(unseen)} pairs x {given.seeds} seeds: unseen {unseen.mean():.1f} % ({ends}), ", end="")
        print(f"seen {seen.mean():.1f} %")
    print(folder)
    return 1 if "interrupted" in metrics else 0


def _sides(given: argparse.Namespace) -> dict[str, tuple[Side, Side]]:
    """Features of both modalities, with and without liquids."""
    from spiking.datasets import load
    from spiking.reservoir import LSM
    from spiking.reservoir.run import input_counts
    from spiking.reservoir.zeroshot import Side

    found: dict[str, list[Side]] = {WITH: [], WITHOUT: []}
    for what, preset in (("images", "nalsm"), ("sounds", "shd")):
        name, root = getattr(given, what), getattr(given, f"{what}_root")
        parts = [load(name, split=split, root=root) for split in ("train", "test")]
        if given.limit:
            parts = [part.select(slice(0, None, -(-len(part) // given.limit))) for part in parts]
        lsm = LSM.from_preset(preset, inputs=parts[0].channels, neurons=given.neurons, bins=given.bins, seed=given.seed)
        lsm.calibrate(parts[0])
        print(f"{what}: {preset}, gain {lsm.gain:.2f}, input gain {lsm.input_gain:.2f}", flush=True)
        y = [part.labels.numpy() for part in parts]
        counts = [lsm.features(part, progress=True) for part in parts]
        found[WITH].append(Side(counts[0], y[0], counts[1], y[1]))
        plain = [input_counts(part, lsm.bins, lsm.parts, lsm.step, None) for part in parts]
        found[WITHOUT].append(Side(plain[0], y[0], plain[1], y[1]))
    return {name: (both[0], both[1]) for name, both in found.items()}


def _words() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(
        prog="spiking reservoir zeroshot", allow_abbrev=False,
        description="Tie images and sounds of digits by two heads, and look sounds of unseen digits up among images, "
        "for every pair of digits left out, with and without liquids.",
    )  # fmt: skip
    words.add_argument("zeroshot", choices=["zeroshot"])
    words.add_argument("--images", default="nmnist", help="data set of images (%(default)s)")
    words.add_argument("--images-root", help="where its files lie")
    words.add_argument("--sounds", default="spoken", help="data set of sounds, with the same classes (%(default)s)")
    words.add_argument("--sounds-root", help="where its files lie")
    words.add_argument("--out", help="the run folder (default: a new one under runs/)")
    words.add_argument("--neurons", type=int, default=1000, help="of each liquid (%(default)s)")
    words.add_argument("--bins", type=int, default=1, help="parts of time (%(default)s, as published)")
    words.add_argument("--limit", type=int, help="recordings of a split (all)")
    words.add_argument("--seed", type=int, default=0, help="of the liquids (%(default)s)")
    words.add_argument("--seeds", type=int, default=3, help="of heads (%(default)s)")
    words.add_argument("--width", type=int, default=64, help="of the shared space (%(default)s)")
    words.add_argument("--epochs", type=int, default=30, help="of every pair (%(default)s)")
    words.add_argument("--batch", type=int, default=64, help="pairs of a step (%(default)s)")
    words.add_argument("--published", action="store_true", help="the published protocol, which selects on test, too")
    return words
