"""The integrate-and-fire recurrence on CPUs, forward and backward: how work is cut, and what the op calls.

Work is cut into tasks of BLOCK neurons and a share of the samples. Feed-forward neurons do not meet, so a task owns its
columns of W and of its gradient, which fit a core's cache. It runs GROUP samples through time together, event by event:
the rows of a step lie together in memory, those of a sample as far apart as they can. The cut depends on the sizes
alone: any number of threads gives the same bits.

Backward, a task computes CHECKPOINT steps again from a checkpoint, spikes included, and walks back through them. Shares
of the samples have weight and parameter gradients of their own, added up in a fixed order.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from numba import from_dtype
from torch import Tensor

from spiking.kernels.event_linear.cpu import gather, gather_valued, scatter, scatter_valued
from spiking.kernels.jit import LINE, jit, pointer, prefetch_read, prefetch_write, room, spread
from spiking.kernels.lif.cpu_step import (
    ADJOINT,
    BLOCK,
    GAP,
    HAT,
    NEURON,
    STEP,
    SUMS,
    advance,
    copy,
    pack,
    receive,
    retreat,
    unpack,
)
from spiking.kernels.lif.rule import BIAS, CHECKPOINT, REFRACTORY, ROWS, STATES, Flags, I, U, W, Z, saved_rows
from spiking.kernels.surrogate.cpu import derivative

TASKS = 8
GROUP = 16  # samples that go through time together, so that memory is met in long pieces


@jit
def clear(flat, place, n):
    """flat[place :][:n] = 0."""
    o = np.uint64(place)
    for j in range(np.uint64(n)):
        flat[o + j] = 0


@jit
def cut(task, shares, samples, N):
    """First neuron, neurons, first sample, sample after the last, share of a task."""
    lo, share = task // shares * BLOCK, task % shares
    return lo, min(BLOCK, N - lo), share * samples // shares, (share + 1) * samples // shares, share


@jit
def block_of(params, N, lo, n):
    """The parameters of a block of neurons; the sums and the adjoints are 0."""
    block = np.zeros(NEURON, params.dtype)
    for row in range(ROWS):
        copy(params, row * N + lo, n, block, row * BLOCK)
    return block


@jit
def kept(flags, row):
    """Whether checkpoints hold a row of the state: u always, the others where a step reads them, z as bits."""
    synapse, adaptation, _, _, _, _, _, refractory, _ = flags
    if row == I:
        return synapse > 0
    if row == W:
        return adaptation > 0
    return row == U or (row == REFRACTORY and refractory > 0)


@jit
def forward_task(
    task, shares, sizes, current, indptr, index, value, weight, lay, params, state, lengths, flags, step, spikes,
    membrane, last, bits, checkpoints,
):
    """All steps of the samples of a task; arrays that are not given or not wanted are empty."""
    T, samples, N = sizes
    lo, n, begin, end, _ = cut(task, shares, samples, N)
    base, stride = lo // BLOCK * lay[0], lay[1]
    block = block_of(params, N, lo, n)
    tape, x = np.zeros(GROUP * STEP, params.dtype), np.zeros(BLOCK, params.dtype)
    byte, width = np.zeros(BLOCK, np.uint8), (N + 7) // 8
    for first in range(begin, end, GROUP):
        group = min(GROUP, end - first)
        for g in range(group):
            for row in range(STATES):
                copy(state, (row * samples + first + g) * N + lo, n, tape, g * STEP + row * BLOCK)
        saved = 0
        for t in range(T):
            if checkpoints.size and t % CHECKPOINT == 0:
                for g in range(group):
                    to = (t // CHECKPOINT * samples + first + g) * width + lo // 8
                    pack(tape, g * STEP + Z * BLOCK, n, byte, bits, to)
                for row in range(STATES):
                    if kept(flags, row):
                        for g in range(group):
                            to = (saved * samples + first + g) * N + lo
                            copy(tape, g * STEP + row * BLOCK, n, checkpoints, to)
                        saved += 1
            for g in range(group):
                there = t * samples + first + g
                to = there * N + lo
                for j in range(0, n if t + 1 < T else 0, LINE):
                    prefetch_write(pointer(spikes, to + samples * N + j))
                    if current.size:
                        prefetch_read(pointer(current, to + samples * N + j))
                if t < lengths[first + g]:
                    if current.size:
                        receive(block, BIAS * BLOCK, n, current, to, x, 0)
                    else:
                        copy(block, BIAS * BLOCK, n, x, 0)
                    if value.size:
                        gather_valued(x, 0, n, weight, base, stride, index, value, indptr[there], indptr[there + 1])
                    elif index.size:
                        gather(x, 0, n, weight, base, stride, index, indptr[there], indptr[there + 1])
                    step(
                        pointer(block, 0), pointer(tape, 0), tape.size, np.uint64(g * STEP), np.uint64(n),
                        pointer(x, 0), pointer(spikes, to),
                    )
                    if membrane.size:
                        copy(tape, g * STEP + HAT * BLOCK, n, membrane, to)
                else:
                    clear(spikes, to, n)
                    if membrane.size:
                        clear(membrane, to, n)
        for g in range(group):
            for row in range(STATES):
                copy(tape, g * STEP + row * BLOCK, n, last, (row * samples + first + g) * N + lo)


@jit
def collect(flat, start, steps, samples, first, group, N, lo, n, tile):
    """Rows of some steps of a group of samples, (step, sample, BLOCK), in the order in which they lie in memory."""
    for k in range(steps):
        for g in range(group):
            copy(flat, ((start + k) * samples + first + g) * N + lo, n, tile, (k * GROUP + g) * BLOCK)


@jit
def backward_task(
    task, shares, sizes, grad_spikes, grad_membrane, grad_last, current, indptr, index, value, weight, lay, params,
    state, lengths, bits, checkpoints, flags, step, back, kind, numbers, grad_current, grad_weight, grad_params,
    grad_state,
):
    """Gradients of the samples of a task; those of weight and parameters go to its share.

    A group goes back a segment of CHECKPOINT steps at a time: first the input of all its steps, then each sample
    through them and back, last the weight's gradient. So W and its gradient are met in turn, each for long.
    """
    T, samples, N = sizes
    lo, n, begin, end, share = cut(task, shares, samples, N)
    base, stride = lo // BLOCK * lay[0], lay[1]
    block = block_of(params, N, lo, n)
    tape, tile = np.zeros((CHECKPOINT + 1) * STEP, params.dtype), CHECKPOINT * GROUP * BLOCK
    x, tile_z = np.zeros(tile, params.dtype), np.zeros(tile, params.dtype)
    tile_h = np.zeros(tile if grad_membrane.size else 0, params.dtype)
    adjoints, total = np.zeros(GROUP * REFRACTORY * BLOCK, params.dtype), np.zeros((ROWS, n))
    own, width, rows = min(N, BLOCK), (N + 7) // 8, 0
    mine = grad_weight.size // (shares * ((N + BLOCK - 1) // BLOCK))
    clear(grad_weight, task * mine, mine)
    for row in range(STATES):
        if kept(flags, row):
            rows += 1
    for first in range(begin, end, GROUP):
        group = min(GROUP, end - first)
        for g in range(group):
            for row in range(REFRACTORY):
                copy(grad_last, (row * samples + first + g) * N + lo, n, adjoints, (g * REFRACTORY + row) * BLOCK)
        for segment in range((T + CHECKPOINT - 1) // CHECKPOINT - 1, -1, -1):
            start, steps = segment * CHECKPOINT, min(CHECKPOINT, T - segment * CHECKPOINT)
            collect(grad_spikes, start, steps, samples, first, group, N, lo, n, tile_z)
            if grad_membrane.size:
                collect(grad_membrane, start, steps, samples, first, group, N, lo, n, tile_h)
            for k in range(steps):
                for g in range(group):
                    there, to = (start + k) * samples + first + g, (k * GROUP + g) * BLOCK
                    if current.size:
                        receive(block, BIAS * BLOCK, n, current, there * N + lo, x, to)
                    else:
                        copy(block, BIAS * BLOCK, n, x, to)
                    if value.size:
                        gather_valued(x, to, n, weight, base, stride, index, value, indptr[there], indptr[there + 1])
                    elif index.size:
                        gather(x, to, n, weight, base, stride, index, indptr[there], indptr[there + 1])
            for g in range(group):
                valid = max(0, min(steps, lengths[first + g] - start))
                saved = segment * rows
                for row in range(STATES):
                    if kept(flags, row):
                        copy(checkpoints, (saved * samples + first + g) * N + lo, n, tape, row * BLOCK)
                        saved += 1
                if start:
                    unpack(bits, (segment * samples + first + g) * width + lo // 8, n, tape, Z * BLOCK)
                else:
                    copy(state, (Z * samples + first + g) * N + lo, n, tape, Z * BLOCK)
                for k in range(valid):
                    before = ((start - CHECKPOINT + k) * samples + first + g) * N + lo
                    for j in range(0, n if start else 0, LINE):
                        prefetch_read(pointer(grad_spikes, before + j))
                    step(
                        pointer(block, 0), pointer(tape, 0), tape.size, np.uint64(k * STEP), np.uint64(n),
                        pointer(x, (k * GROUP + g) * BLOCK), pointer(x, 0),
                    )
                    derivative(kind, numbers, tape, k * STEP + GAP * BLOCK, n)
                copy(adjoints, g * REFRACTORY * BLOCK, REFRACTORY * BLOCK, block, ADJOINT * BLOCK)
                for k in range(valid - 1, -1, -1):
                    place = (k * GROUP + g) * BLOCK
                    back(
                        pointer(block, 0), pointer(tape, 0), tape.size, np.uint64(k * STEP), np.uint64(n),
                        pointer(x, place), pointer(tile_z, place), pointer(tile_h, place),
                    )
                copy(block, ADJOINT * BLOCK, REFRACTORY * BLOCK, adjoints, g * REFRACTORY * BLOCK)
            for k in range(steps):
                for g in range(group):
                    there, place = (start + k) * samples + first + g, (k * GROUP + g) * BLOCK
                    if current.size and start + k < lengths[first + g]:
                        copy(x, place, n, grad_current, there * N + lo)
                    elif current.size:
                        clear(grad_current, there * N + lo, n)
                    elif start + k < lengths[first + g]:
                        e, stop = indptr[there], indptr[there + 1]
                        if value.size:
                            scatter_valued(x, place, n, grad_weight, task * mine, own, index, value, e, stop)
                        else:
                            scatter(x, place, n, grad_weight, task * mine, own, index, e, stop)
        for row in range(ROWS):
            for j in range(n):
                total[row, j] += block[(SUMS + row) * BLOCK + j]
            clear(block, (SUMS + row) * BLOCK, n)
        for g in range(group):
            for row in range(REFRACTORY):
                copy(adjoints, (g * REFRACTORY + row) * BLOCK, n, grad_state, (row * samples + first + g) * N + lo)
            clear(grad_state, (REFRACTORY * samples + first + g) * N + lo, n)
    for row in range(ROWS):
        for j in range(n):
            grad_params[(share * ROWS + row) * N + lo + j] = total[row, j]


def _shares(samples: int, N: int, inputs: int, events: int) -> int:
    """Into how many shares the samples are cut: enough tasks to go round, none with more of W than it has events."""
    wanted = max(1, TASKS // max(1, -(-N // BLOCK)))
    if inputs:
        wanted = min(wanted, 1 + events // (4 * inputs))
    return max(1, min(wanted, samples))


def _blocks(weight: Tensor, events: int) -> tuple[Tensor, tuple[int, int]]:
    """A matrix with each BLOCK of columns together, if that pays, and the distances between blocks and rows."""
    inputs, N = weight.shape
    if N <= BLOCK or events < 2 * inputs:
        return weight, (BLOCK, N)
    padded = torch.nn.functional.pad(weight.detach(), (0, -N % BLOCK))
    return padded.view(inputs, -1, BLOCK).transpose(0, 1), (inputs * BLOCK, BLOCK)


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
    events = 0 if index is None else index.numel()
    matrix, lay = (None, (0, 0)) if weight is None else _blocks(weight, events)
    given = _inputs(params, current, indptr, index, value, matrix)
    spikes = room(params, steps, samples, N)
    membrane = room(params, *((steps, samples, N) if trace else (0,)))
    last = params.new_empty(state.shape)
    bits = params.new_empty((-(-steps // CHECKPOINT), samples, -(-N // 8)) if save else 0, dtype=torch.uint8)
    checkpoints = params.new_empty((-(-steps // CHECKPOINT), saved_rows(flags), samples, N) if save else 0)
    shares = _shares(samples, N, inputs, events)
    step = advance(Flags(*flags), False, trace, from_dtype(given[0].dtype))
    spread(
        forward_task, shares * -(-N // BLOCK), shares, (steps, samples, N), *given, lay, _flat(params),
        _flat(state), _flat(lengths), tuple(flags), step, _flat(spikes), _flat(membrane), _flat(last), _flat(bits),
        _flat(checkpoints),
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
    learn: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the currents or of the weight, of the parameters and of the initial state, as in op.py."""
    _, samples, N = state.shape
    inputs = 0 if weight is None else weight.shape[0]
    events = 0 if index is None else index.numel()
    matrix, lay = (None, (0, 0)) if weight is None else _blocks(weight, events)
    given = _inputs(params, current, indptr, index, value, matrix)
    shares = _shares(samples, N, inputs, events)
    grad_current = room(params, *((steps, samples, N) if weight is None else (0,)))
    own = min(N, BLOCK)
    grad_weight = params.new_empty(-(-N // BLOCK), shares, inputs, own)
    grad_params = params.new_empty(shares, ROWS, N, dtype=torch.float64)
    grad_state = params.new_empty(state.shape)
    real, traced = from_dtype(given[0].dtype), grad_membrane is not None
    step, back = advance(Flags(*flags), True, False, real), retreat(Flags(*flags), learn, traced, real)
    spread(
        backward_task, shares * -(-N // BLOCK), shares, (steps, samples, N), _flat(grad_spikes),
        _flat(params.new_empty(0) if grad_membrane is None else grad_membrane), _flat(grad_last), *given, lay,
        _flat(params), _flat(state), _flat(lengths), _flat(bits), _flat(checkpoints), tuple(flags), step, back,
        int(surrogate[0]), np.array(surrogate[1:], dtype=given[0].dtype), _flat(grad_current), _flat(grad_weight),
        _flat(grad_params), _flat(grad_state),
    )  # fmt: skip
    grad_input = grad_current
    if weight is not None:
        summed = _sum(grad_weight.transpose(0, 1)).transpose(0, 1)
        grad_input = summed.reshape(inputs, summed.shape[1] * own)[:, :N].contiguous()
    return grad_input, _sum(grad_params).to(params.dtype), grad_state


def _sum(shares: Tensor) -> Tensor:
    """The sum over the first axis, in its order."""
    return reduce(torch.add, shares.unbind(0))
