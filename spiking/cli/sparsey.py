"""`spiking sparsey WHAT`: single-trial memories of sparse distributed codes, measured, with tables and pictures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from spiking.cli.mistake import Mistake
from spiking.cli.pieces import Pieces, going_on
from spiking.cli.run_folder import release, run_folder

WHAT = {
    "mnist": "learn thinned digits, each once, and classify others",
    "weizmann": "name actions of people that were not learned, from edges of silhouettes",
    "capacity": "how many sequences a memory holds, against its weights",
    "noise": "codes and sequences under noise, beside the closed form",
}
NORMALISE = {"active": "by active features", "band": "by the band"}
UNITS = (4, 8, 16, 32, 64)
HELD_OUT = 10_000  # the last training images, to choose numbers on


def main(argv: Sequence[str]) -> int:
    """Run `spiking sparsey`."""
    words = _words()
    if not argv or argv[0] in ("-h", "--help"):
        words.print_help()
        return 0 if argv else 2
    if argv[0] not in WHAT:
        raise Mistake(f"nothing called {argv[0]!r}; there are {', '.join(WHAT)}")
    given = words.parse_args(argv)
    for name, least in (("seeds", 1), ("per_class", 1), ("sequences", 1), ("draws", 2)):
        if getattr(given, name) < least:
            raise Mistake(f"--{name.replace('_', '-')}: expected at least {least}, got {getattr(given, name)}")
    try:
        data = _data(given)  # what is wrong with the data is said before there is a folder
        folder = run_folder(given.out, f"sparsey-{given.what}", given.resume)
        pieces = Pieces(folder, f"sparsey {given.what}", given, ["seeds"])
        with going_on(folder):
            from spiking.training.report import write_metrics

            write_metrics(folder / "metrics.json", _STUDIES[given.what](given, folder, data, pieces))
    finally:
        release()
    print(folder)
    return 0


def _data(given: argparse.Namespace) -> Any:
    if given.what == "mnist":
        from spiking.datasets import images

        train, labels = images("mnist", "train", given.root)
        if given.on == "test":
            return (train, labels), images("mnist", "test", given.root)
        if len(train) <= HELD_OUT:
            raise Mistake(f"--on valid: expected more than {HELD_OUT} training images, got {len(train)}")
        return (train[:-HELD_OUT], labels[:-HELD_OUT]), (train[-HELD_OUT:], labels[-HELD_OUT:])
    if given.what == "weizmann":
        from spiking.datasets.silhouettes import read
        from spiking.plasticity.sparsey.presets import FIGURE

        if given.root is None:
            raise Mistake("--root: expected the folder of original_masks.mat")
        return read(given.root, *FIGURE)
    return None


def _mnist(given: argparse.Namespace, folder: Path, data: Any, pieces: Pieces) -> dict[str, float]:
    import numpy as np

    from spiking import plots
    from spiking.plasticity.sparsey.study.digits import BLOCK, balanced, digits, lines
    from spiking.training.report import combine

    (train, labels), (test, answers) = data
    seen = lines(test)

    def one(seed: int) -> dict[str, float]:
        chosen = np.arange(len(train)) if given.all else balanced(labels, given.per_class, seed)
        memory, metrics, blocks, guess = digits(
            (lines(train[chosen]), labels[chosen]), (seen, answers), seed, _say(given, seed), not given.all
        )
        found = {f"{given.on}_{k}" if k.endswith("accuracy") else k: v for k, v in metrics.items()}
        if given.all and len(blocks) > 2:
            found |= {"first_block_cpu_seconds": blocks[0], "last_block_cpu_seconds": blocks[-1]}
        if seed == 0:
            folder.mkdir(parents=True, exist_ok=True)
            memory.save(folder / "memory.h5")
            plots.confusion(answers, guess, tuple("0123456789")).savefig(folder / "confusion.png")
            if len(blocks) > 2:
                full = blocks[: len(chosen) // BLOCK]
                plots.learning_time(full, BLOCK).savefig(folder / "time.png")
        return found

    return combine([pieces.of(f"seed {seed}", partial(one, seed)) for seed in range(given.seeds)])


def _weizmann(given: argparse.Namespace, folder: Path, data: Any, pieces: Pieces) -> dict[str, float]:
    from spiking import plots
    from spiking.datasets.silhouettes import ACTIONS
    from spiking.plasticity.sparsey.study import actions
    from spiking.training.report import combine

    def one(seed: int) -> dict[str, float]:
        guess, metrics = actions(data, seed=seed, report=_say(given, seed))
        print(f"{100 * metrics['leave_one_person_out_accuracy']:.1f} % of {len(guess)} sequences", flush=True)
        if seed == 0:
            folder.mkdir(parents=True, exist_ok=True)
            plots.confusion(data.action, guess, ACTIONS).savefig(folder / "confusion.png")
        return metrics

    return combine([pieces.of(f"seed {seed}", partial(one, seed)) for seed in range(given.seeds)])


def _capacity(given: argparse.Namespace, folder: Path, data: None, pieces: Pieces) -> dict[str, float]:
    from spiking import plots
    from spiking.plasticity.sparsey.study.capacity import RECALL, Capacity, capacity, mean

    series: dict[str, list[dict[str, float]]] = {}
    metrics: dict[str, float] = {}
    plan: list[tuple[str, str, dict[str, Any]]] = [
        ("random", "active", {}), ("random", "band", {}), ("correlated", "active", {"lexicon": 100}),
        ("correlated, boosted", "active", {"lexicon": 100, "hypotheses": "boost"}),
    ]  # fmt: skip
    for kind, normalise, more in plan:
        rows = series.setdefault(f"{kind}, {NORMALISE[normalise]}", [])
        for units in UNITS:
            asked = {"normalise": normalise, "most": given.sequences, **more}
            found = [
                Capacity(*pieces.of(f"{kind} {normalise} K={units} seed {seed}", measure))
                for seed in range(given.seeds)
                for measure in [partial(capacity, 9, units, seed=seed, **asked)]
            ]
            held, worth = mean(found)
            each = [one.sequences for one in found]
            rows.append({"units": units, "synapses": found[0].synapses, "sequences": held, "bits_per_synapse": worth})
            name = f"{kind.replace(', ', '_')}.{normalise}.K{units}"
            metrics |= {f"{name}.{key}": float(value) for key, value in rows[-1].items() if key != "units"}
            metrics |= {f"{name}.least_sequences": float(min(each)), f"{name}.most_sequences": float(max(each))}
            spread = f" ({min(each)} to {max(each)})" if len(each) > 1 else ""
            print(
                f"{kind:<21}{NORMALISE[normalise]:<20}Q=9 K={units:<4}{found[0].synapses:>8} weights  "
                f"{held:6.1f} sequences{spread}  {worth:.3f} bits per weight", flush=True,
            )  # fmt: skip
            if held >= given.sequences:
                print(f"  all {given.sequences} are held; --sequences asks for more", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    plots.capacity(series, RECALL).savefig(folder / "capacity.png")
    return metrics


def _noise(given: argparse.Namespace, folder: Path, data: None, pieces: Pieces) -> dict[str, float]:
    import numpy as np

    from spiking import plots
    from spiking.plasticity.sparsey import Sparsey
    from spiking.plasticity.sparsey.study import moved, noise, overlaps, sequences
    from spiking.plasticity.sparsey.study.noise import SETTINGS, share

    folder.mkdir(parents=True, exist_ok=True)
    metrics: dict[str, float] = {}
    curves: dict[str, dict[str, Any]] = {}
    at, fine = (0, 2, 4, 5, 6, 8, 10, 12), np.linspace(0, 1, 201)
    for name, (rule, exponent, Q, K) in SETTINGS.items():
        rows = pieces.of(f"overlap {name}", partial(overlaps, at, given.draws, rule, exponent, Q, K))
        curves[name] = {
            "similarity": fine, "theory": [share(float(v), K, rule, exponent) for v in fine],
            "measured_at": np.array(at) / 12, "measured": [row[0] / Q for row in rows],
            "error": [row[1] / Q for row in rows], "chance": 1 / K,
        }  # fmt: skip
        for value, (measured, error, theory) in zip(at, rows, strict=True):
            print(f"{name:<12}{value:>3} of 12 shared  overlap {measured:7.3f} +- {error:.3f}  theory {theory:7.3f}")
            metrics[f"overlap.{name}.{value}"], metrics[f"overlap.{name}.{value}.theory"] = measured, theory
    plots.code_overlap(curves).savefig(folder / "overlap.png")
    series = {}
    for normalise, said in NORMALISE.items():
        for exponent in (1.0, 4.0):
            asked: dict[str, Any] = {"normalise": normalise, "exponents": (exponent, exponent)}
            runs = [
                pieces.of(f"{normalise} {exponent:g} seed {seed}", partial(noise, range(8), seed=seed, **asked))
                for seed in range(given.seeds)
            ]
            means = [{key: float(np.mean([run[k][key] for run in runs])) for key in runs[0][k]} for k in range(8)]
            series[f"{said}, exponents {exponent:g}"] = means
            for mean in means:
                name = f"{normalise}.exponent{exponent:g}.moved{mean['moved']:g}"
                metrics |= {f"{name}.recall": mean["recall"], f"{name}.familiarity": mean["familiarity"]}
                print(
                    f"{said:<20}exponents {exponent:g}  {mean['moved']:g} features of a frame moved: "
                    f"recall {100 * mean['recall']:5.1f} %  G {mean['familiarity']:.3f}", flush=True,
                )  # fmt: skip
    plots.recall_noise(series, 1 / 16).savefig(folder / "noise.png")
    memory, items = Sparsey.from_preset("capacity"), sequences(10)
    stored = memory.learn(items).winners[0]
    panels = {"as learned": items, "2 features moved": moved(items, 2, 1), "6 features moved": moved(items, 6, 1)}
    shown = {name: memory.recognise(x).winners[0][0, :, 0] for name, x in panels.items()}
    plots.codes(shown, stored[0, :, 0], 16).savefig(folder / "codes.png")
    return metrics


_STUDIES: dict[str, Callable[[argparse.Namespace, Path, Any, Pieces], dict[str, float]]] = {
    "mnist": _mnist, "weizmann": _weizmann, "capacity": _capacity, "noise": _noise,
}  # fmt: skip


def _say(given: argparse.Namespace, seed: int) -> Callable[[str], None]:
    before = f"seed {seed}  " if given.seeds > 1 else ""
    return lambda line: print(f"{before}{line}", flush=True)


def _words() -> argparse.ArgumentParser:
    rows = "\n".join(f"  {name:<10}{text}" for name, text in WHAT.items())
    words = argparse.ArgumentParser(
        prog="spiking sparsey", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Measure single-trial memories of sparse distributed codes:\n{rows}",
    )
    words.add_argument("what", help="what to measure")
    words.add_argument("--root", help="where the data set's own files lie (mnist, weizmann)")
    words.add_argument("--out", help="the run folder (default: a new one under runs/)")
    words.add_argument("--resume", action="store_true", help="go on with the interrupted run in --out")
    words.add_argument("--seeds", type=int, default=1, help="how many seeds, 0, 1, ...")
    words.add_argument("--per-class", type=int, default=200, help="mnist: training images of a class (%(default)s)")
    words.add_argument("--all", action="store_true", help="mnist: learn all training images in one pass")
    words.add_argument("--on", choices=("test", "valid"), default="test",
                       help="mnist: classify test images, or the last 10,000 training images, held out")  # fmt: skip
    words.add_argument("--sequences", type=int, default=400, help="capacity: the most to learn (%(default)s)")
    words.add_argument("--draws", type=int, default=2000, help="noise: codes drawn at each similarity (%(default)s)")
    return words
