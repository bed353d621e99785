"""`spiking reservoir zeroshot`: heads between images and sounds of digits, measured on digits that they never saw."""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spiking.cli.mistake import Mistake
from spiking.cli.pieces import Pieces, going_on
from spiking.cli.run_folder import release, run_folder
from spiking.datasets.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from spiking.reservoir.zeroshot import Side, Trial

    Array = np.ndarray[Any, Any]
    Trials = dict[Trial, tuple[float, float]]

WITH, WITHOUT = "liquids", "input counts"


def main(argv: Sequence[str]) -> int:
    """Run `spiking reservoir zeroshot`."""
    given = _words().parse_args(argv)
    for name in ("seeds", "bins", "epochs", "batch", "width"):
        if getattr(given, name) < 1:
            raise Mistake(f"--{name}: expected at least 1, got {getattr(given, name)}")
    try:
        folder = run_folder(given.out, "reservoir-zeroshot", given.resume)
        pieces = Pieces(folder, "reservoir zeroshot", given, ["seeds", "published"])
        with going_on(folder):
            return _all(given, _sides(given), folder, pieces)
    except (DataError, Mistake):
        raise
    except ValueError as error:
        raise Mistake(str(error)) from error
    finally:
        release()


def _all(given: argparse.Namespace, sides: dict[str, tuple[Side, Side]], folder: Path, pieces: Pieces) -> int:
    from spiking import plots
    from spiking.reservoir.zeroshot import Recipe, all_pairs, published
    from spiking.training.report import write_metrics

    start, metrics, tables = time.perf_counter(), dict[str, float](), {}
    recipe = Recipe(width=given.width, batch=given.batch, epochs=given.epochs)
    classes = int(max(side.train_labels.max() for pair in sides.values() for side in pair)) + 1
    trials = [(a, b, seed) for a, b in itertools.combinations(range(classes), 2) for seed in range(given.seeds)]
    for name, pair in sides.items():
        short = name.replace(" ", "_")
        if given.published:
            found = pieces.of(f"{name}, published", partial(published, *pair))
            metrics |= {f"{short}.published_{key}": value for key, value in found.items()}
            percent = {key: f"{100 * value:.1f} %" for key, value in found.items()}
            print(f"{name}, published protocol, digits 8 and 9 unseen, the epoch chosen on the test sets:")
            print(f"  unseen {percent['unseen_selected_on_test']}, seen {percent['seen_selected_on_test']}")
            print(f"  after the last epoch {percent['unseen_last']} and {percent['seen_last']}", flush=True)
        places = {trial: f"{name}, unseen {trial[0]} and {trial[1]}, seed {trial[2]}" for trial in trials}
        done: Trials = {trial: pieces.found[place] for trial, place in places.items() if place in pieces.found}
        if done:
            print(f"{name}: {len(done)} of {len(trials)} are there from before", flush=True)

        def keep(
            trial: Trial, result: tuple[float, float], places: dict[Trial, str] = places, done: Trials = done
        ) -> None:
            pieces.keep(places[trial], result)
            done[trial] = result
            said = f"{len(done)} of {len(trials)}, {places[trial]}"
            print(f"{said}: {100 * result[1]:.0f} %, seen {100 * result[0]:.0f} %", flush=True)

        tables[name] = all_pairs(*pair, range(given.seeds), recipe, keep, classes, done)
        metrics |= _numbers(tables[name], short)
    metrics["seconds"] = time.perf_counter() - start
    write_metrics(folder / "metrics.json", metrics)
    with (folder / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["features", "unseen", "seed", "accuracy_seen", "accuracy_unseen"])
        for name, table in tables.items():
            results = table.reshape(-1, 2).tolist()
            rows.writerows([name, f"{a} {b}", seed, *both] for (a, b, seed), both in zip(trials, results, strict=True))
    plots.unseen_pairs({name: table[..., 1] for name, table in tables.items()}).savefig(folder / "pairs.png")
    for name, table in tables.items():
        print(_line(name, metrics, name.replace(" ", "_"), table))
    print(folder)
    return 0


def _numbers(table: Array, short: str) -> dict[str, float]:
    """Of (pairs, seeds, 2) accuracies; the interval is Student's over pairs, which share digits."""
    import numpy as np

    from spiking.training.report import combine

    unseen, seen = table[..., 1], table[..., 0]
    mean = unseen.mean(1)
    return {
        f"{short}.unseen": float(unseen.mean()),
        f"{short}.unseen_ci95": combine([{"unseen": float(each)} for each in mean]).get("unseen_ci95", np.inf),
        f"{short}.unseen_sd": float(unseen.std()), f"{short}.unseen_least": float(unseen.min()),
        f"{short}.unseen_most": float(unseen.max()), f"{short}.pairs_above_half": int((mean > 0.5).sum()),
        f"{short}.seen": float(seen.mean()),
    }  # fmt: skip


def _line(name: str, metrics: dict[str, float], short: str, table: Array) -> str:
    of = {key: metrics[f"{short}.{key}"] for key in (
        "unseen", "unseen_ci95", "unseen_sd", "unseen_least", "unseen_most", "pairs_above_half", "seen"
    )}  # fmt: skip
    return (
        f"{name:<14}{len(table)} pairs x {table.shape[1]} seeds: unseen {100 * of['unseen']:.1f} "
        f"+- {100 * of['unseen_ci95']:.1f} % (sd {100 * of['unseen_sd']:.1f}, {100 * of['unseen_least']:.0f} to "
        f"{100 * of['unseen_most']:.0f}; chance 50), {of['pairs_above_half']} pairs above a half, "
        f"seen {100 * of['seen']:.1f} %"
    )


def _sides(given: argparse.Namespace) -> dict[str, tuple[Side, Side]]:
    """Features of both modalities, with and without liquids."""
    from spiking.datasets import load
    from spiking.reservoir import LSM
    from spiking.reservoir.run import input_counts
    from spiking.reservoir.zeroshot import Side

    found: dict[str, list[Side]] = {WITH: [], WITHOUT: []}
    for what, preset in (("images", "nalsm"), ("sounds", "shd")):
        name, root = getattr(given, what), getattr(given, f"{what}_root")
        parts = [load(name, split, root, skip_corrupt=given.skip_corrupt) for split in ("train", "test")]
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
    words.add_argument("--skip-corrupt", action="store_true", help="leave out recordings that can't be read")
    words.add_argument("--out", help="the run folder (default: a new one under runs/)")
    words.add_argument("--neurons", type=int, default=1000, help="of each liquid (%(default)s)")
    words.add_argument("--bins", type=int, default=1, help="parts of time (%(default)s, as published)")
    words.add_argument("--limit", type=int, help="recordings of a split (all)")
    words.add_argument("--seed", type=int, default=0, help="of the liquids (%(default)s)")
    words.add_argument("--seeds", type=int, default=3, help="of heads (%(default)s)")
    words.add_argument("--width", type=int, default=64, help="of the shared space (%(default)s)")
    words.add_argument("--epochs", type=int, default=30, help="of every pair (%(default)s)")
    words.add_argument("--batch", type=int, default=64, help="pairs of a step (%(default)s)")
    words.add_argument("--resume", action="store_true", help="go on with the run in --out, from its last trial")
    words.add_argument("--published", action="store_true", help="the published protocol, which selects on test, too")
    return words
