"""The integrate-and-fire recurrence on CPUs, forward and backward: how work is cut, and what the op calls.

Work is cut into tasks of BLOCK neurons and a share of the samples. Feed-forward neurons do not meet, so a task owns its
columns of W, which it copies together where that pays. It runs GROUP samples through time together, event by event: the
rows of a step lie together in memory, those of a sample as far apart as they can. The cut depends on the sizes alone:
any number of threads gives the same bits.

Backward, a task computes CHECKPOINT steps again from a checkpoint, taking the spikes from the saved bits, and walks
back through them. Shares of the samples have weight and parameter gradients of their own, added up in a fixed order.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from torch import Tensor

from spiking.kernels.event_linear.cpu import gather, scatter
from spiking.kernels.jit import jit, spread
from spiking.kernels.lif.cpu_step import (
    ADJOINT,
    BLOCK,
    DEPTH,
    DRIVE,
    DX,
    GAP,
    HAT,
    LEVEL,
    SLOPE,
    TAPE,
    X,
    adjoint,
    at,
    carried,
    clear,
    fire,
    integrate,
    move,
    pack,
    put,
    receive,
    settle,
    take,
    unpack,
)  # fmt: skip
from spiking.kernels.lif.rule import REFRACTORY, ROWS, STATES, THETA, Z
from spiking.kernels.surrogate.cpu import derivative

CHECKPOINT = DEPTH - 1
TASKS = 8
GROUP = CHECKPOINT // 2  # samples that go through time together, so that memory is met in long pieces


@jit
def share_of(task, shares, samples, N):
    """First neuron, neurons, first sample, sample after the last, share of a task."""
    lo, share = task // shares * BLOCK, task % shares
    return lo, min(BLOCK, N - lo), share * samples // shares, (share + 1) * samples // shares, share


@jit
def columns(weight, inputs, N, lo, n, rows):
    """Columns of a flat matrix as (flat, first place, stride), copied together if `rows` reads pay for that."""
    if n == N or rows < 2 * inputs:
        return weight, lo, N
    block = np.empty(inputs * n, weight.dtype)
    for i in range(inputs):
        o, q = np.uint64(i * n), np.uint64(i * N + lo)
        for j in range(np.uint64(n)):
            block[o + j] = weight[q + j]
    return block, 0, n


@jit
def block_of(params, N, lo, n):
    """Parameters of a block of neurons, and its tape; LEVEL is the threshold until an adaptation moves it."""
    p = np.zeros(ROWS * BLOCK, params.dtype)
    for row in range(ROWS):
        for j in range(n):
            p[row * BLOCK + j] = params[row * N + lo + j]
    tape = np.zeros(TAPE * DEPTH * BLOCK, params.dtype)
    for k in range(DEPTH):
        for j in range(n):
            tape[(LEVEL * DEPTH + k) * BLOCK + j] = p[THETA * BLOCK + j]
    return p, tape


@jit
def forward_task(
    task, shares, sizes, current, indptr, index, value, weight, params, state, lengths, flags, spikes, membrane, last,
    bits, checkpoints,
):
    """All steps of the samples of a task; arrays that are not given or not wanted are empty."""
    T, samples, N, inputs = sizes
    lo, neurons, begin, end, _ = share_of(task, shares, samples, N)
    n = np.uint64(neurons)
    flat, base, stride = columns(weight, inputs, N, lo, neurons, index.size // shares)
    p, tape = block_of(params, N, lo, neurons)
    byte = np.zeros(BLOCK, np.uint8)
    word = byte.view(np.uint64)
    width, x_row = (N + 7) // 8, X if flags[0] else DRIVE
    for first in range(begin, end, GROUP):
        group = min(GROUP, end - first)
        for g in range(group):
            for row in range(STATES):
                take(state, (row * samples + first + g) * N + lo, n, tape, row, 2 * g)
        saved = 0
        for t in range(T):
            if checkpoints.size and t % CHECKPOINT == 0:
                for row in range(STATES):
                    if row != Z and carried(flags, row):
                        for g in range(group):
                            put(tape, row, 2 * g, n, checkpoints, (saved * samples + first + g) * N + lo)
                        saved += 1
            for g in range(group):
                k, here = 2 * g, t * samples + first + g
                if t < lengths[first + g]:
                    receive(flags, p, tape, k, n, current, here * N + lo)
                    if inputs:
                        x = at(x_row, k)
                        gather(tape, x, n, flat, base, stride, index, value, indptr[here], indptr[here + 1])
                    integrate(flags, p, tape, k, n)
                    fire(flags, tape, k, n)
                    settle(flags, p, tape, k, n)
                    for row in range(STATES):
                        if carried(flags, row):
                            move(tape, row, k + 1, k, n)
                else:
                    clear(tape, Z, k + 1, n)
                    clear(tape, HAT, k, n)
                put(tape, Z, k + 1, n, spikes, here * N + lo)
                if membrane.size:
                    put(tape, HAT, k, n, membrane, here * N + lo)
                if bits.size:
                    pack(tape, k + 1, n, byte, word, bits, here * width + lo // 8)
        for g in range(group):
            for row in range(STATES):
                put(tape, row, 2 * g, n, last, (row * samples + first + g) * N + lo)


@jit
def collect(flat, start, steps, samples, first, group, N, lo, n, tile):
    """Rows of some steps of a group of samples, (step, sample, BLOCK), in the order in which they lie in memory."""
    for k in range(steps):
        for g in range(group):
            o, q = np.uint64(((start + k) * samples + first + g) * N + lo), np.uint64((k * GROUP + g) * BLOCK)
            for j in range(n):
                tile[q + j] = flat[o + j]


@jit
def backward_task(
    task, shares, sizes, grad_spikes, grad_membrane, grad_last, current, indptr, index, value, weight, params, state,
    lengths, bits, checkpoints, flags, kind, numbers, grad_current, grad_weight, grad_params, grad_state,
):
    """Gradients of the samples of a task; those of weight and parameters go to its share."""
    T, samples, N, inputs = sizes
    lo, neurons, begin, end, share = share_of(task, shares, samples, N)
    n = np.uint64(neurons)
    flat, base, stride = columns(weight, inputs, N, lo, neurons, index.size // shares)
    p, tape = block_of(params, N, lo, neurons)
    gap, slope = tape[GAP * DEPTH * BLOCK :], tape[SLOPE * DEPTH * BLOCK :]
    acc, total = np.zeros(ROWS * BLOCK, p.dtype), np.zeros((ROWS, neurons))
    dw = np.zeros((inputs, neurons), p.dtype)
    tile_z = np.zeros(CHECKPOINT * GROUP * BLOCK, p.dtype)
    tile_h = np.zeros(CHECKPOINT * GROUP * BLOCK if grad_membrane.size else 0, p.dtype)
    adjoints = np.zeros(GROUP * REFRACTORY * BLOCK, p.dtype)
    width, rows, x_row = (N + 7) // 8, 0, X if flags[0] else DRIVE
    for row in range(STATES):
        if row != Z and carried(flags, row):
            rows += 1
    for first in range(begin, end, GROUP):
        group = min(GROUP, end - first)
        for g in range(group):
            for row in range(REFRACTORY):
                take(grad_last, (row * samples + first + g) * N + lo, n, tape, ADJOINT + row, 0)
                put(tape, ADJOINT + row, 0, n, adjoints, (g * REFRACTORY + row) * BLOCK)
        for segment in range((T + CHECKPOINT - 1) // CHECKPOINT - 1, -1, -1):
            start = segment * CHECKPOINT
            collect(grad_spikes, start, min(CHECKPOINT, T - start), samples, first, group, N, lo, n, tile_z)
            if grad_membrane.size:
                collect(grad_membrane, start, min(CHECKPOINT, T - start), samples, first, group, N, lo, n, tile_h)
            for g in range(group):
                b = first + g
                steps = max(0, min(CHECKPOINT, lengths[b] - start))
                if current.size:
                    for t in range(start + steps, min(start + CHECKPOINT, T)):
                        for j in range((t * samples + b) * N + lo, (t * samples + b) * N + lo + neurons):
                            grad_current[j] = 0
                if steps == 0:
                    continue
                saved = segment * rows
                for row in range(STATES):
                    if row != Z and carried(flags, row):
                        take(checkpoints, (saved * samples + b) * N + lo, n, tape, row, 0)
                        saved += 1
                if start:
                    unpack(bits, ((start - 1) * samples + b) * width + lo // 8, neurons, tape, 0)
                else:
                    take(state, (Z * samples + b) * N + lo, n, tape, Z, 0)
                for k in range(steps):
                    here = (start + k) * samples + b
                    receive(flags, p, tape, k, n, current, here * N + lo)
                    if inputs:
                        x = at(x_row, k)
                        gather(tape, x, n, flat, base, stride, index, value, indptr[here], indptr[here + 1])
                    integrate(flags, p, tape, k, n)
                    unpack(bits, here * width + lo // 8, neurons, tape, k + 1)
                    settle(flags, p, tape, k, n)
                derivative(kind, numbers, gap[: steps * BLOCK], slope)
                for row in range(REFRACTORY):
                    take(adjoints, (g * REFRACTORY + row) * BLOCK, n, tape, ADJOINT + row, steps)
                for k in range(steps - 1, -1, -1):
                    adjoint(flags, p, tape, k, n, tile_z, tile_h, (k * GROUP + g) * BLOCK, acc)
                    here = (start + k) * samples + b
                    if current.size:
                        put(tape, DX, k, n, grad_current, here * N + lo)
                    else:
                        scatter(tape, at(DX, k), n, dw, index, value, indptr[here], indptr[here + 1])
                for row in range(REFRACTORY):
                    if carried(flags, row):
                        put(tape, ADJOINT + row, 0, n, adjoints, (g * REFRACTORY + row) * BLOCK)
        for row in range(ROWS):
            for j in range(neurons):
                total[row, j] += acc[row * BLOCK + j]
                acc[row * BLOCK + j] = 0
        for g in range(group):
            for row in range(REFRACTORY):
                take(adjoints, (g * REFRACTORY + row) * BLOCK, n, tape, ADJOINT + row, 0)
                put(tape, ADJOINT + row, 0, n, grad_state, (row * samples + first + g) * N + lo)
            for j in range(neurons):
                grad_state[(REFRACTORY * samples + first + g) * N + lo + j] = 0
    for row in range(ROWS):
        for j in range(neurons):
            grad_params[(share * ROWS + row) * N + lo + j] = total[row, j]
    for i in range(inputs):
        o = np.uint64((share * inputs + i) * N + lo)
        for j in range(n):
            grad_weight[o + j] = dw[i, j]


def _shares(samples: int, N: int, inputs: int, events: int) -> int:
    """Into how many shares the samples are cut: enough tasks to go round, none with more of W than it has events."""
    wanted = max(1, TASKS // max(1, -(-N // BLOCK)))
    if inputs:
        wanted = min(wanted, 1 + events // (4 * inputs))
    return max(1, min(wanted, samples))


def _inputs(params: Tensor, *given: Tensor | None) -> list[np.ndarray]:
    """Flat current, indptr, index, value, weight, in the dtype of `params` or as indices; empty if not given."""
    kinds = (params.dtype, torch.int64, torch.int32, params.dtype, params.dtype)
    return [_flat(params.new_empty(0) if x is None else x, kind) for x, kind in zip(given, kinds, strict=True)]


def _flat(x: Tensor, dtype: torch.dtype | None = None) -> np.ndarray:
    return x.detach().to(dtype or x.dtype).reshape(-1).numpy()


def forward(
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    params: Tensor,
    state: Tensor,
    lengths: Tensor,
    steps: int,
    flags: list[int],
    trace: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Spikes, membrane, last state, bits and checkpoints; arguments and shapes as in op.py."""
    _, samples, N = state.shape
    inputs = 0 if weight is None else weight.shape[0]
    given = _inputs(params, current, indptr, index, value, weight)
    spikes = params.new_empty(steps, samples, N)
    membrane = params.new_empty((steps, samples, N) if trace else 0)
    last = params.new_empty(state.shape)
    bits = params.new_empty((steps, samples, -(-N // 8)) if save else 0, dtype=torch.uint8)
    rows = 1 + (flags[0] > 0) + (flags[1] > 0) + (flags[7] > 0)
    checkpoints = params.new_empty((-(-steps // CHECKPOINT), rows, samples, N) if save else 0)
    shares = _shares(samples, N, inputs, given[2].size)
    spread(
        forward_task, shares * -(-N // BLOCK), shares, (steps, samples, N, inputs), *given, _flat(params), _flat(state),
        _flat(lengths), tuple(flags), _flat(spikes), _flat(membrane), _flat(last), _flat(bits), _flat(checkpoints),
    )  # fmt: skip
    return spikes, membrane, last, bits, checkpoints


def backward(
    grad_spikes: Tensor,
    grad_membrane: Tensor | None,
    grad_last: Tensor,
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    params: Tensor,
    state: Tensor,
    lengths: Tensor,
    bits: Tensor,
    checkpoints: Tensor,
    steps: int,
    flags: list[int],
    surrogate: list[float],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the currents or of the weight, of the parameters and of the initial state, as in op.py."""
    _, samples, N = state.shape
    inputs = 0 if weight is None else weight.shape[0]
    given = _inputs(params, current, indptr, index, value, weight)
    shares = _shares(samples, N, inputs, given[2].size)
    grad_current = params.new_empty((steps, samples, N) if weight is None else 0)
    grad_weight = params.new_empty(shares, inputs, N)
    grad_params = params.new_empty(shares, ROWS, N, dtype=torch.float64)
    grad_state = params.new_empty(state.shape)
    spread(
        backward_task, shares * -(-N // BLOCK), shares, (steps, samples, N, inputs), _flat(grad_spikes),
        _flat(params.new_empty(0) if grad_membrane is None else grad_membrane), _flat(grad_last), *given, _flat(params),
        _flat(state), _flat(lengths), _flat(bits), _flat(checkpoints), tuple(flags), int(surrogate[0]),
        np.array(surrogate[1:], dtype=given[0].dtype), _flat(grad_current), _flat(grad_weight), _flat(grad_params),
        _flat(grad_state),
    )  # fmt: skip
    grad_input = grad_current if weight is None else _sum(grad_weight)
    return grad_input, _sum(grad_params).to(params.dtype), grad_state


def _sum(shares: Tensor) -> Tensor:
    """The sum over the first axis, in its order."""
    return reduce(torch.add, shares.unbind(0))
