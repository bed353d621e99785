"""Delayed events in Triton; op.py gives the equation.

Forward, one program sums what arrives at one step of one sample, for a block of columns: it walks the events of the
P + 1 steps before, K at a time, and each column reads the tap that its delay points at, if any. Backward, one program
sums one tap of one channel over that channel's events. Both always add in the order in which the events are stored and
write every place once, so that nothing is added atomically and the same inputs give the same bits.

Proven under the interpreter and compiled ahead of time; speed on a GPU is unmeasured.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from spiking.kernels.aot import Variant
from spiking.kernels.event_linear.gpu import transpose
from spiking.kernels.tile import OPTIONS, block, check, cut, pad

# Events of a step that are in flight at once. Recordings have few events in one sample's step.
TOGETHER = 8
LOOSE = ["indptr", "index", "value", "first"]


@triton.jit(do_not_specialize=["T", "B", "last", "K", "N16"], do_not_specialize_on_alignment=LOOSE)
def arrive(  # type: ignore[no-untyped-def]
    indptr, index, value, taps, first, out, T, B, last, K, N16,
    dtype: tl.constexpr, apart: tl.constexpr, G: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """out[t, b] = the sum over positions p, over the events i of step t - p, of value * taps[i, p - first[i]]."""
    N = N16 * 16
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = column < N
    t = row // B
    b = row % B
    total = tl.zeros((BLOCK_N,), dtype)
    for step in range(tl.maximum(t - last, 0), tl.minimum(t + 1, T)):
        begin = tl.load(indptr + step * B + b)
        end = tl.load(indptr + step * B + b + 1)
        for event in range(begin, end, G):
            place = event + tl.arange(0, G)
            there = place < end
            i = tl.load(index + place, there, 0).to(tl.int64)
            if apart:
                start = tl.load(first + i[:, None] * N + column[None, :], there[:, None] & inside[None, :], 0)
            else:
                start = tl.load(first + i, there, 0)[:, None]
            j = t - step - start
            hit = there[:, None] & inside[None, :] & (j >= 0) & (j < K)
            w = tl.load(taps + (i[:, None] * K + j) * N + column[None, :], hit, 0.0).to(dtype)
            if value is not None:
                w *= tl.load(value + place, there, 0.0).to(dtype)[:, None]
            total += tl.sum(w, 0)
    tl.store(out + row * N + column, total, inside)


@triton.jit(do_not_specialize=["B", "K", "N16"], do_not_specialize_on_alignment=LOOSE)
def collect(  # type: ignore[no-untyped-def]
    indptr, index, value, first, grad, out, B, K, N16,
    dtype: tl.constexpr, apart: tl.constexpr, G: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """out[i, j] = the sum over the events of channel i, at the rows t * B + b, of value * grad[t + first[i] + j, b]."""
    N = N16 * 16
    cell = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = column < N
    i = cell // K
    if apart:
        start = tl.load(first + i * N + column, inside, 0)
    else:
        start = tl.full((BLOCK_N,), 0, tl.int32) + tl.load(first + i)
    later = (start + cell % K) * B
    total = tl.zeros((BLOCK_N,), dtype)
    begin = tl.load(indptr + i)
    end = tl.load(indptr + i + 1)
    for event in range(begin, end, G):
        place = event + tl.arange(0, G)
        there = place < end
        row = tl.load(index + place, there, 0).to(tl.int64)
        g = tl.load(
            grad + (row[:, None] + later[None, :]) * N + column[None, :], there[:, None] & inside[None, :], 0.0
        ).to(dtype)
        if value is not None:
            g *= tl.load(value + place, there, 0.0).to(dtype)[:, None]
        total += tl.sum(g, 0)
    tl.store(out + cell * N + column, total, inside)


def forward(
    indptr: Tensor, index: Tensor, value: Tensor | None, taps: Tensor, first: Tensor, T: int, B: int, last: int
) -> Tensor:
    """What T steps of B samples bring, at the step where it arrives.

    Arguments:
        indptr, index, value: the events, row t * B + b; `None` means that each counts 1.
        taps: (in, K, out) float32 or float64, a weight times its kernel.
        first: (in, out or 1) int32, the position at which the kernel starts.
        T, B: steps and samples.
        last: P, the longest delay.

    Returns:
        (T + last, B, out).
    """
    check(taps.device)
    columns, K = taps.shape[2], taps.shape[1]
    taps, first, apart = pad(taps), *_starts(first)
    wide = taps.shape[2]
    out = torch.empty(T + last, B, wide, dtype=taps.dtype, device=taps.device)
    size = block(wide)
    if out.numel():
        with torch.cuda.device_of(taps):
            arrive[((T + last) * B, triton.cdiv(wide, size))](
                indptr, index, _value(value, taps), taps, first, out, T, B, last, K, wide // 16,
                _type(taps), apart, TOGETHER, size, **OPTIONS,
            )  # fmt: skip
    return cut(out, columns)


def backward(
    indptr: Tensor, index: Tensor, value: Tensor | None, grad: Tensor, first: Tensor, T: int, K: int
) -> Tensor:
    """The gradient of the taps, (in, K, out), from that of `forward`, (T + P, B, out)."""
    check(grad.device)
    channels, columns = first.shape[0], grad.shape[2]
    pointers, rows, value = transpose(indptr, index, value, channels)
    grad, first, apart = pad(grad), *_starts(first)
    wide = grad.shape[2]
    out = torch.empty(channels, K, wide, dtype=grad.dtype, device=grad.device)
    size = block(wide)
    if out.numel():
        with torch.cuda.device_of(grad):
            collect[(channels * K, triton.cdiv(wide, size))](
                pointers, rows, _value(value, grad), first, grad, out, grad.shape[1], K, wide // 16,
                _type(grad), apart, TOGETHER, size, **OPTIONS,
            )  # fmt: skip
    return cut(out, columns)


def _starts(first: Tensor) -> tuple[Tensor, bool]:
    """Starts as the kernels read them, and whether columns differ in theirs."""
    apart = first.shape[1] != 1
    return (pad(first) if apart else first.contiguous()), apart


def _type(like: Tensor) -> tl.dtype:
    return tl.float64 if like.dtype == torch.float64 else tl.float32


def _value(value: Tensor | None, like: Tensor) -> Tensor | None:
    return None if value is None else value.to(like.dtype)


def _variants() -> Iterator[Variant]:
    sizes = {"G": TOGETHER, "BLOCK_N": block(256), "dtype": tl.float32}
    numbers = {name: "i32" for name in ("B", "K", "N16")}
    for apart, label in ((True, "synaptic"), (False, "axonal")):
        types = {"indptr": "*i64", "index": "*i32", "first": "*i32", "out": "*fp32", **numbers}
        there = {**types, "taps": "*fp32", "T": "i32", "last": "i32"}
        yield Variant(f"delay: {label}", arrive, there, {**sizes, "apart": apart})
        back = {**types, "index": "*i64", "grad": "*fp32"}
        yield Variant(f"delay backward: {label}", collect, back, {**sizes, "apart": apart})
    counted = {**there, "value": "*fp32"}
    yield Variant("delay: axonal with counts", arrive, counted, {**sizes, "apart": False})


AOT = list(_variants())
