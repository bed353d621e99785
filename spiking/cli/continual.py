"""`spiking continual STREAM`: methods against forgetting on a stream of tasks, over seeds, with a report.

Each method and seed has a folder with a checkpoint of its last finished task. Runs share the machine as processes that
begin anew (spawn), with as many threads each as there are cores for them.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spiking.cli.jobs import Board, Steps, Tell, side_by_side, teller
from spiking.cli.mistake import Mistake
from spiking.cli.pieces import going_on
from spiking.cli.run_folder import release, run_folder
from spiking.datasets.errors import DataError

if TYPE_CHECKING:
    from spiking.plasticity.continual import Result, Stream

STREAMS = {
    "permuted-mnist": "ten orders of the pixels of MNIST",
    "rotated-mnist": "MNIST turned by 0, 18, 36, ... degrees",
    "split-mnist": "pairs of digits",
    "split-fashion": "pairs of Fashion-MNIST's classes",
    "split-nmnist": "pairs of N-MNIST's digits, event recordings",
}
CONTROL = "ann-"
# options of some streams only: what they are by default, and which kinds or sources use them
OF_STREAMS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "tasks": (10, ("permuted", "rotated")), "run": (0, ("permuted",)), "classes": (2, ("split",)),
    "setting": ("task", ("split",)), "dt": (5.0, ("nmnist",)), "steps": (6, ("mnist", "fashion")),
    "skip_corrupt": (False, ("nmnist",)),
}  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Run `spiking continual`."""
    words = _words()
    if not argv or argv[0] in ("-h", "--help"):
        words.print_help()
        return 0 if argv else 2
    given = words.parse_args(argv)
    if given.stream not in STREAMS:
        raise Mistake(f"no stream {given.stream!r}; there are {', '.join(STREAMS)}")
    methods, options = _methods(given.method), _options(given.set)
    _check(given)
    unused = sorted(set(options) - {*methods, *(method.removeprefix(CONTROL) for method in methods)})
    if unused:
        raise Mistake(f"--set: {', '.join(unused)} is none of the methods {', '.join(methods)}")
    import torch

    from spiking.plasticity.continual.run import made

    try:
        torch.zeros(1, device=given.device)
    except (RuntimeError, AssertionError) as error:
        raise Mistake(f"--device: {str(error).splitlines()[0]}") from error
    try:
        stream = _stream(given)  # what is wrong with data or options is said before there is a folder
        for method in methods:
            made(stream, *_asked(given, options, method), device=given.device)
        folder = run_folder(given.out, given.stream, given.resume)
        return _all(given, methods, options, stream, folder)
    except DataError:
        raise
    except (ValueError, FloatingPointError) as error:
        raise Mistake(str(error)) from error
    finally:
        release()


