"""What a measurement leaves: a table, metrics.json (flat), results.json (every round) and a picture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from spiking.bench.run import Result, Row
from spiking.plots import ratios

MB = 1e6
HEAD = (
    "| peer, in its way | forward | backward | both (least to most) ms | ours ms | ratio (least to most) "
    "| memory, theirs and ours MB |",
    "|---|---|---|---|---|---|---|",
)


def table(result: Result) -> str:
    """The rows of an op in Markdown, and what the fastest library comes to."""
    work, lines = result.work, []
    size = f"T={work.T}, B={work.B}, {work.inputs} -> {work.N}, {100 * work.density:g} % events"
    kind = "" if result.surrogate == "none" else f", {result.surrogate}"
    lines.append(f"**{work.name}**{kind}: {work.about}; {size}\n")
    lines += HEAD
    lines += [_row(row) for row in result.rows]
    if result.gemm.forward:
        f, b = median(result.gemm.forward), median(result.gemm.backward)
        lines.append(f"\nThe dense product alone: {f:.1f} + {b:.1f} ms.")
    best = result.fastest
    if best is not None:
        name = best.peer if best.peer != "torch" else "torch by hand, no library has it"
        lines.append(f"Fastest: {name}, {best.mode}; ratio {best.ratio[0]:.1f}.")
    for what, why in result.refused.items():
        lines.append(f"No ratio for {what}, which disagrees: {why}.")
    for what, why in result.failed.items():
        lines.append(f"{what} failed: {why}.")
    return "\n".join(lines)


def _row(row: Row) -> str:
    theirs, ours = row.theirs, row.ours
    weight = ", ".join(f"{n / MB:.1f}" for n in (row.their_bytes, row.our_bytes) if n is not None)
    middle, low, high = row.ratio
    return (
        f"| {row.peer}: {row.mode} | {median(theirs.forward):.1f} | {median(theirs.backward):.1f} "
        f"| {theirs.median:.1f} ({min(theirs.total):.1f} to {max(theirs.total):.1f}) "
        f"| {ours.median:.1f} ({min(ours.total):.1f} to {max(ours.total):.1f}) "
        f"| {middle:.1f} ({low:.1f} to {high:.1f}) | {weight} |"
    )


def metrics(results: Iterable[Result]) -> dict[str, float]:
    """Flat numbers, by op, surrogate, peer and mode."""
    found: dict[str, float] = {}
    for result in results:
        for row in result.rows:
            found[f"{row.key}.ms"] = row.theirs.median
            found[f"{row.key}.ours_ms"] = row.ours.median
            found[f"{row.key}.ratio"] = row.ratio[0]
            found[f"{row.key}.firing"] = row.agreement.firing
            for name, n in (("bytes", row.their_bytes), ("ours_bytes", row.our_bytes)):
                if n is not None:
                    found[f"{row.key}.{name}"] = n
        best = result.fastest
        if best is not None:
            kind = [] if result.surrogate == "none" else [result.surrogate]
            found[".".join([result.work.name, *kind, "fastest.ratio"])] = best.ratio[0]
    return found


def write(folder: Path, results: Sequence[Result], about: Mapping[str, Any]) -> list[Path]:
    """The files of a measurement.

    Arguments:
        folder: where they go; there and writable.
        results: of all ops.
        about: versions, threads and device.

    Returns:
        their paths.
    """
    files = [folder / name for name in ("metrics.json", "results.json", "ratios.png")]
    files[0].write_text(json.dumps(metrics(results), indent=1))
    files[1].write_text(json.dumps({"environment": dict(about), "results": [asdict(r) for r in results]}, indent=1))
    groups = {
        result.work.name + ("" if result.surrogate == "none" else f", {result.surrogate}"): {
            f"{row.peer}: {row.mode}": row.ratio for row in result.rows
        }
        for result in results
        if result.rows
    }
    if not groups:
        return files[:2]
    ratios(groups, note=", ".join(f"{key} {value}" for key, value in about.items())).savefig(files[2])
    return files
