"""Registers, shared memory and spills of every Triton kernel, compiled for GPUs that need not be there.

    python benchmarks/compile_report.py

prints the table of docs/gpu.md. It says what a kernel takes, not how fast it runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import triton

from spiking.kernels.aot import TARGETS, build, resources, variants


def report(targets: Sequence[str], only: str = "") -> str:
    """A Markdown table, a row for each variant whose name holds `only`, a column for each target."""
    rows = [f"| kernel | {' | '.join(targets)} |", "|---" * (1 + len(targets)) + "|"]
    for variant in variants():
        if only in variant.name:
            used = [resources(build(variant, target)) for target in targets]
            rows.append(
                f"| {variant.name} | " + " | ".join(f"{u.registers} / {u.shared} / {u.spills}" for u in used) + " |"
            )
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="all of them when not given")
    parser.add_argument("--only", default="", help="kernels whose name holds this text")
    given = parser.parse_args(arguments)
    print(report(given.target or list(TARGETS), given.only))
    print(f"Registers a thread / bytes of shared memory / bytes spilled; triton {triton.__version__}.")


if __name__ == "__main__":
    main()
