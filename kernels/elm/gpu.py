"""The memory of ELM neurons in Triton; op.py gives the equation.

One program takes TOGETHER samples through all steps: their memory stays in registers, and a step goes through the
hidden layer in blocks, whose weights come from the cache. The filter is a loop of its own over every column, and what
is left, input weights and the gradients of all weights, are products over all steps at once. Backward, currents are
computed again from the events; they and the errors of the hidden layer, (T, B, h), exist for the length of that pass.

Proven under the interpreter and compiled ahead of time; speed on a GPU is unmeasured.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from spiking.kernels.aot import Variant
from spiking.kernels.elm.gpu_kernels import BLOCK_H, TOGETHER, back, filtered, remember
from spiking.kernels.elm.rule import LARGEST
from spiking.kernels.event_linear import gpu as event_linear
from spiking.kernels.tile import OPTIONS, block, check, cut, pad

Given = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]


def launch(units: int) -> dict[str, Any]:
    """How kernels for this many units, a power of two, are launched: with what a thread can hold."""
    return {**OPTIONS, "num_warps": 4 if units < LARGEST else 8, "num_stages": 2}


def kept(T: int) -> int:
    """How many currents a pass over T steps keeps: none."""
    return 0


def forward(
    given: Given, current: Tensor, memory: Tensor, mlp: list[Tensor], decay: Tensor, gain: Tensor, leak: Tensor,
    lengths: Tensor | None, T: int, activation: int, save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Memory and last state; arguments and results as in cpu.py, except that no currents are kept."""
    check(memory.device)
    B, d = memory.shape
    steps = _steps(lengths, T, B, memory)
    currents, last_current = _currents(given, current, leak, steps, T)
    w_m, b_h, w_u, b_u, decay, gain = _padded(mlp, decay, gain)
    D = decay.shape[0]
    out = memory.new_empty(T, B, D)
    last = memory.new_empty(B, D)
    currents, memory = pad(currents, b_h.shape[0]), pad(memory, D)
    if B:
        with torch.cuda.device_of(memory):
            remember[(triton.cdiv(B, TOGETHER),)](
                currents, memory, w_m, b_h, w_u, b_u, decay, gain, steps, out, last, T, B, b_h.shape[0] // BLOCK_H,
                _type(memory), activation, TOGETHER, D, BLOCK_H, **launch(D),
            )  # fmt: skip
    return cut(out, d), last_current, cut(last, d), memory.new_empty(0, *current.shape)


def backward(
    d_out: Tensor | None, read: tuple[Tensor, Tensor] | None, d_last_current: Tensor, d_last_memory: Tensor,
    out: Tensor, saved: Tensor, given: Given, current: Tensor, memory: Tensor, mlp: list[Tensor], decay: Tensor,
    gain: Tensor, leak: Tensor, lengths: Tensor | None, T: int, activation: int,
) -> list[Tensor]:
    """The gradients; arguments and results as in cpu.py, except that the gradient of m is made whole."""
    check(memory.device)
    if read is not None:
        back_y = read[0] @ read[1].t()
        d_out = back_y if d_out is None else back_y.add_(d_out)
    d_out = torch.zeros_like(out) if d_out is None else d_out
    B, d = memory.shape
    h = current.shape[1]
    steps = _steps(lengths, T, B, memory)
    currents, _ = _currents(given, current, leak, steps, T)
    w_m, b_h, w_u, b_u, wide_decay, wide_gain = _padded(mlp, decay, gain)
    D, H = wide_decay.shape[0], b_h.shape[0]
    programs = triton.cdiv(B, TOGETHER)
    d_hidden, d_update = memory.new_empty(T, B, H), memory.new_empty(T, B, D)
    d_memory, sums = memory.new_empty(B, D), memory.new_empty(programs, 2, D)
    if B:
        with torch.cuda.device_of(memory):
            back[(programs,)](
                pad(currents, H), pad(memory, D), pad(out, D), w_m, b_h, w_u, b_u, w_u.t().contiguous(),
                w_m.t().contiguous(), wide_decay, wide_gain, steps, pad(d_out, D), pad(d_last_memory, D), d_hidden,
                d_update, d_memory, sums, T, B, H // BLOCK_H,
                _type(memory), activation, TOGETHER, D, BLOCK_H, **launch(D),
            )  # fmt: skip
    d_hidden, d_update = cut(d_hidden, h).flatten(0, 1), cut(d_update, d).flatten(0, 1)
    before = (decay * torch.cat([memory[None], out[:-1]])[:T]).flatten(0, 1)
    z = currents.flatten(0, 1) + mlp[1] + before @ mlp[0]
    hidden = torch.relu(z) if activation == 0 else torch.nn.functional.silu(z)
    d_drive, d_current = _filter(d_hidden.view(T, B, h), d_last_current, leak, steps, True)
    earlier = torch.cat([current[None], currents[:-1]])[:T]
    indptr, index, value, weight = given[:4]
    d_weight = d_hidden.new_empty(0, h)
    if weight is not None:
        assert indptr is not None and index is not None
        d_weight = event_linear.backward(indptr, index, value, d_drive.flatten(0, 1), weight.shape[0])
    total = sums.sum(0)[:, :d]
    return [
        d_weight, d_drive if weight is None else d_drive.new_empty(0, B, h), d_current, cut(d_memory, d),
        before.t() @ d_hidden, d_hidden.sum(0), hidden.t() @ d_update, d_update.sum(0), total[0].clone(),
        total[1].clone(), (d_drive * earlier).sum().reshape(1),
    ]


