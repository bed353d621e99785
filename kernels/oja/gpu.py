"""Clamp, momentum and step of the subspace rule in one pass, in Triton; op.py gives the equations.

Proven under the interpreter and compiled ahead of time; speed on a GPU is unmeasured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from spiking.kernels.aot import Variant
from spiking.kernels.tile import check

BLOCK = 1024
OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}


@triton.jit(do_not_specialize=["size"])
def update(  # type: ignore[no-untyped-def]
    weight, velocity, delta, lr, scale, decay, clamp, size, dtype: tl.constexpr, BLOCK_N: tl.constexpr
):
    """weight += lr * velocity, after velocity has taken up the clamped scale * delta."""
    at = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = at < size
    d = tl.load(delta + at, inside, 0.0).to(dtype) * scale
    d = tl.where(d > clamp, clamp, d)  # not minimum, which would make a NaN look sound
    d = tl.where(d < -clamp, -clamp, d)
    if velocity is not None:
        d = decay * tl.load(velocity + at, inside, 0.0).to(dtype) + (1.0 - decay) * d
        tl.store(velocity + at, d.to(velocity.dtype.element_ty), inside)
    w = tl.load(weight + at, inside, 0.0).to(dtype)
    tl.store(weight + at, (w + lr * d).to(weight.dtype.element_ty), inside)


def step(
    weight: Tensor, velocity: Tensor | None, delta: Tensor, lr: float, scale: float, decay: float, clamp: float | None
) -> None:
    """One update in place of contiguous (k, n) tensors."""
    check(weight.device)
    size = weight.numel()
    if not size:
        return
    dtype = tl.float64 if weight.dtype == torch.float64 else tl.float32
    with torch.cuda.device_of(weight):
        update[(triton.cdiv(size, BLOCK),)](
            weight, velocity, delta.contiguous(), lr, scale, decay, math.inf if clamp is None else clamp, size,
            dtype, BLOCK, **OPTIONS,
        )  # fmt: skip


def _variants() -> Iterator[Variant]:
    types = {"weight": "*fp32", "delta": "*fp32", "size": "i64"}
    types |= {name: "fp32" for name in ("lr", "scale", "decay", "clamp")}
    constants = {"dtype": tl.float32, "BLOCK_N": BLOCK}
    yield Variant("oja: plain", update, types, constants, options=OPTIONS)
    yield Variant("oja: momentum", update, {**types, "velocity": "*fp32"}, constants, options=OPTIONS)


AOT = list(_variants())
