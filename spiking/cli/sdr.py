"""`spiking sdr`: the mathematics of sparse representations and of Hebbian memories, theory beside simulation."""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spiking.cli.mistake import Mistake
from spiking.cli.pieces import Pieces, going_on
from spiking.cli.run_folder import release, run_folder

if TYPE_CHECKING:
    from spiking.plasticity.curve import Curve

PARTS = {
    "cells": "false matches of a segment against the number of cells",
    "synapses": "false matches against the number of synapses",
    "shared": "false matches against the patterns on one segment",
    "union": "false matches against the patterns in a union",
    "noise": "false negatives against the share of cells that is lost",
    "stored": "one of many stored vectors matches a random one",
    "threshold": "the median of false matches against the threshold",
    "sequence": "predictions of a memory of sequences against the number of cells",
    "dense": "errors of dense Hebbian networks against their load",
    "hopfield": "overlaps at which Hopfield's network settles",
    "multitasking": "overlaps with several patterns at once against their dilution",
    "pavlovian": "responses of linear attention, Hebbian and by the delta rule",
}
SEGMENTS = ("cells", "synapses", "shared", "union", "noise", "stored", "threshold", "sequence")


def main(argv: Sequence[str]) -> int:
    """Run `spiking sdr`."""
    given = _words().parse_args(argv)
    unknown = [part for part in given.parts if part not in PARTS]
    if unknown:
        raise Mistake(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    if given.pairs < 1000:
        raise Mistake(f"--pairs: expected at least 1000, got {given.pairs}")
    if given.seed < 0:
        raise Mistake(f"--seed: expected 0 or more, got {given.seed}")
    if not 0 < given.scale <= 10:
        raise Mistake(f"--scale: expected above 0, at most 10, got {given.scale}")
    parts = [part for part in PARTS if not given.parts or part in given.parts]
    try:
        folder = run_folder(given.out, "sdr", given.resume)
        folder.mkdir(parents=True, exist_ok=True)
        pieces = Pieces(folder, "sdr", given, ["parts"])
        with going_on(folder):
            return _all(given, parts, folder, pieces)
    finally:
        release()


def _all(given: argparse.Namespace, parts: list[str], folder: Path, pieces: Pieces) -> int:
    from spiking.datasets.progress import progress_bar
    from spiking.plasticity.curve import Curve
    from spiking.plasticity.memory import curves as memories
    from spiking.plasticity.sdr import curves as segments
    from spiking.plots.theory import theory
    from spiking.training.report import write_metrics

    begin = time.monotonic()
    found: dict[str, list[Curve]] = {}
    metrics: dict[str, float] = {}
    for part in progress_bar(parts, "theory and simulation", True):
        figure = segments.FIGURES[part] if part in SEGMENTS else memories.FIGURES[part]
        measure = partial(_measured, figure, given.pairs if part in SEGMENTS else given.scale, given.seed)
        found[part] = [Curve(**curve) for curve in pieces.of(part, measure)]
        numbers = pieces.of(f"{part}, numbers", partial(_numbers, part, found[part], given))
        metrics |= {f"{part}.{name}": value for name, value in numbers.items()}
    _write_table(folder / "curves.csv", found)
    panels = _panels()
    for name, group in (("sdr", SEGMENTS), ("memory", tuple(part for part in PARTS if part not in SEGMENTS))):
        drawn = [(panels[part], found[part]) for part in group if part in found]
        if drawn:
            theory(drawn, 4 if name == "sdr" else 2).savefig(folder / f"{name}.png")
    metrics["seconds"] = time.monotonic() - begin
    write_metrics(folder / "metrics.json", metrics)
    print(_table(parts, metrics))
    print(folder)
    return 0


def _measured(figure: Callable[..., list[Curve]], size: Any, seed: int) -> list[dict[str, Any]]:
    return [asdict(curve) for curve in figure(size, seed)]


def _numbers(part: str, curves: list[Curve], given: argparse.Namespace) -> dict[str, float]:
    """What a figure comes to: how far simulation lies from theory, and what theory alone says."""
    import numpy as np

    from spiking.plasticity import memory, sdr

    z = [z for curve in curves for z in curve.z]
    numbers: dict[str, float] = {}
    off = [m - t for c in curves for m, t in zip(c.measured, c.theory, strict=True) if np.isfinite(m - t)]
    numbers["points"] = len(off)
    if off:
        numbers["largest_difference"] = float(np.abs(off).max())
    if z and part != "dense":  # whose law is one of many neurons
        numbers |= {"largest_z": float(np.abs(z).max()), "mean_square_z": float(np.square(z).mean())}
    if part == "threshold":
        numbers |= {f"median_{theta}": sdr.median_error(theta) for theta in (5, 8, 9, 10, 12, 16, 20)}
        numbers["least"] = sdr.least_threshold()
    if part == "hopfield":
        numbers["capacity"] = memory.capacity()
    if part == "multitasking":
        neurons = round(200_000 * given.scale)
        numbers["kink"] = memory.kink(len(curves))
        numbers["measured_kink"] = memory.simulate.departure(neurons, len(curves), given.seed)
    return numbers


def _panels() -> dict[str, Any]:
    from spiking.plasticity.memory import capacity, kink
    from spiking.plots.theory import Panel

    rate = "false matches"
    return {
        "cells": Panel("24 synapses, threshold 12", "cells n", rate, log=True, low=1e-17, high=5),
        "synapses": Panel("threshold s/2", "synapses s", rate, log=True, low=1e-26, high=5, legend="lower left"),
        "noise": Panel(
            "128 active cells, 30 synapses", "share of active cells lost", "false negatives", log=True, low=1e-12,
            high=5,
        ),
        "union": Panel("40 of 4000 cells active", "patterns in the union", rate, log=True, low=1e-16, high=5),
        "stored": Panel("vectors of 7 of 100 cells", "threshold", "one of them matches", log=True, low=1e-8, high=50),
        "threshold": Panel(
            "210 populations and segments", "threshold", rate, log=True, low=1e-36, high=50, legend="lower left",
            marks={8: "least threshold\nof NMDA spikes"},
        ),
        "shared": Panel(
            "20 synapses a pattern, threshold 10", "patterns on one segment", rate, log=True, low=1e-16, high=5
        ),
        "sequence": Panel("20 synapses, threshold 10", "cells n", "next cells of those predicted", low=0, high=1.05),
        "dense": Panel(
            "dense Hebbian", "K (2P-3)!! / N^(P-1)", "neurons wrong after one sweep", log=True, xlog=True, low=1e-4
        ),
        "hopfield": Panel(
            "Hopfield", "patterns a neuron", "overlap when settled", low=0, high=1.05,
            marks={capacity(): f"{capacity():.3f}"},
        ),
        "multitasking": Panel(
            "multitasking, three patterns", "dilution d", "overlap m", marks={kink(3): f"{kink(3):.3f}"}
        ),
        "pavlovian": Panel("Pavlovian", "stimuli learned / d", "cosine of response and outcome", low=0.4),
    }  # fmt: skip


def _write_table(path: Path, found: dict[str, list[Curve]]) -> None:
    rows = [row for part, curves in found.items() for curve in curves for row in curve.rows(part)]
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def _table(parts: list[str], metrics: dict[str, float]) -> str:
    lines = [f"{'part':<14}{'points':>7}{'largest difference':>21}{'largest z':>12}{'mean z^2':>11}"]
    for part in parts:
        points, off, z, square = (
            metrics.get(f"{part}.{name}") for name in ("points", "largest_difference", "largest_z", "mean_square_z")
        )
        numbers = [f"{value:.2f}" if value is not None else "" for value in (z, square)]
        difference = f"{off:.2e}" if off is not None else ""
        lines.append(f"{part:<14}{points:>7.0f}{difference:>21}{numbers[0]:>12}{numbers[1]:>11}")
    return "\n".join(lines)


def _words() -> argparse.ArgumentParser:
    rows = "\n".join(f"  {name:<14}{text}" for name, text in PARTS.items())
    words = argparse.ArgumentParser(
        prog="spiking sdr", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Theory beside simulation, tables and pictures. Parts (all of them):\n{rows}",
    )  # fmt: skip
    words.add_argument("parts", nargs="*", metavar="PART", help="which to do")
    words.add_argument("--pairs", type=int, default=10**6, help="patterns times segments at a point (%(default)s)")
    words.add_argument("--scale", type=float, default=1.0, help="size of the memories, 1 is full (%(default)s)")
    words.add_argument("--seed", type=int, default=0, help="of all that is drawn (%(default)s)")
    words.add_argument("--resume", action="store_true", help="go on with the interrupted run in --out")
    words.add_argument("--out", help="the run folder (default: a new one under runs/)")
    return words
