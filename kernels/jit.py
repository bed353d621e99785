"""Numba as the CPU kernels use it: `jit` keeps compiled code on disk, `match_threads` follows torch's thread count.

A kernel's cached code is keyed by the file it stands in. After editing a helper that kernels of another file call,
delete the __pycache__ folders of `kernels/`, or the old code runs on.

Kernels keep Python's global lock while they run, so two Python threads never enter one at once (Numba's `workqueue`
layer would abort). Numba's `omp` layer aborts in a forked child: process pools of ours are `spawn`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import torch


def jit(parallel: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that compiles a function, and keeps its code where a folder can be written.

    No fast-math: a sum in another order or a fused multiply-add moves a membrane across its threshold.

    Arguments:
        parallel: run `numba.prange` loops on several threads.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(function, parallel=parallel, error_model="numpy", cache=True)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            return numba.njit(function, parallel=parallel, error_model="numpy")

    return decorate


def match_threads() -> None:
    """Let Numba use as many threads as torch, which it doesn't follow by itself."""
    numba.set_num_threads(max(1, min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)))
