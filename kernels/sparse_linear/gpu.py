"""y = x W for sparse synapses, in Triton; op.py gives the equations.

Forward, one program owns a row's targets, or a tile of them where rows are few, and adds the fan-out of one event after
the other to them in memory, with a barrier between: the targets of one event differ, so no two threads meet. Backward,
one program owns some synapses of an input and sums over the transposed events of that input; for a dense x it owns an
input's gradient in a block of rows. Nothing is added atomically: the same inputs give the same bits.

Proven under the interpreter and compiled ahead of time; not yet run on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from spiking.kernels.aot import Variant
from spiking.kernels.event_linear.gpu import transpose
from spiking.kernels.tile import OPTIONS, check

PROGRAMS = 512  # that keep a GPU busy
TILE = 1024  # targets that are worth a program of their own
SYNAPSES = 128  # that a program takes at once
ROWS = 128  # rows that the gradient of a dense input takes at once

_LOOSE = ["indptr", "index", "value", "fan_indptr", "fan_index", "values", "grad", "out"]


@triton.jit(do_not_specialize=["N", "tile"], do_not_specialize_on_alignment=_LOOSE)
def scatter(  # type: ignore[no-untyped-def]
    indptr, index, value, fan_indptr, fan_index, values, out, N, tile, BLOCK: tl.constexpr
):
    """out[row, target] += value * values over the fan-outs of the row's events, for the targets of a tile."""
    row = tl.program_id(0).to(tl.int64)
    low = tl.program_id(1) * tile
    high = low + tile
    for event in range(tl.load(indptr + row), tl.load(indptr + row + 1)):
        n = tl.load(index + event).to(tl.int64)
        strength = 1.0
        if value is not None:
            strength = tl.load(value + event)
        last = tl.load(fan_indptr + n + 1)
        for first in range(tl.load(fan_indptr + n), last, BLOCK):
            place = first + tl.arange(0, BLOCK)
            target = tl.load(fan_index + place, place < last, -1)
            mine = (target >= low) & (target < high)
            at = out + row * N + target
            felt = tl.load(at, mine, 0.0) + strength * tl.load(values + place, mine, 0.0)
            tl.store(at, felt, mine)
        tl.debug_barrier()  # the next event may reach the same targets through other threads


@triton.jit(do_not_specialize=["N"], do_not_specialize_on_alignment=_LOOSE)
def sum_events(  # type: ignore[no-untyped-def]
    indptr, index, value, fan_indptr, fan_index, grad, out, N, BLOCK: tl.constexpr
):
    """out[synapse] = the sum of value * grad[row, target] over the events of its input; these are by input."""
    n = tl.program_id(0).to(tl.int64)
    start = tl.load(indptr + n)
    stop = tl.load(indptr + n + 1)
    last = tl.load(fan_indptr + n + 1)
    for first in range(tl.load(fan_indptr + n), last, BLOCK):
        place = first + tl.arange(0, BLOCK)
        there = place < last
        target = tl.load(fan_index + place, there, 0)
        total = tl.zeros((BLOCK,), grad.dtype.element_ty)
        for event in range(start, stop):
            row = tl.load(index + event).to(tl.int64)
            felt = tl.load(grad + row * N + target, there, 0.0)
            if value is not None:
                felt *= tl.load(value + event)
            total += felt
        tl.store(out + place, total, there)


@triton.jit(do_not_specialize=["rows"], do_not_specialize_on_alignment=_LOOSE)
def weigh(fan_indptr, fan_index, values, grad, out, rows, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """out[n, row] = the sum of values * grad[target, row] over the synapses of n."""
    n = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = row < rows
    total = tl.zeros((BLOCK,), grad.dtype.element_ty)
    for place in range(tl.load(fan_indptr + n), tl.load(fan_indptr + n + 1)):
        target = tl.load(fan_index + place).to(tl.int64)
        total += tl.load(values + place) * tl.load(grad + target * rows + row, inside, 0.0)
    tl.store(out + n * rows + row, total, inside)


def forward(
    indptr: Tensor, index: Tensor, value: Tensor | None, fan_indptr: Tensor, fan_index: Tensor, values: Tensor,
    rows: int, columns: int,
) -> Tensor:  # fmt: skip
    """The product of `rows` rows of events with synapses: (rows, columns)."""
    check(values.device)
    values = values.detach().contiguous()
    out = torch.zeros(rows, columns, dtype=values.dtype, device=values.device)
    tiles = max(1, min(PROGRAMS // max(rows, 1), columns // TILE))
    tile = max(1, -(-columns // tiles))
    if rows and columns:
        with torch.cuda.device_of(values):
            scatter[(rows, triton.cdiv(columns, tile))](
                indptr, index, _like(value, values), fan_indptr, fan_index, values, out, columns, tile, SYNAPSES,
                **OPTIONS,
            )
    return out


def backward(
    indptr: Tensor, index: Tensor, value: Tensor | None, fan_indptr: Tensor, fan_index: Tensor, grad: Tensor
) -> Tensor:
    """The gradient of the values, (nnz,), from that of the product, (rows, columns)."""
    check(grad.device)
    inputs = fan_indptr.numel() - 1
    out = torch.empty(fan_index.numel(), dtype=grad.dtype, device=grad.device)
    indptr, index, value = transpose(indptr, index, value, inputs)
    if inputs:
        with torch.cuda.device_of(grad):
            sum_events[(inputs,)](
                indptr, index, _like(value, grad), fan_indptr, fan_index, grad, out, grad.shape[1], SYNAPSES, **OPTIONS
            )
    return out


def inputs(grad: Tensor, fan_indptr: Tensor, fan_index: Tensor, values: Tensor) -> Tensor:
    """The gradient of a dense input, (rows, in), from that of the product, (rows, columns)."""
    check(grad.device)
    rows, count = grad.shape[0], fan_indptr.numel() - 1
    out = torch.empty(count, rows, dtype=grad.dtype, device=grad.device)
    if rows and count:
        with torch.cuda.device_of(grad):
            weigh[(count, triton.cdiv(rows, ROWS))](
                fan_indptr, fan_index, values.detach().contiguous(), grad.t().contiguous(), out, rows, ROWS, **OPTIONS
            )
    return out.t().contiguous()


def _like(value: Tensor | None, like: Tensor) -> Tensor | None:
    return None if value is None else value.to(like.dtype)


def _variants() -> Iterator[Variant]:
    fan = {"fan_indptr": "*i64", "fan_index": "*i32"}
    for value in ({}, {"value": "*fp32"}):
        label = "fp32" + (" with counts" if value else "")
        events = {"indptr": "*i64", **value, **fan, "out": "*fp32", "N": "i32"}
        types = {**events, "index": "*i32", "values": "*fp32", "tile": "i32"}
        yield Variant(f"sparse_linear: {label}", scatter, types, {"BLOCK": SYNAPSES})
        types = {**events, "index": "*i64", "grad": "*fp32"}
        yield Variant(f"sparse_linear backward: {label}", sum_events, types, {"BLOCK": SYNAPSES})
    types = {**fan, "values": "*fp32", "grad": "*fp32", "out": "*fp32", "rows": "i32"}
    yield Variant("sparse_linear input gradient: fp32", weigh, types, {"BLOCK": ROWS})


AOT = list(_variants())
