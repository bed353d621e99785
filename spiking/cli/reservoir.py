"""`spiking reservoir PRESET --data NAME`: a liquid state machine on event recordings, beside the linear controls."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spiking.cli.mistake import Mistake
from spiking.cli.run_folder import release, run_folder
from spiking.datasets.errors import DataError

if TYPE_CHECKING:
    from spiking.datasets import EventStore
    from spiking.reservoir import Ensemble

SWEEP = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0)
HELD = 0.2  # of the training recordings, which a sweep measures on


def main(argv: Sequence[str]) -> int:
    """Run `spiking reservoir`."""
    words = _words()
    if not argv or argv[0] in ("-h", "--help"):
        words.print_help()
        return 0 if argv else 2
    if argv[0] == "zeroshot":
        from spiking.cli.zeroshot import main as zeroshot

        return zeroshot(argv)
    from spiking.reservoir.presets import PRESETS

    if argv[0] not in PRESETS:
        raise Mistake(f"no preset {argv[0]!r}; there are {', '.join(PRESETS)}")
    given = words.parse_args(argv)
    for name in ("seeds", "ensemble", "bins", "neurons", "train", "test", "steps"):
        value = getattr(given, name)
        if value is not None and value < 1:
            raise Mistake(f"--{name}: expected at least 1, got {value}")
    if given.folds == 1 or given.folds < 0:
        raise Mistake(f"--folds: expected 0 or at least 2, got {given.folds}")
    from spiking.reservoir.counts import check_parts
    from spiking.reservoir.readouts import check_readout

    if given.gains and not given.sweep:
        raise Mistake("--gains: these are of --sweep, which is not asked for")
    if any(not 0 <= gain < math.inf for gain in given.gains):
        raise Mistake(f"--gains: expected factors of at least 0, got {', '.join(f'{gain:g}' for gain in given.gains)}")
    if given.branching is not None and given.rate is not None:
        raise Mistake("--branching, --rate: expected one target, got both")
    for name, others in (("gain", ("branching", "rate", "drive")), ("input_gain", ("drive",))):
        lost = [f"--{other}" for other in others if getattr(given, other) is not None]
        if getattr(given, name) is not None and lost:
            raise Mistake(f"{', '.join(lost)}: nothing is searched for beside --{name.replace('_', '-')}")
    try:
        # a mistake in the options is said before any data is read
        check_readout(given.readout)
        check_parts(given.bins, given.parts)
        for lsm in _liquid(given, 0).members:
            lsm.check()
        pairs = _pairs(given)
        if given.sweep:
            _check_sweep(_liquid(given, 0), pairs)
        folder = run_folder(given.out, f"reservoir-{given.preset}", None)
        return _all(given, pairs, folder)
    except (DataError, Mistake):
        raise
    except (ValueError, ArithmeticError) as error:
        raise Mistake(str(error)) from error
    finally:
        release()


def _all(given: argparse.Namespace, pairs: list[tuple[EventStore, EventStore]], folder: Path) -> int:
    import numpy as np

    from spiking.reservoir.lsm import Stopped
    from spiking.reservoir.run import run, table
    from spiking.training.report import combine, write_metrics

    folder.mkdir(parents=True, exist_ok=True)
    plan = [(seed, k) for seed in range(given.seeds) for k in range(len(pairs))]
    names = ["".join([f"seed{s}." if given.seeds > 1 else "", f"fold{k}." if given.folds else ""]) for s, k in plan]
    runs: list[dict[str, float]] = []
    for (seed, k), name in zip(plan, names, strict=True):
        train, test = pairs[k]
        own = folder / name.replace(".", "/") if name else folder
        own.mkdir(parents=True, exist_ok=True)
        metrics: dict[str, float] = {}
        start = time.perf_counter()
        try:
            liquid = _liquid(given, seed)
            if name:
                print(name.rstrip("."), flush=True)
            _calibrate(given, liquid, train)
            if given.sweep:
                _sweep(given, liquid, train, own)
            run(liquid, train, test, given.readout, own, metrics, lambda line: print(line, flush=True), seed)
        except KeyboardInterrupt as stopped:
            if isinstance(stopped, Stopped):
                np.save(own / "features.npy", stopped.features)
            metrics |= {"interrupted": 1, "seconds": time.perf_counter() - start}
            write_metrics(own / "metrics.json", metrics)
            if own != folder:
                done = combine(runs, names[: len(runs)]) if runs else {}
                write_metrics(folder / "metrics.json", {**done, "interrupted": 1})
            print(f"interrupted{f' ({stopped})' if str(stopped) else ''}; what is known so far is kept")
            print(folder)
            return 1
        metrics["seconds"] = time.perf_counter() - start
        write_metrics(own / "metrics.json", metrics)
        runs.append(metrics)
    whole = runs[0] if len(runs) == 1 else combine(runs, [name.rstrip(".") for name in names])
    write_metrics(folder / "metrics.json", whole)
    print(table(whole))
    print(folder)
    return 0


def _liquid(given: argparse.Namespace, seed: int) -> Ensemble:
    from spiking.reservoir import Ensemble

    options = {name: getattr(given, name) for name in ("neurons", "dt", "bins", "parts", "steps")}
    options = {name: value for name, value in options.items() if value is not None}
    for name in ("gain", "input_gain"):
        if getattr(given, name) is not None:
            options[name] = getattr(given, name)
    return Ensemble.from_preset(given.preset, given.ensemble, seed=seed, **options, **_changes(given.set))


def _calibrate(given: argparse.Namespace, liquid: Ensemble, train: EventStore) -> None:
    if given.gain is None:
        targets = {"branching": given.branching, "rate": given.rate, "drive": given.drive}
        if given.input_gain is not None:
            targets["drive"] = 0.0
        print("calibrating", flush=True)
        liquid.calibrate(train, **targets)
    else:
        liquid.fit(train)


def _check_sweep(liquid: Ensemble, pairs: list[tuple[EventStore, EventStore]]) -> None:
    """Ranks want twice as many recordings as neurons; said before gains are searched for."""
    from spiking.reservoir.metrics import SUBSET

    wanted = 2 * min(SUBSET, liquid.members[0].size)
    for train, _ in pairs:
        there = len(train.split(hold_out=HELD, seed=0)[0])
        if there < wanted:
            raise Mistake(
                f"--sweep: expected at least {wanted} training recordings beside the held-out fifth, got {there}"
            )


def _sweep(given: argparse.Namespace, liquid: Ensemble, train: EventStore, folder: Path) -> None:
    """The picture and table of the sweep; accuracies are of a fifth of the training recordings that is held out."""
    import csv

    from spiking import plots
    from spiking.reservoir.sweep import gain_sweep

    lsm = liquid.members[0]
    gains = given.gains or (SWEEP if given.sweep == "gain" else SWEEP[1:])
    rest, held = train.split(hold_out=HELD, seed=0)
    rows = gain_sweep(
        lsm, rest, held, gains, given.sweep, given.readout,
        report=lambda row: print("  ".join(f"{name} {value:.3g}" for name, value in row.items()), flush=True),
    )
    with (folder / "sweep.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    chosen = None if given.sweep == "input_gain" else lsm.gain
    plots.gain_sweep(rows, chosen, 1 / len(train.classes)).savefig(folder / "sweep.png")


def _pairs(given: argparse.Namespace) -> list[tuple[EventStore, EventStore]]:
    from spiking.datasets import load

    options: dict[str, Any] = {"root": given.root, "skip_corrupt": given.skip_corrupt}
    if given.folds:
        whole = load(given.data, split="all", **options)
        pairs = whole.folds(given.folds)
    else:
        pairs = [(load(given.data, split="train", **options), load(given.data, split="test", **options))]
    if given.pool > 1:
        pairs = [(train.pooled(given.pool), test.pooled(given.pool)) for train, test in pairs]
    return [(_some(train, given.train), _some(test, given.test)) for train, test in pairs]


def _some(store: EventStore, count: int | None) -> EventStore:
    """So many recordings, every k-th, or all."""
    if count is None or count >= len(store):
        return store
    return store.select([i * len(store) // count for i in range(count)])


def _changes(settings: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (equals and name):
            raise Mistake(f"--set: expected FIELD=VALUE, such as input_density=0.1, got {setting!r}")
        parsed = yaml.safe_load(value)
        found[name] = tuple(parsed) if isinstance(parsed, list) else parsed
    return found


def _words() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(
        prog="spiking reservoir", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Turn recordings into the spike counts of a random network, and train a linear readout of them.\n"
        "Presets: maass2002, nalsm, lin2023, random, shd. `spiking reservoir zeroshot --help` is another experiment.",
    )  # fmt: skip
    words.add_argument("preset", help="which liquid")
    words.add_argument("--data", default="digits", help="a data set, such as nmnist or folder:PATH (%(default)s)")
    words.add_argument("--root", help="where the data set's own files lie")
    words.add_argument("--skip-corrupt", action="store_true", help="leave out recordings that can't be read")
    words.add_argument("--out", help="the run folder (default: a new one under runs/)")
    words.add_argument("--neurons", type=int, help="of each liquid (the preset's)")
    words.add_argument("--ensemble", type=int, default=1, help="liquids side by side (%(default)s)")
    words.add_argument("--seeds", type=int, default=1, help="how many seeds, 0, 1, ...: mean and interval")
    words.add_argument("--folds", type=int, default=0, help="cross-validate all recordings instead of the test split")
    words.add_argument("--train", type=int, help="training recordings (all)")
    words.add_argument("--test", type=int, help="test recordings (all)")
    words.add_argument("--dt", type=float, help="step, ms (the preset's)")
    words.add_argument("--steps", type=int, help="steps of a recording; later events are left out (all)")
    words.add_argument("--pool", type=int, default=1, help="neighbouring channels or pixels as one (%(default)s)")
    words.add_argument("--bins", type=int, default=5, help="parts of time that are counted apart (%(default)s)")
    words.add_argument("--parts", default="recording", help="parts of each recording, or of time (%(default)s)")
    words.add_argument("--readout", default="ridge", help="ridge, logistic or sgd (%(default)s)")
    words.add_argument("--branching", type=float, help="branching factor to calibrate to (the preset's)")
    words.add_argument("--rate", type=float, help="or the rate to calibrate to, Hz")
    words.add_argument("--drive", type=float, help="rate by inputs alone, Hz (the preset's; 0: leave it)")
    words.add_argument("--gain", type=float, help="of recurrent synapses, instead of calibration")
    words.add_argument("--input-gain", type=float, help="of input synapses")
    words.add_argument("--sweep", choices=("gain", "input_gain", "both"), help="measure gains on held-out recordings")
    words.add_argument("--gains", type=float, nargs="+", default=(), metavar="GAIN", help="of the sweep (0 to 2)")
    words.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of the preset")
    return words
