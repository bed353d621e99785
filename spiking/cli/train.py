"""`spiking train PRESET`: a packaged YAML preset, overrides from the command line, one run folder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spiking.cli.mistake import Mistake
from spiking.cli.run_folder import release, run_folder

if TYPE_CHECKING:
    from spiking.training.fit import Outcome

WORDS = (
    "the folder or archive with <word>_<speaker>_<index>.wav or .flac, such as those of the Free Spoken Digit Dataset "
    "(github.com/Jakobovski/free-spoken-digit-dataset)"
)
NEEDS_ROOT = {
    "nmnist": "the folder with Train/<digit>/*.bin and Test/<digit>/*.bin, or an archive of it (N-MNIST, Orchard 2015, "
    "www.garrickorchard.com/datasets/n-mnist; `spiking datasets prepare nmnist` downloads it through tonic into the "
    "folder nmnist of the data cache that `spiking doctor` names)",
    "spoken": WORDS,
    "spoken-delays": WORDS,
    "elm-spoken": WORDS,
    "elm-spoken-adding": WORDS,
    "elm-l5pc": "the folder with train_*.npz, valid_*.npz and test_*.npz, simulations of one neuron, or with folders "
    "train, valid and test of NeuronIO's files (kaggle.com/datasets/selfishgene/"
    "single-neurons-as-deep-nets-nmda-test-data and -train-data)",
    "folder": "a folder of your own recordings, one sub-folder a class with .npz, .h5 or .csv files",
}
TINY = "tiny-llm"
Runs = dict[str, tuple[int | None, list[str]]]  # by name, the seed and overrides of its own


def presets() -> list[str]:
    """Names of the packaged presets."""
    return sorted(p.name.removesuffix(".yaml") for p in files("spiking.presets").iterdir() if p.name.endswith(".yaml"))


def preset_file(name: str) -> Path:
    """Where a preset's YAML lies."""
    return Path(str(files("spiking.presets") / f"{name}.yaml"))


def main(argv: Sequence[str]) -> int:
    """Run `spiking train`."""
    if argv and argv[0] == TINY:
        from spiking.cli.tiny_llm import main as tiny

        return tiny(argv[1:])
    words = _words()
    if not argv or argv[0] in ("-h", "--help"):
        words.print_help()
        return 0 if argv else 2
    preset = argv[0]
    if preset not in presets():
        raise Mistake(f"no preset {preset!r}; there are {', '.join([*presets(), TINY])}")
    given, overrides = words.parse_known_args(argv)
    if given.options:
        from spiking.cli.config import parser

        parser(preset, preset_file(preset)).print_help()
        return 0
    if given.seeds is not None and given.seeds < 1:
        raise Mistake(f"--seeds: expected at least 1, got {given.seeds}")
    if given.seeds is not None and given.seed is not None:
        raise Mistake("--seed: --seeds trains seeds 0, 1, ...; give one of the two")
    if given.leave_out is not None and given.seeds is not None:
        raise Mistake("--leave-out: trains once for each value of a column; give it or --seeds")
    if given.leave_out is not None and "task:" in preset_file(preset).read_text():
        raise Mistake(f"--leave-out: {preset} draws its sequences, which have no columns; --seeds trains several seeds")
    if given.leave_out is not None and given.beside is not None:
        raise Mistake("--beside: controls train with --seeds or once, not with --leave-out")
    if given.root is not None:
        overrides += ["--data.root", given.root]
    elif preset in NEEDS_ROOT and not given.resume and not any(
        o.startswith(("--data.root", "--config")) for o in overrides
    ):
        raise Mistake(f"--root: {preset} needs {NEEDS_ROOT[preset]}")
    if given.skip_corrupt:
        overrides += ["--data.skip_corrupt", "true"]
    try:
        folder = run_folder(given.out, preset, given.resume)
        return _train(preset, given, overrides, folder)
    finally:
        release()


def _words() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(
        prog="spiking train", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Train a network on event recordings. Presets: {', '.join(presets())}; "
        f"`spiking train {TINY}` trains a language model to convert.",
        epilog="Everything in a preset can be overridden, for example --trainer.max_epochs 5 --model.lr 0.001\n"
        "--model.options.dropout 0.2 --data.batch_size 32; --config FILE puts a YAML file over it.\n"
        "`spiking train PRESET --options` lists all of them.",
    )  # fmt: skip
    words.add_argument("preset", help="what to train")
    words.add_argument("--root", help="where the data set's own files lie")
    words.add_argument("--skip-corrupt", action="store_true", help="leave out recordings that can't be read")
    words.add_argument("--out", help="the run folder (default: a new one under runs/)")
    words.add_argument("--seeds", type=int, help="train this many seeds, 0, 1, ...: mean and interval")
    words.add_argument("--seed", type=int, help="of weights, order and augmentation (default 0)")
    words.add_argument(
        "--leave-out", metavar="COLUMN",
        help="train once for each value of a column (speaker), validating on it; the test recordings stay unseen",
    )  # fmt: skip
    words.add_argument(
        "--beside", metavar="NAMES", help="train these controls of the preset too, such as lstm,tcn; `all` of them"
    )
    words.add_argument("--resume", action="store_true", help="go on with the run in --out")
    words.add_argument("--options", action="store_true", help="list every override and leave")
    return words


