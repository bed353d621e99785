"""The recurrence with sparse recurrent weights V on CPUs, forward and backward; the currents of the input are given.

Who spiked is kept as bits of every step. A step adds the fan-outs of those of the step before; backward, with d the
adjoint of the current I,

    adjoint of z' += V d    at neurons whose slope is not 0,    gradient of V = z' d^T    at the synapses that exist

the second by `sparse_linear` over all steps at once, since d is the gradient of the given currents and all of it known.
From bits and currents a task also has the input of a segment of CHECKPOINT steps at once, and walks through it again.

Work is cut in one of two ways, by the sizes alone. Of many samples each task takes a share, with all neurons. Of few
samples with many neurons each thread takes some blocks of neurons, and all wait for each other after each step. A
neuron receives spikes in the order of their senders in both, so any number of threads gives the same bits.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import from_dtype
from torch import Tensor

from spiking.kernels.jit import LINE, jit, meet, pointer, prefetch_read, prefetch_write, room, spread, together
from spiking.kernels.lif.cpu import _flat, _sum, clear, kept
from spiking.kernels.lif.cpu_fan import FEW, GROUP, TASKS, feel, feel_first, gradient, push, push_all, take
from spiking.kernels.lif.cpu_push import aligned, neurons_of, tally
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
from spiking.kernels.lif.rule import BIAS, CHECKPOINT, REFRACTORY, ROWS, STATES, Flags, Z, saved_rows
from spiking.kernels.surrogate.cpu import derivative

TEAM = 2048  # neurons from which on fewer than TASKS samples are cut by neurons
ROOM = 1 << 25  # bytes of a group's segment


@jit
def part(k, n, barrier, sizes):
    """First sample and after the last, first block of neurons and after the last, of the k-th of n tasks."""
    _, samples, N, teamed = sizes
    blocks = (N + BLOCK - 1) // BLOCK
    if teamed:
        return 0, samples, k * blocks // n, (k + 1) * blocks // n
    return k * samples // n, (k + 1) * samples // n, 0, blocks


@jit
def forward_task(
    k, tasks, barrier, sizes, group, current, indptr, index, values, params, state, lengths, flags, step, spikes,
    membrane, last, bits, checkpoints,
):
    """All steps of a part of the samples and neurons; arrays that are not wanted are empty."""
    T, samples, N, _ = sizes
    begin, end, b0, b1 = part(k, tasks, barrier, sizes)
    lo, hi, own, width = b0 * BLOCK, min(N, b1 * BLOCK), b1 - b0, (N + 7) // 8
    neurons, byte, whole = neurons_of(params, N, b0, b1), np.zeros(BLOCK, np.uint8), hi - lo == N
    tape, x = aligned(group * own * STEP, params.dtype), aligned(N, params.dtype)
    for first in range(begin, end, group):
        count = min(group, end - first)
        for g in range(count):
            for b in range(b0, b1):
                n, at = min(BLOCK, N - b * BLOCK), (g * own + b - b0) * STEP
                for row in range(STATES):
                    copy(state, (row * samples + first + g) * N + b * BLOCK, n, tape, at + row * BLOCK)
        saved = 0
        for t in range(T):
            if checkpoints.size and t % CHECKPOINT == 0:
                for row in range(STATES):
                    if kept(flags, row):
                        for g in range(count):
                            for b in range(b0, b1):
                                n, at = min(BLOCK, N - b * BLOCK), (g * own + b - b0) * STEP
                                to = (saved * samples + first + g) * N + b * BLOCK
                                copy(tape, at + row * BLOCK, n, checkpoints, to)
                        saved += 1
            for g in range(count):
                there = t * samples + first + g
                for j in range(lo, hi if t + 1 < T else lo, LINE):
                    prefetch_write(pointer(spikes, (there + samples) * N + j))
                    prefetch_read(pointer(current, (there + samples) * N + j))
                if t < lengths[first + g]:
                    receive(params, BIAS * N + lo, hi - lo, current, there * N + lo, x, lo)
                    if t:
                        feel(x, 0, bits, (there - samples) * width, width, indptr, index, values, lo, hi, whole)
                    else:
                        feel_first(x, 0, state, (Z * samples + first + g) * N, N, indptr, index, values, lo, hi)
                    for b in range(b0, b1):
                        n, at = min(BLOCK, N - b * BLOCK), (g * own + b - b0) * STEP
                        step(
                            pointer(neurons, (b - b0) * NEURON), pointer(tape, 0), tape.size, np.uint64(at),
                            np.uint64(n), pointer(x, b * BLOCK), pointer(spikes, there * N + b * BLOCK),
                        )
                        for j in range(n, BLOCK):
                            byte[j] = 0
                        pack(tape, at + Z * BLOCK, n, byte, bits, there * width + b * BLOCK // 8)
                        if membrane.size:
                            copy(tape, at + HAT * BLOCK, n, membrane, there * N + b * BLOCK)
                else:
                    clear(spikes, there * N + lo, hi - lo)
                    if membrane.size:
                        clear(membrane, there * N + lo, hi - lo)
            if barrier:
                meet(barrier)
        for g in range(count):
            for b in range(b0, b1):
                n, at = min(BLOCK, N - b * BLOCK), (g * own + b - b0) * STEP
                for row in range(STATES):
                    copy(tape, at + row * BLOCK, n, last, (row * samples + first + g) * N + b * BLOCK)


@jit
def backward_task(
    k, tasks, barrier, sizes, group, grad_spikes, grad_membrane, grad_last, current, indptr, index, values, params,
    state, lengths, bits, checkpoints, flags, step, back, kind, numbers, d, grad_params, grad_state,
):
    """Gradients of a part of the samples and neurons; row t of `d` holds the input of step t, then its adjoint."""
    T, samples, N, teamed = sizes
    begin, end, b0, b1 = part(k, tasks, barrier, sizes)
    lo, hi, own, width, share = b0 * BLOCK, min(N, b1 * BLOCK), b1 - b0, (N + 7) // 8, 0 if teamed else k
    neurons, whole, rows = neurons_of(params, N, b0, b1), hi - lo == N, 0
    total, pushed, none = np.zeros((ROWS, max(hi - lo, 0))), aligned(BLOCK, params.dtype), aligned(BLOCK, params.dtype)
    every, lanes = np.ones(BLOCK, params.dtype), 0 if teamed else N * GROUP
    tile, felt = aligned(lanes, params.dtype), aligned(lanes, params.dtype)
    tape = aligned(group * own * (CHECKPOINT + 1) * STEP, params.dtype)
    adjoints = aligned(group * own * REFRACTORY * BLOCK, params.dtype)
    for row in range(STATES):
        if kept(flags, row):
            rows += 1
    for first in range(begin, end, group):
        count = min(group, end - first)
        for g in range(count):
            for b in range(b0, b1):
                n, at = min(BLOCK, N - b * BLOCK), (g * own + b - b0) * REFRACTORY * BLOCK
                for row in range(REFRACTORY):
                    copy(grad_last, (row * samples + first + g) * N + b * BLOCK, n, adjoints, at + row * BLOCK)
        for segment in range((T + CHECKPOINT - 1) // CHECKPOINT - 1, -1, -1):
            start, steps = segment * CHECKPOINT, min(CHECKPOINT, T - segment * CHECKPOINT)
            for t in range(start, start + steps):
                for g in range(count):
                    there = t * samples + first + g
                    if t >= lengths[first + g]:
                        clear(d, there * N + lo, hi - lo)
                    else:
                        receive(params, BIAS * N + lo, hi - lo, current, there * N + lo, d, there * N + lo)
                        if t:
                            before = (there - samples) * width
                            feel(d, there * N, bits, before, width, indptr, index, values, lo, hi, whole)
                        else:
                            z = (Z * samples + first + g) * N
                            feel_first(d, there * N, state, z, N, indptr, index, values, lo, hi)
            for g in range(count):
                for b in range(b0, b1):
                    n, at = min(BLOCK, N - b * BLOCK), (g * own + b - b0) * (CHECKPOINT + 1) * STEP
                    saved = segment * rows
                    for row in range(STATES):
                        if kept(flags, row):
                            place = (saved * samples + first + g) * N + b * BLOCK
                            copy(checkpoints, place, n, tape, at + row * BLOCK)
                            saved += 1
                    if start:
                        place = ((start - 1) * samples + first + g) * width + b * BLOCK // 8
                        unpack(bits, place, n, tape, at + Z * BLOCK)
                    else:
                        copy(state, (Z * samples + first + g) * N + b * BLOCK, n, tape, at + Z * BLOCK)
                    for t in range(start, min(start + steps, lengths[first + g])):
                        there = (t * samples + first + g) * N + b * BLOCK
                        step(
                            pointer(neurons, (b - b0) * NEURON), pointer(tape, 0), tape.size, np.uint64(at),
                            np.uint64(n), pointer(d, there), pointer(none, 0),
                        )
                        derivative(kind, numbers, tape, at + GAP * BLOCK, n)
                        at += STEP
            for t in range(start + steps - 1, start - 1, -1):
                near = 0
                for g in range(0 if teamed else count):
                    for b in range(b0, b1 if t + 1 < lengths[first + g] else b0):
                        at = ((g * own + b - b0) * (CHECKPOINT + 1) + t - start) * STEP
                        near += tally(tape, at + GAP * BLOCK, min(BLOCK, N - b * BLOCK))
                many = near > FEW * N * GROUP
                if many:
                    there = ((t + 1) * samples + first) * N
                    push_all(tile, d, there, N, count, N, indptr, index, values, felt)
                for g in range(count):
                    there = t * samples + first + g
                    for b in range(b0, b1 if t < lengths[first + g] else b0):
                        n, cell = min(BLOCK, N - b * BLOCK), there * N + b * BLOCK
                        at = ((g * own + b - b0) * (CHECKPOINT + 1) + t - start) * STEP
                        mine, node = (g * own + b - b0) * REFRACTORY * BLOCK, (b - b0) * NEURON
                        for j in range(0, n if t else 0, LINE):
                            prefetch_read(pointer(grad_spikes, cell - samples * N + j))
                        copy(grad_spikes, cell, n, pushed, 0)
                        if many:
                            take(pushed, n, b * BLOCK, g, felt)
                        elif t + 1 < lengths[first + g]:
                            push(
                                pushed, tape, at + GAP * BLOCK, n, b * BLOCK, indptr, index, values, d,
                                (there + samples) * N,
                            )
                        copy(adjoints, mine, REFRACTORY * BLOCK, neurons, node + ADJOINT * BLOCK)
                        back(
                            pointer(neurons, node), pointer(tape, 0), tape.size, np.uint64(at), np.uint64(n),
                            pointer(d, cell), pointer(pushed, 0),
                            pointer(grad_membrane, cell if grad_membrane.size else 0),
                        )
                        copy(neurons, node + ADJOINT * BLOCK, REFRACTORY * BLOCK, adjoints, mine)
                if barrier:
                    meet(barrier)
        for b in range(b0, b1):
            n, node = min(BLOCK, N - b * BLOCK), (b - b0) * NEURON
            for row in range(ROWS):
                for j in range(n):
                    total[row, (b - b0) * BLOCK + j] += neurons[node + (SUMS + row) * BLOCK + j]
                clear(neurons, node + (SUMS + row) * BLOCK, n)
            for g in range(count):
                mine = (g * own + b - b0) * REFRACTORY * BLOCK
                clear(pushed, 0, BLOCK)
                if T and lengths[first + g]:
                    push(pushed, every, 0, n, b * BLOCK, indptr, index, values, d, (first + g) * N)
                for j in range(n):
                    adjoints[mine + Z * BLOCK + j] += pushed[j]
                for row in range(REFRACTORY):
                    place = (row * samples + first + g) * N + b * BLOCK
                    copy(adjoints, mine + row * BLOCK, n, grad_state, place)
                clear(grad_state, (REFRACTORY * samples + first + g) * N + b * BLOCK, n)
    for row in range(ROWS):
        for j in range(hi - lo):
            grad_params[(share * ROWS + row) * N + lo + j] = total[row, j]


def _cut(steps: int, samples: int, N: int, size: int) -> tuple[tuple[int, int, int, bool], int]:
    """The sizes with whether neurons are cut instead of samples, and how many samples go together."""
    segment = -(-N // BLOCK) * (CHECKPOINT + 1) * STEP * size
    return (steps, samples, N, samples < TASKS and N >= TEAM), max(1, min(GROUP, ROOM // max(segment, 1)))


def forward(
    current: Tensor, indptr: Tensor, index: Tensor, values: Tensor, params: Tensor, state: Tensor, lengths: Tensor,
    flags: list[int], trace: bool, save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Spikes, membrane, last state, bits and checkpoints; arguments and shapes as in flat_sparse.py."""
    steps, samples, N = current.shape
    spikes = room(params, steps, samples, N)
    membrane = room(params, *((steps, samples, N) if trace else (0,)))
    last = params.new_empty(state.shape)
    bits = torch.zeros(steps, samples, -(-N // 8), dtype=torch.uint8)
    checkpoints = params.new_empty((-(-steps // CHECKPOINT), saved_rows(flags), samples, N) if save else 0)
    sizes, group = _cut(steps, samples, N, params.element_size())
    step = advance(Flags(*flags), False, trace, from_dtype(spikes.numpy().dtype))
    _run(
        forward_task, sizes, sizes, group, _flat(current), _flat(indptr), _flat(index), _flat(values), _flat(params),
        _flat(state), _flat(lengths), tuple(flags), step, _flat(spikes), _flat(membrane), _flat(last), _flat(bits),
        _flat(checkpoints),
    )  # fmt: skip
    return spikes, membrane, last, bits if save else bits.new_zeros(0), checkpoints


def backward(
    grad_spikes: Tensor, grad_membrane: Tensor | None, grad_last: Tensor, current: Tensor, indptr: Tensor,
    index: Tensor, values: Tensor, params: Tensor, state: Tensor, lengths: Tensor, bits: Tensor, checkpoints: Tensor,
    flags: list[int], surrogate: list[float], learn: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of the currents, of the values, of the parameters and of the initial state."""
    steps, samples, N = current.shape
    sizes, group = _cut(steps, samples, N, params.element_size())
    d = room(params, steps, samples, N)
    grad_params = params.new_empty(1 if sizes[3] else _shares(samples), ROWS, N, dtype=torch.float64)
    grad_state = params.new_empty(state.shape)
    real, traced = from_dtype(d.numpy().dtype), grad_membrane is not None
    step, back = advance(Flags(*flags), True, False, real), retreat(Flags(*flags), learn, traced, real)
    _run(
        backward_task, sizes, sizes, group, _flat(grad_spikes),
        _flat(params.new_empty(0) if grad_membrane is None else grad_membrane), _flat(grad_last), _flat(current),
        _flat(indptr), _flat(index), _flat(values), _flat(params), _flat(state), _flat(lengths), _flat(bits),
        _flat(checkpoints), tuple(flags), step, back, int(surrogate[0]), np.array(surrogate[1:], d.numpy().dtype),
        _flat(d), _flat(grad_params), _flat(grad_state),
    )  # fmt: skip
    grad_values = gradient(indptr, index, bits, state[Z], d)
    return d, grad_values, _sum(grad_params).to(params.dtype), grad_state


def _shares(samples: int) -> int:
    return max(1, min(TASKS, samples))


def _run(task: object, sizes: tuple[int, int, int, bool], *arguments: object) -> None:
    """Run the parts of a task, each share of the samples or each thread's blocks of neurons."""
    if sizes[3]:
        together(task, *arguments)  # type: ignore[arg-type]
    else:
        spread(task, _shares(sizes[1]), _shares(sizes[1]), 0, *arguments)  # type: ignore[arg-type]
