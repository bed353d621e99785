"""Numba as the CPU kernels use it: `jit` compiles the work of one task, `spread` runs the tasks on torch's threads.

Tasks run on plain threads, outside Python's global lock, and not on Numba's own: those abort in a forked process or
when two Python threads enter at once, follow no `torch.set_num_threads`, and compile several times as long.

A kernel's cached code is keyed by the file it stands in. After editing a helper that kernels of another file call,
delete the __pycache__ folders of `kernels/`, or the old code runs on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import count
from typing import Any

import numba
import torch


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that compiles a function, and keeps its code where a folder can be written.

    No fast-math: a sum in another order or a fused multiply-add moves a membrane across its threshold.
    """
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        return numba.njit(function, **options)


def spread(task: Callable[..., Any], tasks: int, *arguments: Any) -> None:
    """Call `task(0, *arguments)` to `task(tasks - 1, *arguments)` on as many threads as torch uses.

    A task must write what no other one touches; then the result does not depend on the number of threads.
    """
    numbers = count()

    def work() -> None:
        while (number := next(numbers)) < tasks:
            task(number, *arguments)

    helpers: list[Future[None]] = []
    for _ in range(min(tasks, torch.get_num_threads()) - 1):
        helpers.append(_pool().submit(work))
    work()
    for helper in helpers:
        helper.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="spiking")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
