"""`jit`: numba.njit that keeps its code on disk; `match_threads`: Numba with torch's number of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import torch


def jit(parallel: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that compiles a function; the code is kept on disk, or in memory where none can be written.

    Arguments:
        parallel: run `numba.prange` loops on several threads.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(function, parallel=parallel, cache=True)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            return numba.njit(function, parallel=parallel)

    return decorate


def match_threads() -> None:
    """Let Numba use as many threads as torch, which it doesn't follow by itself."""
    most: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    numba.set_num_threads(max(1, min(torch.get_num_threads(), most)))
