"""Wrong arguments never reach a kernel: random calls under Numba's bounds checks and the interpreter's guard."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .guard import bounds
from .malformed import OPS, tries

EXAMPLES = 40  # of each op


def enough(ran: int, refused: int) -> bool:
    """Whether the calls were of both kinds."""
    return min(ran, refused) >= EXAMPLES // 10


def test_random_calls_under_bounds_checks() -> None:
    """In a process of its own, because Numba reads the variable when it compiles."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.malformed", str(EXAMPLES)], cwd=root, capture_output=True, text=True,
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == list(OPS)
    assert all(enough(int(line[1]), int(line[2])) for line in lines), lines


@pytest.mark.interpreter
@pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1",
    reason="needs a process of its own: TRITON_INTERPRET=1 pytest -m interpreter tests/kernels",
)
@pytest.mark.parametrize("op", OPS)
def test_random_calls_under_the_guard(op: str) -> None:
    with bounds():
        count = tries(op, "triton", EXAMPLES // 3)
    assert count["ran"] and count["refused"], count
