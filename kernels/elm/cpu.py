"""The memory of ELM neurons on CPUs, in Numba; op.py gives the equation.

A task takes a fixed share of the samples, some at a time, through all steps: the weights stay in the cache, and no two
tasks write the same place, so that any number of threads gives the same bits. Backward it goes through the recording
in parts of SPAN steps, from the last to the first, and computes currents and hidden layer of a part again, so that
nothing of the size of the hidden layer is kept but the current before each part.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking.kernels.elm.cpu_backward import backward_task
from spiking.kernels.elm.cpu_forward import SPAN, forward_task
from spiking.kernels.elm.cpu_product import WIDTH
from spiking.kernels.jit import room, spread

TOGETHER = 8  # samples of a task that go through the steps together
SHARES = 16

Given = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]


def kept(T: int) -> int:
    """How many currents a pass over T steps keeps."""
    return -(-T // SPAN)


def forward(
    given: Given, current: Tensor, memory: Tensor, mlp: list[Tensor], decay: Tensor, gain: Tensor, leak: Tensor,
    lengths: Tensor | None, T: int, activation: int, save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Memory, last state, and the currents before each part of SPAN steps if they are to be saved.

    Arguments:
        given: indptr, index, value, weight (in, h) of events, or `None` four times and the drive (T, B, h).
        current, memory: the state, (B, h) and (B, d).
        mlp: W_m (d, h), b_h, W_u (h, d), b_u.
        decay, gain, leak: (d,), (d,), (1,).
        lengths: (B,).
        activation: its place in `rule.ACTIVATIONS`.

    Returns:
        m (T, B, d), current (B, h), memory (B, d), currents (parts, B, h).
    """
    B, h = current.shape
    d = memory.shape[1]
    out, last_current, last_memory = room(memory, T, B, d), room(memory, B, h), room(memory, B, d)
    saved = room(memory, kept(T) if save else 0, B, h)
    group, shares = _groups(B)
    D, H = _wide(d), _wide(h)
    scratch = [(group, H), (group, D), (group, D), (group, H), (group, D)]
    spread(
        forward_task, shares, shares, group, T, activation, float(leak), *_drive(given, memory),
        *_numpy(current, memory, *_weights(mlp), *_rows(D, decay, gain)), _steps(lengths, T, B),
        *_numpy(out, last_current, last_memory, saved), *_scratch(memory, shares, scratch),
    )
    return out, last_current, last_memory, saved