def _train(preset: str, given: argparse.Namespace, overrides: list[str], folder: Path) -> int:
    from spiking.training.report import write_metrics
    from spiking.training.run import summary

    controls = _controls(preset, overrides, given)
    outcome, metrics = _network(preset, overrides, folder, given)
    beside = {}
    for control in controls:
        if outcome.interrupted:
            break
        print(control)
        outcome, beside[control] = _network(preset, overrides, folder / control, given, control)
    if outcome.reports:
        if metrics:
            print(summary(metrics))
        for control, found in beside.items():
            metrics |= {f"{control}.{name}": value for name, value in found.items()}
            if found:
                print(f"{control}\n{summary(found)}")
        if metrics:
            write_metrics(folder / "metrics.json", metrics)
        if outcome.interrupted:
            print(f"interrupted; the same command with --out {folder} --resume goes on")
        print(folder)
    return 1 if outcome.interrupted else 0


def _network(
    preset: str, overrides: list[str], folder: Path, given: argparse.Namespace, control: str | None = None
) -> tuple[Outcome, dict[str, float]]:
    """The runs of one network, the preset's or a control: how the last one ended, and the metrics of all."""
    from spiking.training.report import combine, combine_folds

    if given.seeds is None and given.leave_out is None:
        outcome = _one(preset, overrides, folder, given.seed, given.resume, control=control)
        return outcome, outcome.metrics
    runs = {}
    plan = _folds(preset, overrides, given) if given.leave_out else _seeds(given)
    for name, (seed, own) in plan.items():
        print(name)
        outcome = _one(preset, overrides, folder / name, seed, given.resume, own, control)
        if outcome.interrupted:
            break
        runs[name] = outcome.metrics
    join = combine_folds if given.leave_out else combine
    return outcome, join(list(runs.values()), list(runs)) if outcome.reports and runs else {}


def _controls(preset: str, overrides: list[str], given: argparse.Namespace) -> list[str]:
    """Names of the controls to train beside the network, checked before anything trains."""
    if given.beside is None:
        return []
    from spiking.cli.config import parse, put_beside

    config = parse(preset, overrides, preset_file(preset), given.seed)
    names = list(config.controls) if given.beside == "all" else given.beside.split(",")
    for name in names:
        put_beside(config, name)
    return names


def _seeds(given: argparse.Namespace) -> Runs:
    """A run for each seed."""
    return {f"seed{seed}": (seed, []) for seed in range(given.seeds)}


def _folds(preset: str, overrides: list[str], given: argparse.Namespace) -> Runs:
    """A run for each value of a column, which validates on it."""
    from spiking.cli.config import parse, values

    column = ["--data.valid_by", given.leave_out]
    found = values(parse(preset, [*overrides, *column], preset_file(preset), given.seed))
    return {
        f"{given.leave_out}-{value}".replace("/", "_"): (given.seed, [*column, "--data.fold", str(k)])
        for k, value in enumerate(found)
    }


def _one(
    preset: str, overrides: list[str], folder: Path, seed: int | None, resume: bool, own: Sequence[str] = (),
    control: str | None = None,
) -> Outcome:
    """One run, with overrides of its `own`, maybe of a control; a finished one is not run again."""
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    from spiking.cli.config import instantiate, parse, put_beside, save
    from spiking.training import Outcome, run, tasks

    kept = folder / "config.yaml"
    resume = resume and kept.is_file()
    if resume and _finished(folder, overrides):
        return Outcome(json.loads((folder / "metrics.json").read_text()), interrupted=False)
    config = parse(preset, [*overrides, *own], kept if resume else preset_file(preset), seed)
    if control is not None and not resume:
        put_beside(config, control)
    model, data, trainer = instantiate(config)
    folder.mkdir(parents=True, exist_ok=True)
    save(config, kept)
    try:
        go: Any = tasks.run if isinstance(model, tasks.TaskModel) else run
        outcome: Outcome = go(model, data, trainer, folder, resume)
        return outcome
    except (MisconfigurationException, FloatingPointError) as error:
        raise Mistake(str(error)) from error


def _finished(folder: Path, overrides: list[str]) -> bool:
    path = folder / "metrics.json"
    return not overrides and path.is_file() and "interrupted" not in json.loads(path.read_text())
