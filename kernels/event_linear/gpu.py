"""Event-driven product y[row] = sum over the events of a row of value * W[index], in Triton.

One program sums one row's events for a block of columns, K rows of W at a time, always in the order in which the events
are stored. The weight gradient dW[n] = sum over the events of channel n of value * dy[row] is the same sum over the
transposed events, so that nothing is added atomically and the same inputs give the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from spiking.kernels.aot import Variant
from spiking.kernels.tile import OPTIONS, block, check, cut, pad

# Rows of W that are in flight at once: a program waits for memory once for K events, not for each.
TOGETHER = 8


@triton.jit
def gather(  # type: ignore[no-untyped-def]
    weight, index, value, first, last, column, inside, N, dtype: tl.constexpr, K: tl.constexpr, BLOCK_N: tl.constexpr
):
    """The sum of value * weight[index] over the events from first to last, at BLOCK_N columns."""
    total = tl.zeros((BLOCK_N,), dtype)
    for event in range(first, last, K):
        place = event + tl.arange(0, K)
        there = place < last
        row = tl.load(index + place, there, 0).to(tl.int64)
        w = tl.load(weight + row[:, None] * N + column[None, :], there[:, None] & inside[None, :], 0.0).to(dtype)
        if value is not None:
            w *= tl.load(value + place, there, 0.0).to(dtype)[:, None]
        total += tl.sum(w, 0)
    return total


@triton.jit(do_not_specialize=["N16"], do_not_specialize_on_alignment=["indptr", "index", "value"])
def sum_rows(  # type: ignore[no-untyped-def]
    indptr, index, value, weight, out, N16, dtype: tl.constexpr, K: tl.constexpr, BLOCK_N: tl.constexpr
):
    """out[row] = the sum of value * weight[index] over the events of the row."""
    N = N16 * 16
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = column < N
    first = tl.load(indptr + row)
    last = tl.load(indptr + row + 1)
    total = gather(weight, index, value, first, last, column, inside, N, dtype, K, BLOCK_N)
    tl.store(out + row * N + column, total.to(out.dtype.element_ty), inside)


def forward(indptr: Tensor, index: Tensor, value: Tensor | None, weight: Tensor, rows: int) -> Tensor:
    """The product of `rows` rows of events with a matrix.

    Arguments:
        indptr: (rows + 1,) int64, where each row's events begin and end.
        index: (nnz,) int32 or int64, the row of `weight` that each event adds.
        value: (nnz,) what each event counts; `None` means 1.
        weight: (in, out).

    Returns:
        (rows, out) in the dtype of `weight`, accumulated in float32 (float64 for float64).
    """
    check(weight.device)
    columns = weight.shape[1]
    weight = pad(weight.detach())
    width = weight.shape[1]
    out = torch.empty(rows, width, dtype=weight.dtype, device=weight.device)
    dtype = tl.float64 if weight.dtype == torch.float64 else tl.float32
    if value is not None:
        value = value.to(torch.float64 if weight.dtype == torch.float64 else torch.float32)
    size = block(width)
    with torch.cuda.device_of(weight):
        sum_rows[(rows, triton.cdiv(width, size))](
            indptr, index, value, weight, out, width // 16, dtype, TOGETHER, size, **OPTIONS
        )
    return cut(out, columns)


def backward(indptr: Tensor, index: Tensor, value: Tensor | None, grad: Tensor, channels: int) -> Tensor:
    """The gradient of the product in the matrix.

    Arguments:
        indptr, index, value: the events, as `forward` takes them.
        grad: (rows, out) gradient of the product.
        channels: rows of the matrix.

    Returns:
        (channels, out) in the dtype of `grad`.
    """
    check(grad.device)
    return forward(*transpose(indptr, index, value, channels), grad, channels)


def transpose(
    indptr: Tensor, index: Tensor, value: Tensor | None, channels: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The events by channel: pointers (channels + 1,), the row of each event in rising order, and its value."""
    ordered, order = torch.sort(index, stable=True)
    pointers = torch.searchsorted(ordered, torch.arange(channels + 1, dtype=index.dtype, device=index.device))
    rows = torch.arange(indptr.numel() - 1, device=indptr.device)
    rows = rows.repeat_interleave(indptr.diff(), output_size=index.numel())
    return pointers, rows[order], None if value is None else value[order]


def _variants() -> Iterator[Variant]:
    constants = {"dtype": tl.float32, "K": TOGETHER, "BLOCK_N": block(256)}
    for weight, value in (("*fp32", {}), ("*fp32", {"value": "*fp32"}), ("*bf16", {})):
        types = {"indptr": "*i64", "index": "*i32", "weight": weight, "out": weight, "N16": "i32", **value}
        label = weight[1:] + (" with counts" if value else "")
        yield Variant(f"event_linear: {label}", sum_rows, types, constants)
    types = {"indptr": "*i64", "index": "*i64", "weight": "*fp32", "out": "*fp32", "N16": "i32"}
    yield Variant("event_linear backward: fp32", sum_rows, types, constants)


AOT = list(_variants())