def backward(
    d_out: Tensor | None, read: tuple[Tensor, Tensor] | None, d_last_current: Tensor, d_last_memory: Tensor,
    out: Tensor, saved: Tensor, given: Given, current: Tensor, memory: Tensor, mlp: list[Tensor], decay: Tensor,
    gain: Tensor, leak: Tensor, lengths: Tensor | None, T: int, activation: int,
) -> list[Tensor]:
    """The gradients of weight and drive, one of them without numbers, of the state, mlp, decay, gain and leak.

    Arguments:
        d_out: of m (T, B, d).
        read: of what a readout reads (T, B, out), and its weights (d, out); a step's share of m's gradient comes from
            them when it is needed.
        d_last_current, d_last_memory: of the last state, (B, h) and (B, d).
        out, saved: m and the currents that `forward` saved.
        the others: as in `forward`.
    """
    B, h = current.shape
    d = memory.shape[1]
    group, shares = _groups(B)
    D, H = _wide(d), _wide(h)
    weight, drive = given[3:]
    rows = group * SPAN
    d_y, w_y = (out.new_empty(0), out.new_empty(0, d)) if read is None else (read[0], read[1].t())
    scratch = [
        (group, H), (group, D), (rows, H), (rows, H), (rows, H), (rows, D), (rows, D), (group, H), (group, D),
        (group, w_y.shape[0]),
    ]
    sums = torch.zeros(shares, D * H + H + H * D + D + D + D + 16, dtype=memory.dtype)
    d_weight = torch.zeros(shares, 0 if weight is None else weight.numel(), dtype=memory.dtype)
    d_drive = room(memory, *(drive.shape if drive is not None else (0, B, h)))
    d_current, d_memory = room(memory, B, h), room(memory, B, d)
    spread(
        backward_task, shares, shares, group, T, activation, float(leak), *_drive(given, memory),
        *_numpy(current, memory, *_weights(mlp)),
        *_numpy(*_padded(mlp[2].t(), mlp[0].t()), *_rows(D, decay, gain)), _steps(lengths, T, B),
        *_numpy(out, saved, out.new_empty(0) if d_out is None else d_out, d_y, *_padded(w_y)),
        *_numpy(d_last_current, d_last_memory, sums, d_weight, d_drive, d_current, d_memory),
        *_scratch(memory, shares, scratch),
    )
    parts = [D * H, H, H * D, D, D, D, 16]
    total = sums.sum(0)
    found = [total[e - n : e] for n, e in zip(parts, accumulate(parts), strict=True)]
    whole = d_weight[0] if shares else d_weight.new_zeros(d_weight.shape[1])
    for part in d_weight[1:]:  # in place: a sum would be one more of them
        whole += part
    d_weight = whole.view(weight.shape) if weight is not None else d_weight.new_empty(0, h)
    return [
        d_weight, d_drive, d_current, d_memory, found[0].view(D, H)[:d, :h].clone(), found[1][:h].clone(),
        found[2].view(H, D)[:h, :d].clone(), *(row[:d].clone() for row in found[3:6]), found[6][:1].clone(),
    ]


def _groups(B: int) -> tuple[int, int]:
    """Samples that go together, and shares of the samples; neither depends on the number of threads."""
    group = 4 if B < 2 * TOGETHER else TOGETHER
    return group, min(-(-B // group), SHARES)


def _wide(columns: int) -> int:
    return -(-columns // WIDTH) * WIDTH


def _padded(*matrices: Tensor) -> list[Tensor]:
    """Columns padded with zeros, at addresses on which vectors begin."""
    done = []
    for matrix in matrices:
        wide = torch.zeros(matrix.shape[0], _wide(matrix.shape[1]), dtype=matrix.dtype)
        wide[:, : matrix.shape[1]] = matrix.detach()
        done.append(wide)
    return done


def _rows(wide: int, *rows: Tensor) -> list[Tensor]:
    return [torch.nn.functional.pad(row.detach(), (0, wide - row.shape[0])) for row in rows]


def _weights(mlp: list[Tensor]) -> list[Tensor]:
    w_m, b_h, w_u, b_u = mlp
    wide_m, wide_u = _padded(w_m, w_u)
    return [wide_m, *_rows(wide_m.shape[1], b_h), wide_u, *_rows(wide_u.shape[1], b_u)]


def _drive(given: Given, like: Tensor) -> list[np.ndarray]:
    """Events and their weights, or the drive; what is not there has no numbers."""
    indptr, index, value, weight, drive = given
    whole = torch.empty(0, dtype=torch.int64)
    return _numpy(
        whole if indptr is None else indptr, whole.to(torch.int32) if index is None else index,
        like.new_empty(0) if value is None else value.to(like.dtype),
        like.new_empty(0) if weight is None else weight, like.new_empty(0) if drive is None else drive,
    )


def _numpy(*tensors: Tensor) -> list[np.ndarray]:
    """Flat arrays, as the tasks read them."""
    return [tensor.detach().contiguous().view(-1).numpy() for tensor in tensors]


def _scratch(like: Tensor, shares: int, shapes: list[tuple[int, int]]) -> list[np.ndarray]:
    """Room for each share, at addresses on which vectors begin."""
    return [torch.zeros(shares, rows, columns, dtype=like.dtype).numpy() for rows, columns in shapes]


def _steps(lengths: Tensor | None, T: int, B: int) -> Any:
    return np.full(B, T) if lengths is None else lengths.clamp(0, T).contiguous().numpy()
