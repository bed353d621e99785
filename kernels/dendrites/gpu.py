"""The strongest segment in Triton; op.py gives the equation.

Forward, one program walks the segments of one unit for a block of contexts. Backward, one program owns a block of one
segment's, or of one context's, gradient, so that nothing is added atomically.

Proven under the interpreter and compiled ahead of time; speed on a GPU is unmeasured.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from spiking.kernels.aot import Variant
from spiking.kernels.tile import OPTIONS, check

ROWS, COLUMNS = 16, 64


@triton.jit(do_not_specialize=["B", "U", "J", "N"])
def choose(  # type: ignore[no-untyped-def]
    context, segments, value, index, B, U, J, N, dtype: tl.constexpr, R: tl.constexpr, C: tl.constexpr
):
    """The largest |u . c| of one unit's segments, for R contexts."""
    unit = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1).to(tl.int64) * R + tl.arange(0, R)
    inside = row < B
    best = tl.zeros((R,), dtype)
    place = tl.zeros((R,), tl.int32)
    for j in range(0, J):
        d = tl.zeros((R,), dtype)
        for first in range(0, N, C):
            n = first + tl.arange(0, C)
            there = n < N
            c = tl.load(context + row[:, None] * N + n[None, :], inside[:, None] & there[None, :], 0.0)
            u = tl.load(segments + (unit * J + j) * N + n, there, 0.0)
            d += tl.sum(c * u[None, :], 1)
        wins = (j == 0) | (tl.abs(d) > tl.abs(best))
        best = tl.where(wins, d, best)
        place = tl.where(wins, j, place)
    tl.store(value + row * U + unit, best, inside)
    tl.store(index + row * U + unit, place, inside)


@triton.jit(do_not_specialize=["B", "U", "J", "N"])
def teach(  # type: ignore[no-untyped-def]
    grad, index, context, out, B, U, J, N, dtype: tl.constexpr, C: tl.constexpr
):
    """The gradient of one segment: the contexts that chose it, each times its gradient."""
    segment = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * C + tl.arange(0, C)
    there = n < N
    unit = segment // J
    total = tl.zeros((C,), dtype)
    at = unit  # 64 bits wide, as b isn't
    row = unit * 0
    for _ in range(0, B):
        if tl.load(index + at) == segment % J:
            total += tl.load(grad + at) * tl.load(context + row + n, there, 0.0)
        at += U
        row += N
    tl.store(out + segment * N + n, total, there)


@triton.jit(do_not_specialize=["U", "J", "N"])
def answer(  # type: ignore[no-untyped-def]
    grad, index, segments, out, U, J, N, dtype: tl.constexpr, C: tl.constexpr
):
    """The gradient of one context: the segments it chose, each times its gradient."""
    b = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * C + tl.arange(0, C)
    there = n < N
    total = tl.zeros((C,), dtype)
    for unit in range(0, U):
        j = tl.load(index + b * U + unit).to(tl.int64)
        u = tl.load(segments + (unit * J + j) * N + n, there, 0.0)
        total += tl.load(grad + b * U + unit) * u
    tl.store(out + b * N + n, total, there)


def forward(context: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
    """(B, units) activity and (B, units) int32 place of the strongest segments."""
    check(segments.device)
    (B, N), (U, J, _) = context.shape, segments.shape
    value = torch.empty(B, U, dtype=segments.dtype, device=segments.device)
    index = torch.empty(B, U, dtype=torch.int32, device=segments.device)
    if value.numel():
        with torch.cuda.device_of(segments):
            choose[(U, triton.cdiv(B, ROWS))](
                context, segments, value, index, B, U, J, N, _type(segments), ROWS, COLUMNS, **OPTIONS
            )
    return value, index


def backward(grad: Tensor, index: Tensor, context: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of context (B, n) and segments (units, segments, n)."""
    check(segments.device)
    (B, N), (U, J, _) = context.shape, segments.shape
    dc, du = torch.empty_like(context), torch.empty_like(segments)
    blocks = triton.cdiv(N, COLUMNS)
    with torch.cuda.device_of(segments):
        if du.numel():
            teach[(U * J, blocks)](grad, index, context, du, B, U, J, N, _type(segments), COLUMNS, **OPTIONS)
        if dc.numel():
            answer[(B, blocks)](grad, index, segments, dc, U, J, N, _type(segments), COLUMNS, **OPTIONS)
    return dc, du


def _type(like: Tensor) -> tl.dtype:
    return tl.float64 if like.dtype == torch.float64 else tl.float32


def _variants() -> Iterator[Variant]:
    sizes = {name: "i32" for name in ("U", "J", "N")}
    constants = {"dtype": tl.float32, "C": COLUMNS}
    floats = {name: "*fp32" for name in ("context", "segments", "value", "grad", "out")}
    given = {"index": "*i32", "B": "i32", **sizes, **floats}

    def only(kernel: object, **more: int) -> tuple[object, dict[str, str], dict[str, object]]:
        names = kernel.arg_names  # type: ignore[attr-defined]
        return kernel, {name: kind for name, kind in given.items() if name in names}, {**constants, **more}

    yield Variant("dendrites: forward", *only(choose, R=ROWS))
    yield Variant("dendrites: gradient of segments", *only(teach))
    yield Variant("dendrites: gradient of contexts", *only(answer))


AOT = list(_variants())
