"""`spiking doctor [--warm]`: what this machine has and what runs where."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Run `spiking doctor`."""
    words = argparse.ArgumentParser(
        prog="spiking doctor", allow_abbrev=False, description="Say what this machine has and what runs where."
    )
    words.add_argument("--warm", action="store_true", help="compile the CPU kernels now rather than in the first run")
    given = words.parse_args(argv)
    from spiking import doctor

    print(doctor.report())
    if given.warm:
        from spiking.training.warm import warm

        print("\ncompiling the CPU kernels", flush=True)
        warm(lambda line: print(line, flush=True), elm=True)
    return 0
