"""The strongest segment on CPUs: products by torch, choice and gradient in Numba; op.py gives the equation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from spiking.kernels.jit import jit, room, spread

TASKS = 8


@jit
def _choose_task(task, tasks, d, j, value, index):
    """Take over d where it is larger than what was found among the segments before j."""
    for i in range(task * d.size // tasks, (task + 1) * d.size // tasks):
        if j == 0 or abs(d[i]) > abs(value[i]):
            value[i] = d[i]
            index[i] = j


@jit
def _segments_task(task, tasks, grad, index, context, out):
    """The gradient of a share of the units' segments."""
    B, units = grad.shape
    J, n = out.shape[1], out.shape[2]
    flat, rows = out.ravel(), context.ravel()
    for i in range(task * units // tasks, (task + 1) * units // tasks):
        for k in range(np.uint64(i * J * n), np.uint64((i + 1) * J * n)):
            flat[k] = 0
        for b in range(B):
            g, o, c = grad[b, i], np.uint64((i * J + index[b, i]) * n), np.uint64(b * n)
            for k in range(np.uint64(n)):
                flat[o + k] += g * rows[c + k]


@jit
def _context_task(task, tasks, grad, index, segments, out):
    """The gradient of a share of the contexts."""
    B, units = grad.shape
    J, n = segments.shape[1], segments.shape[2]
    flat, rows = out.ravel(), segments.ravel()
    for b in range(task * B // tasks, (task + 1) * B // tasks):
        for k in range(np.uint64(b * n), np.uint64((b + 1) * n)):
            flat[k] = 0
        for i in range(units):
            g, o, c = grad[b, i], np.uint64(b * n), np.uint64((i * J + index[b, i]) * n)
            for k in range(np.uint64(n)):
                flat[o + k] += g * rows[c + k]


def forward(context: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
    """(B, units) activity and (B, units) int32 place of the strongest segments."""
    B, units = context.shape[0], segments.shape[0]
    value, index = room(segments, B, units), torch.empty(B, units, dtype=torch.int32)
    for j in range(segments.shape[1]):
        d = context.detach() @ segments.detach()[:, j].t()
        spread(_choose_task, TASKS, TASKS, d.view(-1).numpy(), j, value.view(-1).numpy(), index.view(-1).numpy())
    return value, index


def backward(grad: Tensor, index: Tensor, context: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of context (B, n) and segments (units, segments, n)."""
    du, dc = room(segments, *segments.shape), room(context, *context.shape)
    g, j = grad.numpy(), index.numpy()
    spread(_segments_task, TASKS, TASKS, g, j, context.detach().numpy(), du.numpy())
    spread(_context_task, TASKS, TASKS, g, j, segments.detach().numpy(), dc.numpy())
    return dc, du