def _all(
    given: argparse.Namespace, methods: list[str], options: dict[str, dict[str, Any]], stream: Stream, folder: Path
) -> int:
    from spiking.plasticity.continual import report
    from spiking.training.report import combine, write_metrics

    plan = [(method, seed) for seed in range(given.seeds) for method in methods]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    jobs = min(given.jobs or cores, len(plan))
    work = partial(_one, given, options, folder, max(1, cores // jobs))
    try:
        with going_on(folder), Board() as board:
            if jobs == 1:
                found = [_one(given, options, folder, None, *pair, stream, board.take) for pair in plan]
            else:
                found = side_by_side(work, plan, jobs, board)
    except BrokenProcessPool as error:
        raise DataError(
            f"a run was killed, maybe for want of memory; the same command with --out {folder} --resume goes on, "
            "--jobs 1 needs the least"
        ) from error
    results: dict[str, dict[int, Result]] = {method: {} for method in methods}
    for (method, seed), result in zip(plan, found, strict=True):
        results[method][seed] = result
    for method, seeds in results.items():
        reference = results.get(CONTROL + "cumulative" if method.startswith(CONTROL) else "cumulative")
        for seed, result in seeds.items():
            if reference is not None and seeds is not reference and not result.at_once:
                result.joint = reference[seed].R.diagonal().tolist()
    per_seed = [
        {f"{method}.{name}": value for method in methods for name, value in results[method][seed].metrics.items()}
        for seed in range(given.seeds)
    ]
    metrics = combine(per_seed)
    write_metrics(folder / "metrics.json", metrics)
    report.write_matrix(folder / "R.csv", results)
    if given.every:
        report.write_inside(folder / "inside.csv", results)
    pictures = report.draw(folder, results)
    said = {k: v for k, v in vars(given).items() if k not in ("root", "out", "resume", "jobs")}
    about = {name: value for name, value in {**said, **stream.describe()}.items() if value not in (None, [])}
    report.write_page(folder / "report.html", f"{given.stream}: what is kept", metrics, methods, about, pictures)
    print(report.table(metrics, methods))
    print(folder)
    return 0


def _one(
    given: argparse.Namespace, options: dict[str, dict[str, Any]], folder: Path, threads: int | None, method: str,
    seed: int, stream: Stream | None = None, tell: Tell | None = None,
) -> Result:
    """One method with one seed; in a process of its own it makes the stream anew."""
    import torch

    from spiking.plasticity.continual import run

    if threads is not None:
        torch.set_num_threads(threads)
    name, model, chosen = _asked(given, options, method)
    tell, who = teller(tell), f"seed {seed}  {method}"
    stream = _stream(given) if stream is None else stream
    try:
        return run(
            stream, name, model,
            lr=given.lr, epochs=given.epochs, batch_size=given.batch_size, seed=seed, order=given.order,
            options=chosen, folder=folder / f"seed{seed}" / method, on=given.on, every=given.every,
            device=given.device, report=lambda line: tell(("line", f"seed {seed}  {method:<20}{line}")),
            watch=Steps(tell, who, len(stream.tasks)),
        )  # fmt: skip
    except FloatingPointError as error:
        raise FloatingPointError(
            f"{method}, seed {seed}: {error}; the same command without {method} goes on with the other methods by "
            f"--out {folder} --resume"
        ) from error
    finally:
        tell(("end", who))


def _asked(
    given: argparse.Namespace, options: dict[str, dict[str, Any]], method: str
) -> tuple[str, Any, dict[str, Any]]:
    """Name, model and options of a method as `run` takes them."""
    from spiking.plasticity.continual import contexts
    from spiking.plasticity.continual.models import STEPS, default

    name, kind = method.removeprefix(CONTROL), "ann" if method.startswith(CONTROL) else "snn"
    chosen = {**options.get(name, {}), **options.get(method, {})}
    if name in contexts.NAMES:  # these bring their network
        widths = {"widths": given.widths} if given.widths and name == "dendrites" else {}
        return name, None, {**widths, **chosen}
    return name, partial(default, kind=kind, widths=given.widths, steps=given.steps or STEPS), chosen


def _stream(given: argparse.Namespace) -> Stream:
    from spiking.plasticity.continual import streams

    kind, _, source = given.stream.partition("-")
    shared: dict[str, Any] = {"root": given.root, "valid": given.valid}
    if kind == "split":
        binning = {"dt": given.dt, "skip_corrupt": given.skip_corrupt} if source == "nmnist" else {}
        return streams.split(source, classes=given.classes, setting=given.setting, **shared, **binning)
    if kind == "rotated":
        return streams.rotated(source, tasks=given.tasks, **shared)
    return streams.permuted(source, tasks=given.tasks, run=given.run, **shared)


def _check(given: argparse.Namespace) -> None:
    """Refuse numbers that can't be and options that the stream has no use for; fill in what it uses."""
    for name in ("seeds", "jobs", "epochs", "batch_size", "tasks", "every", "steps"):
        value = getattr(given, name)
        if value is not None and value < 1:
            raise Mistake(f"--{name.replace('_', '-')}: expected at least 1, got {value}")
    for name in ("run", "order"):
        if (getattr(given, name) or 0) < 0:
            raise Mistake(f"--{name}: expected 0 or more, got {getattr(given, name)}")
    if given.widths is not None and min(given.widths) < 1:
        raise Mistake(f"--widths: expected at least 1 each, got {' '.join(map(str, given.widths))}")
    if not 0 < given.lr < math.inf:
        raise Mistake(f"--lr: expected a number above 0, got {given.lr:g}")
    if given.on not in ("test", "valid"):
        raise Mistake(f"--on: expected test or valid, got {given.on!r}")
    if given.on == "valid" and not given.valid:
        raise Mistake("--on: the stream has no validation examples; hold some out with --valid 0.1")
    kind, _, source = given.stream.partition("-")
    if given.tasks is not None and kind == "split":
        raise Mistake(f"--tasks: {given.stream} has as many as --classes makes; give that")
    for name, (value, streams) in OF_STREAMS.items():
        used = kind in streams or source in streams
        if getattr(given, name) is not None and not used:
            flag = name.replace("_", "-")
            raise Mistake(f"--{flag}: {given.stream} has no use for it; it is for {' and '.join(streams)}")
        if getattr(given, name) is None and used:
            setattr(given, name, value)


def _methods(text: str) -> list[str]:
    from spiking.plasticity.continual import contexts
    from spiking.plasticity.continual.methods import check_name

    methods = [method.strip() for method in text.split(",") if method.strip()]
    if not methods or len(set(methods)) < len(methods):
        raise Mistake(f"--method: expected different methods, separated by commas, got {text!r}")
    for method in methods:
        try:
            check_name(method.removeprefix(CONTROL))
        except ValueError as error:
            raise Mistake(f"--{error}; {CONTROL}... is the control without spikes") from error
        if method.startswith(CONTROL) and method.removeprefix(CONTROL) in contexts.NAMES:
            raise Mistake(f"--method: {method.removeprefix(CONTROL)} has no spikes, so there is no {method}")
    return methods


def _options(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        method, dot, name = key.partition(".")
        if not (equals and dot and method and name):
            raise Mistake(f"--set: expected METHOD.OPTION=VALUE, such as ewc.strength=100, got {setting!r}")
        try:
            found.setdefault(method, {})[name] = _number(yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise Mistake(f"--set: {key}={value} can't be read as YAML") from error
    return found


def _number(value: Any) -> Any:
    """The value; YAML takes 1e3 for a word, since it has no point."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _words() -> argparse.ArgumentParser:
    from spiking.plasticity.continual.methods import NAMES

    rows = "\n".join(f"  {name:<16}{text}" for name, text in STREAMS.items())
    words = argparse.ArgumentParser(
        prog="spiking continual", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Learn tasks one after the other and measure what is kept. Streams:\n{rows}",
        epilog=f"Methods: {', '.join(NAMES)};\n{CONTROL}NAME is the same with a network without spikes.",
    )  # fmt: skip
    words.add_argument("stream", help="what to learn")
    words.add_argument("--method", default="hlop,sequential", help="methods, separated by commas (%(default)s)")
    words.add_argument("--seeds", type=int, default=1, help="how many seeds, 0, 1, ...: mean and interval")
    words.add_argument("--root", help="where the data set's own files lie")
    words.add_argument("--out", help="the run folder (default: a new one under runs/)")
    words.add_argument("--resume", action="store_true", help="go on with the runs in --out, each from its last task")
    words.add_argument("--jobs", type=int, help="runs at a time (default: as many as there are cores)")
    words.add_argument("--tasks", type=int, help="tasks of a permuted or rotated stream (10)")
    words.add_argument("--run", type=int, help="r of the published permutations, seeds 100 r + i (0)")
    words.add_argument("--order", type=int, help="seed of the order of tasks")
    words.add_argument("--classes", type=int, help="classes of a task of a split stream (2)")
    words.add_argument("--setting", help="of a split stream: task, domain or class (task)")
    words.add_argument("--dt", type=float, help="step of event recordings, ms (5)")
    words.add_argument(
        "--skip-corrupt", action="store_true", default=None, help="leave out recordings that can't be read"
    )
    words.add_argument("--valid", type=float, default=0.0, help="share of training held out for validation")
    words.add_argument("--on", default="test", help="what accuracies are of: test, or valid to choose numbers by")
    words.add_argument("--widths", type=int, nargs="+", help="neurons of hidden layers (800 800, events 256)")
    words.add_argument("--steps", type=int, help="steps for which an image is shown (6)")
    words.add_argument("--lr", type=float, default=0.1, help="of plain gradient descent (%(default)s)")
    words.add_argument("--epochs", type=int, default=1, help="through each task (%(default)s)")
    words.add_argument("--batch-size", type=int, default=64, help="examples of a step (%(default)s)")
    words.add_argument("--every", type=int, help="measure inside tasks too, every so many steps")
    words.add_argument(
        "--set", action="append", default=[], metavar="METHOD.OPTION=VALUE", help="an option of a method; repeatable"
    )
    words.add_argument("--device", default="cpu", help="where the models run (%(default)s)")
    return words
