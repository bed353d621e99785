"""Numba as the CPU kernels use it: `jit` compiles the work of one task, `spread` runs the tasks on torch's threads.

Tasks run on plain threads, outside Python's global lock, and not on Numba's own: those abort in a forked process or
when two Python threads enter at once, follow no `torch.set_num_threads`, and compile several times as long.

Numba keys cached code by the file a kernel stands in, and would run old code after a change to a helper in another
file. So the cache is a folder named after the content of all files with kernels, those of `datasets/` included.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numba
import torch


def jit(function: Callable[..., Any], inline: str = "never") -> Callable[..., Any]:
    """A decorator that compiles a function, and keeps its code where a folder can be written.

    No fast-math: a sum in another order or a fused multiply-add moves a membrane across its threshold.

    Arguments:
        function: what to compile.
        inline: "always" compiles it into its callers.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "inline": inline}
    config: Any = numba.config
    root = config.CACHE_DIR
    config.CACHE_DIR = str(Path(root or Path(__file__).parent / "__pycache__") / f"numba-{_version()}")
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        return numba.njit(function, **options)
    finally:
        config.CACHE_DIR = root


@cache
def _version() -> str:
    digest = hashlib.sha256()
    kernels = Path(__file__).parent
    for path in sorted([*kernels.glob("**/*.py"), *kernels.with_name("datasets").glob("**/*.py")]):
        content = path.read_bytes()
        if b"kernels.jit" in content or path.name in ("jit.py", "rule.py"):
            digest.update(content)
    return digest.hexdigest()[:16]


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
