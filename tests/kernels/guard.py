"""What a test of kernels puts round them: memory that is poisoned, and a look at every address they touch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spiking.kernels import jit

# For tests that interpret Triton's kernels; `careful` is in conftest.py.
ALONE = [
    pytest.mark.interpreter,
    pytest.mark.skipif(
        os.environ.get("TRITON_INTERPRET") != "1",
        reason="needs a process of its own: TRITON_INTERPRET=1 pytest -m interpreter tests/kernels",
    ),
]
INTERPRETED = [*ALONE, pytest.mark.usefixtures("careful")]


def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill what `torch.empty` and its like and `room` return with NaN, so that an output left unwritten shows."""

    def filled(make: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Tensor:
            x = make(*args, **kwargs)
            return x.fill_(float("nan")) if x.is_floating_point() else x.fill_(123)

        return wrapper

    def fresh(shape: Any, dtype: Any) -> np.ndarray:
        return np.full(shape, np.nan if np.issubdtype(dtype, np.floating) else 123, dtype)

    monkeypatch.setattr(jit, "_fresh", fresh)
    for owner, name in ((torch, "empty"), (torch, "empty_like"), (Tensor, "new_empty")):
        monkeypatch.setattr(owner, name, filled(getattr(owner, name)))


@contextmanager
def bounds() -> Iterator[None]:
    """Refuse loads and stores of interpreted kernels outside the tensors they were given; Triton does not look."""
    from triton.runtime import interpreter

    builder = type(interpreter.interpreter_builder)
    ranges: list[tuple[int, int]] = []
    prepare = interpreter.GridExecutor._init_args_hst
    load, store = builder.create_masked_load, builder.create_masked_store

    def check(what: str, pointers: Any, mask: Any) -> None:
        size = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        touched = np.broadcast_to(pointers.data, mask.data.shape)[mask.data]
        inside = np.zeros(touched.shape, bool)
        for low, high in ranges:
            inside |= (touched >= low) & (touched + size <= high)
        assert inside.all(), f"out-of-bounds {what} of {int((~inside).sum())} elements"

    def checked_load(self: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
        check("load", pointers, mask)
        return load(self, pointers, mask, *rest)

    def checked_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        check("store", pointers, mask)
        return store(self, pointers, value, mask, *rest)

    def prepared(self: Any, args: Any, kwargs: Any) -> Any:
        host = prepare(self, args, kwargs)
        tensors = [x for x in (*host[0], *host[1].values()) if isinstance(x, Tensor)]
        assert all(x.is_contiguous() for x in tensors)
        ranges[:] = [(x.data_ptr(), x.data_ptr() + x.numel() * x.element_size()) for x in tensors]
        return host

    builder.create_masked_load, builder.create_masked_store = checked_load, checked_store
    interpreter.GridExecutor._init_args_hst = prepared
    try:
        yield
    finally:
        builder.create_masked_load, builder.create_masked_store = load, store
        interpreter.GridExecutor._init_args_hst = prepare
