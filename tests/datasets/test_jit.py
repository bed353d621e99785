"""Compiled code is kept where it can be, and threads follow torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import pytest
import torch

from spiking.datasets import jit


def add(a: int, b: int) -> int:
    """Something to compile."""
    return a + b


def test_an_install_that_cannot_be_written_compiles_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: Callable[..., Any] = numba.njit

    def njit(function: Any, parallel: bool, cache: bool = False) -> Any:
        if cache:
            raise RuntimeError(f"cannot cache function {function.__name__!r}: no locator available for file")
        return compiled(function, parallel=parallel)

    monkeypatch.setattr(numba, "njit", njit)
    assert jit.jit()(add)(2, 3) == 5

    def broken(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("something else")

    monkeypatch.setattr(numba, "njit", broken)
    with pytest.raises(RuntimeError, match="something else"):
        jit.jit()(add)


def test_threads_follow_torch() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        jit.match_threads()
        assert numba.get_num_threads() == 1
        torch.set_num_threads(1000)
        jit.match_threads()
        assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    finally:
        torch.set_num_threads(threads)
        jit.match_threads()