def _currents(given: Given, current: Tensor, leak: Tensor, steps: Tensor, T: int) -> tuple[Tensor, Tensor]:
    """The filtered currents (T, B, h) and the last ones (B, h)."""
    indptr, index, value, weight, drive = given
    B, h = current.shape
    if drive is None:
        assert indptr is not None and index is not None and weight is not None
        drive = event_linear.forward(indptr, index, value, weight, T * B).view(T, B, h)
    return _filter(drive, current, leak, steps, False)


def _filter(x: Tensor, state: Tensor, leak: Tensor, steps: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    """x (T, B, h) filtered from the first step to the last, or the other way round, and the state at its end."""
    T, B, h = x.shape
    x, state = pad(x), pad(state)
    out, last = torch.empty_like(x), torch.empty_like(state)
    size = block(x.shape[2])
    if B:
        with torch.cuda.device_of(x):
            filtered[(B, triton.cdiv(x.shape[2], size))](
                x, state, leak, steps, out, last, T, B, x.shape[2] // 16, _type(x), reverse, size, **OPTIONS
            )
    return cut(out, h), cut(last, h)


def _padded(mlp: list[Tensor], decay: Tensor, gain: Tensor) -> list[Tensor]:
    """Memory units padded to a power of two, hidden ones to whole blocks."""
    w_m, b_h, w_u, b_u = (w.detach() for w in mlp)
    d, h = w_m.shape
    D, H = block(d, LARGEST), -(-h // BLOCK_H) * BLOCK_H

    def grown(x: Tensor, *shape: int) -> Tensor:
        out = x.new_zeros(shape)
        out[tuple(slice(n) for n in x.shape)] = x
        return out

    rows = (grown(w_m, D, H), grown(b_h, H), grown(w_u, H, D), *(grown(x, D) for x in (b_u, decay, gain)))
    return list(rows)


def _steps(lengths: Tensor | None, T: int, B: int, like: Tensor) -> Tensor:
    if lengths is None:
        return torch.full((B,), T, dtype=torch.int64, device=like.device)
    return lengths.to(torch.int64).contiguous()


def _type(like: Tensor) -> tl.dtype:
    return tl.float64 if like.dtype == torch.float64 else tl.float32


def _variants() -> Iterator[Variant]:
    numbers = {name: "i32" for name in ("T", "B", "parts")}
    vectors = ("w_m", "b_h", "w_u", "b_u", "decay", "gain", "currents", "memory", "out")
    shared = {**{name: "*fp32" for name in vectors}, "steps": "*i64", **numbers}
    for d in (16, LARGEST):
        sizes = {"dtype": tl.float32, "BLOCK_B": TOGETHER, "BLOCK_D": d, "BLOCK_H": BLOCK_H}
        for activation, label in ((0, "relu"), (1, "silu")):
            there = {**shared, "last": "*fp32"}
            yield Variant(
                f"elm: {d} units, {label}", remember, there, {**sizes, "activation": activation}, options=launch(d)
            )
            more = ("back_u", "back_m", "d_out", "d_last", "d_hidden", "d_update", "d_memory", "sums")
            errors = {**shared, **{name: "*fp32" for name in more}}
            yield Variant(
                f"elm backward: {d} units, {label}", back, errors, {**sizes, "activation": activation},
                options=launch(d),
            )
    types = {**{name: "*fp32" for name in ("x", "state", "leak", "out", "last")}, "steps": "*i64"}
    for reverse in (False, True):
        yield Variant(
            f"elm filter{' backward' if reverse else ''}", filtered, {**types, "T": "i32", "B": "i32", "N16": "i32"},
            {"dtype": tl.float32, "reverse": reverse, "BLOCK_N": block(256)},
        )


AOT = list(_variants())
