"""The recurrence with recurrent weights V on CPUs, forward and backward: how work is cut, and what the op calls.

A task owns all neurons of a share of the samples and runs GROUP of them through time together. Forward, only neurons
that spiked in the step before touch their row of V. Backward, a task computes CHECKPOINT steps again from a checkpoint
and walks back through them; with d the adjoint of the current I,

    adjoint of z' += V d,    gradient of V += z' d^T

The first is needed only where the surrogate's slope is not 0 (Perez-Nieves & Goodman 2021), but for the initial state.
Where few neurons of a group have one, in a step, their rows of V are taken for each sample; otherwise all of V for the
group at once, so that a row is read once for all its samples. Both are exact, so a surrogate with tails needs no
cut-off. The second adds d to the rows of the neurons that spiked.

The cut depends on the sizes alone: any number of threads gives the same bits. Shares of the samples have gradients of
weights and parameters of their own, added up in a fixed order.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import from_dtype
from torch import Tensor

from spiking.kernels.event_linear.cpu import gather, gather_valued, scatter, scatter_valued
from spiking.kernels.jit import LINE, jit, pointer, prefetch_read, prefetch_write, room, spread
from spiking.kernels.lif.cpu import _flat, _inputs, _sum, clear, kept
from spiking.kernels.lif.cpu_push import (
    FAN,
    GROUP,
    SPARSE,
    aligned,
    choose,
    fired,
    neurons_of,
    push_back,
    push_to,
    tally,
)
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
from spiking.kernels.surrogate.reference import BOUNDED, KINDS

TASKS = 8


@jit
def forward_task(
    share, shares, sizes, current, indptr, index, value, weight, recurrent, params, state, lengths, flags, step, spikes,
    membrane, last, bits, checkpoints,
):
    """All steps of a share of the samples; arrays that are not given or not wanted are empty."""
    T, samples, N = sizes
    blocks, byte, width = (N + BLOCK - 1) // BLOCK, np.zeros(BLOCK, np.uint8), (N + 7) // 8
    neurons = neurons_of(params, N, 0, blocks)
    tape, x = aligned(GROUP * blocks * STEP, params.dtype), aligned(N, params.dtype)
    who, felt = np.zeros(N, np.int32), np.zeros(N, params.dtype)
    end = (share + 1) * samples // shares
    for first in range(share * samples // shares, end, GROUP):
        group = min(GROUP, end - first)
        for g in range(group):
            for b in range(blocks):
                lo, n, at = b * BLOCK, min(BLOCK, N - b * BLOCK), (g * blocks + b) * STEP
                for row in range(STATES):
                    copy(state, (row * samples + first + g) * N + lo, n, tape, at + row * BLOCK)
        saved = 0
        for t in range(T):
            if checkpoints.size and t % CHECKPOINT == 0:
                for g in range(group):
                    for b in range(blocks):
                        lo, n, at = b * BLOCK, min(BLOCK, N - b * BLOCK), (g * blocks + b) * STEP
                        to = (t // CHECKPOINT * samples + first + g) * width + lo // 8
                        pack(tape, at + Z * BLOCK, n, byte, bits, to)
                for row in range(STATES):
                    if kept(flags, row):
                        for g in range(group):
                            for b in range(blocks):
                                lo, n, at = b * BLOCK, min(BLOCK, N - b * BLOCK), (g * blocks + b) * STEP
                                to = (saved * samples + first + g) * N + lo
                                copy(tape, at + row * BLOCK, n, checkpoints, to)
                        saved += 1
            for g in range(group):
                there = t * samples + first + g
                for j in range(0, N if t + 1 < T else 0, LINE):
                    prefetch_write(pointer(spikes, (there + samples) * N + j))
                    if current.size:
                        prefetch_read(pointer(current, (there + samples) * N + j))
                if t < lengths[first + g]:
                    count = 0
                    for b in range(blocks):
                        n, at = min(BLOCK, N - b * BLOCK), (g * blocks + b) * STEP
                        count = fired(tape, at + Z * BLOCK, n, b * BLOCK, who, felt, count)
                    if current.size:
                        receive(params, BIAS * N, N, current, there * N, x, 0)
                    else:
                        copy(params, BIAS * N, N, x, 0)
                    if value.size:
                        gather_valued(x, 0, N, weight, 0, N, index, value, indptr[there], indptr[there + 1])
                    elif index.size:
                        gather(x, 0, N, weight, 0, N, index, indptr[there], indptr[there + 1])
                    if t:
                        gather(x, 0, N, recurrent, 0, N, who, 0, count)
                    else:
                        gather_valued(x, 0, N, recurrent, 0, N, who, felt, 0, count)
                    for b in range(blocks):
                        lo, n, at = b * BLOCK, min(BLOCK, N - b * BLOCK), (g * blocks + b) * STEP
                        step(
                            pointer(neurons, b * NEURON), pointer(tape, 0), tape.size, np.uint64(at), np.uint64(n),
                            pointer(x, lo), pointer(spikes, there * N + lo),
                        )
                        if membrane.size:
                            copy(tape, at + HAT * BLOCK, n, membrane, there * N + lo)
                else:
                    clear(spikes, there * N, N)
                    if membrane.size:
                        clear(membrane, there * N, N)
        for g in range(group):
            for b in range(blocks):
                lo, n, at = b * BLOCK, min(BLOCK, N - b * BLOCK), (g * blocks + b) * STEP
                for row in range(STATES):
                    copy(tape, at + row * BLOCK, n, last, (row * samples + first + g) * N + lo)


@jit
def backward_task(
    share, shares, sizes, grad_spikes, grad_membrane, grad_last, current, indptr, index, value, weight, recurrent,
    panels, params, state, lengths, bits, checkpoints, flags, step, back, kind, numbers, bounded, grad_current,
    grad_weight, grad_recurrent, grad_params, grad_state,
):
    """Gradients of a share of the samples; those of weights and parameters are its own.

    A group goes back a segment of CHECKPOINT steps at a time: the segment again from its checkpoint, back through it,
    then the gradients of the weights. Row k of `d` holds the currents of step k, then their adjoints; the row after
    the last one holds those of the first step of the segment behind, which reach z of this one.
    """
    T, samples, N = sizes
    blocks, wide, width = (N + BLOCK - 1) // BLOCK, (N + LINE - 1) // LINE * LINE, (N + 7) // 8
    neurons, total = neurons_of(params, N, 0, blocks), np.zeros((ROWS, N))
    tape = aligned(GROUP * blocks * (CHECKPOINT + 1) * STEP, params.dtype)
    d, pushed = aligned((CHECKPOINT + 1) * GROUP * wide, params.dtype), aligned(blocks * GROUP * BLOCK, params.dtype)
    adjoints, slots = aligned(GROUP * blocks * REFRACTORY * BLOCK, params.dtype), np.zeros(GROUP, np.int64)
    who, felt = np.zeros(CHECKPOINT * GROUP * N, np.int32), np.zeros(CHECKPOINT * GROUP * N, params.dtype)
    near, slope = np.zeros(N, np.int32), np.zeros(N, params.dtype)
    starts, rows, inputs = np.zeros(CHECKPOINT * GROUP + 1, np.int64), 0, grad_weight.size // (shares * max(N, 1))
    clear(grad_weight, share * inputs * N, inputs * N)
    clear(grad_recurrent, share * N * N, N * N)
    for row in range(STATES):
        if kept(flags, row):
            rows += 1
    end = (share + 1) * samples // shares
    for first in range(share * samples // shares, end, GROUP):
        group = min(GROUP, end - first)
        for g in range(group):
            for b in range(blocks):
                lo, n, at = b * BLOCK, min(BLOCK, N - b * BLOCK), (g * blocks + b) * REFRACTORY * BLOCK
                for row in range(REFRACTORY):
                    copy(grad_last, (row * samples + first + g) * N + lo, n, adjoints, at + row * BLOCK)
        for segment in range((T + CHECKPOINT - 1) // CHECKPOINT - 1, -1, -1):
            start, steps = segment * CHECKPOINT, min(CHECKPOINT, T - segment * CHECKPOINT)
            for k in range(steps):
                for g in range(group):
                    there, to = (start + k) * samples + first + g, (k * GROUP + g) * wide
                    if start + k < lengths[first + g]:
                        if current.size:
                            receive(params, BIAS * N, N, current, there * N, d, to)
                        else:
                            copy(params, BIAS * N, N, d, to)
                        if value.size:
                            gather_valued(d, to, N, weight, 0, N, index, value, indptr[there], indptr[there + 1])
                        elif index.size:
                            gather(d, to, N, weight, 0, N, index, indptr[there], indptr[there + 1])
            for g in range(group):
                for b in range(blocks):
                    lo, n, at = b * BLOCK, min(BLOCK, N - b * BLOCK), (g * blocks + b) * (CHECKPOINT + 1) * STEP
                    saved = segment * rows
                    for row in range(STATES):
                        if kept(flags, row):
                            copy(checkpoints, (saved * samples + first + g) * N + lo, n, tape, at + row * BLOCK)
                            saved += 1
                    if start:
                        unpack(bits, (segment * samples + first + g) * width + lo // 8, n, tape, at + Z * BLOCK)
                    else:
                        copy(state, (Z * samples + first + g) * N + lo, n, tape, at + Z * BLOCK)
            count = 0
            for k in range(steps):
                for g in range(group):
                    to = (k * GROUP + g) * wide
                    starts[k * GROUP + g] = count
                    if start + k < lengths[first + g]:
                        for b in range(blocks):
                            n, at = min(BLOCK, N - b * BLOCK), ((g * blocks + b) * (CHECKPOINT + 1) + k) * STEP
                            count = fired(tape, at + Z * BLOCK, n, b * BLOCK, who, felt, count)
                        if start + k:
                            gather(d, to, N, recurrent, 0, N, who, starts[k * GROUP + g], count)
                        else:
                            gather_valued(d, to, N, recurrent, 0, N, who, felt, starts[k * GROUP + g], count)
                        for b in range(blocks):
                            n, at = min(BLOCK, N - b * BLOCK), ((g * blocks + b) * (CHECKPOINT + 1) + k) * STEP
                            step(
                                pointer(neurons, b * NEURON), pointer(tape, 0), tape.size, np.uint64(at), np.uint64(n),
                                pointer(d, to + b * BLOCK), pointer(d, 0),
                            )
                            derivative(kind, numbers, tape, at + GAP * BLOCK, n)
                    starts[k * GROUP + g + 1] = count
            for k in range(steps - 1, -1, -1):
                reached = choose(slots, 0, lengths, first, group, start + k + 2, T + 1)
                alive = choose(slots, reached, lengths, first, group, start + k + 1, start + k + 2)
                for i in range(alive):
                    there = (start + k) * samples + first + slots[i]
                    for b in range(blocks):
                        lo, n = b * BLOCK, min(BLOCK, N - b * BLOCK)
                        copy(grad_spikes, there * N + lo, n, pushed, (b * GROUP + i) * BLOCK)
                        for j in range(0, n if start + k else 0, LINE):
                            prefetch_read(pointer(grad_spikes, (there - samples) * N + lo + j))
                count = 0
                for i in range(reached if bounded else 0):
                    for b in range(blocks):
                        at = ((slots[i] * blocks + b) * (CHECKPOINT + 1) + k) * STEP
                        count += tally(tape, at + GAP * BLOCK, min(BLOCK, N - b * BLOCK))
                if bounded and count <= SPARSE * reached * N:
                    for i in range(reached):
                        count, place = 0, ((k + 1) * GROUP + slots[i]) * wide
                        for b in range(blocks):
                            n, at = min(BLOCK, N - b * BLOCK), ((slots[i] * blocks + b) * (CHECKPOINT + 1) + k) * STEP
                            count = fired(tape, at + GAP * BLOCK, n, b * BLOCK, near, slope, count)
                        push_to(d, place, N, recurrent, near, 0, count, i, pushed)
                else:
                    push_back(d, (k + 1) * GROUP, slots, reached, wide, panels, blocks, pushed)
                for i in range(alive):
                    g, there = slots[i], (start + k) * samples + first + slots[i]
                    for b in range(blocks):
                        n, at = min(BLOCK, N - b * BLOCK), ((g * blocks + b) * (CHECKPOINT + 1) + k) * STEP
                        own, node = (g * blocks + b) * REFRACTORY * BLOCK, b * NEURON + ADJOINT * BLOCK
                        trace = there * N + b * BLOCK if grad_membrane.size else 0
                        copy(adjoints, own, REFRACTORY * BLOCK, neurons, node)
                        back(
                            pointer(neurons, b * NEURON), pointer(tape, 0), tape.size, np.uint64(at), np.uint64(n),
                            pointer(d, (k * GROUP + g) * wide + b * BLOCK), pointer(pushed, (b * GROUP + i) * BLOCK),
                            pointer(grad_membrane, trace),
                        )
                        copy(neurons, node, REFRACTORY * BLOCK, adjoints, own)
            for k in range(steps):
                for g in range(group):
                    there, place = (start + k) * samples + first + g, (k * GROUP + g) * wide
                    if start + k < lengths[first + g]:
                        if current.size:
                            copy(d, place, N, grad_current, there * N)
                        elif value.size:
                            e, stop = indptr[there], indptr[there + 1]
                            scatter_valued(d, place, N, grad_weight, share * inputs * N, N, index, value, e, stop)
                        else:
                            e, stop = indptr[there], indptr[there + 1]
                            scatter(d, place, N, grad_weight, share * inputs * N, N, index, e, stop)
                    elif current.size:
                        clear(grad_current, there * N, N)
            for k in range(steps):
                for g in range(group):
                    place, e, stop = (k * GROUP + g) * wide, starts[k * GROUP + g], starts[k * GROUP + g + 1]
                    if start + k:
                        scatter(d, place, N, grad_recurrent, share * N * N, N, who, e, stop)
                    else:
                        scatter_valued(d, place, N, grad_recurrent, share * N * N, N, who, felt, e, stop)
            copy(d, 0, GROUP * wide, d, CHECKPOINT * GROUP * wide)
        clear(pushed, 0, pushed.size)
        reached = choose(slots, 0, lengths, first, group, 1, T + 1)
        push_back(d, CHECKPOINT * GROUP, slots, reached, wide, panels, blocks, pushed)
        for i in range(reached):
            for b in range(blocks):
                o, q = (b * GROUP + i) * BLOCK, ((slots[i] * blocks + b) * REFRACTORY + Z) * BLOCK
                for j in range(BLOCK):
                    adjoints[q + j] += pushed[o + j]
        for b in range(blocks):
            lo, n = b * BLOCK, min(BLOCK, N - b * BLOCK)
            for row in range(ROWS):
                at = b * NEURON + (SUMS + row) * BLOCK
                for j in range(n):
                    total[row, lo + j] += neurons[at + j]
                clear(neurons, at, n)
            for g in range(group):
                for row in range(REFRACTORY):
                    own = ((g * blocks + b) * REFRACTORY + row) * BLOCK
                    copy(adjoints, own, n, grad_state, (row * samples + first + g) * N + lo)
                clear(grad_state, (REFRACTORY * samples + first + g) * N + lo, n)
    for row in range(ROWS):
        for j in range(N):
            grad_params[(share * ROWS + row) * N + j] = total[row, j]


def forward(
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    recurrent: Tensor,
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
    given = _inputs(params, current, indptr, index, value, weight)
    spikes = room(params, steps, samples, N)
    membrane = room(params, *((steps, samples, N) if trace else (0,)))
    last = params.new_empty(state.shape)
    bits = params.new_empty((-(-steps // CHECKPOINT), samples, -(-N // 8)) if save else 0, dtype=torch.uint8)
    checkpoints = params.new_empty((-(-steps // CHECKPOINT), saved_rows(flags), samples, N) if save else 0)
    step = advance(Flags(*flags), False, trace, from_dtype(given[0].dtype))
    shares = min(TASKS, samples)
    spread(
        forward_task, shares, shares, (steps, samples, N), *given, _flat(recurrent, params.dtype), _flat(params),
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
    recurrent: Tensor,
    params: Tensor,
    state: Tensor,
    lengths: Tensor,
    bits: Tensor,
    checkpoints: Tensor,
    steps: int,
    flags: list[int],
    surrogate: list[float],
    learn: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the currents or of the weight, of the recurrent weights, the parameters and the initial state."""
    _, samples, N = state.shape
    inputs = 0 if weight is None else weight.shape[0]
    given = _inputs(params, current, indptr, index, value, weight)
    shares = max(1, min(TASKS, -(-samples // FAN)))
    grad_current = room(params, *((steps, samples, N) if weight is None else (0,)))
    grad_weight, grad_recurrent = params.new_empty(shares, inputs, N), params.new_empty(shares, N, N)
    grad_params = params.new_empty(shares, ROWS, N, dtype=torch.float64)
    grad_state = params.new_empty(state.shape)
    matrix = recurrent.detach().to(params.dtype)
    panels = torch.nn.functional.pad(matrix.t(), (0, -N % BLOCK, 0, -N % LINE))
    panels = panels.view(panels.shape[0], panels.shape[1] // BLOCK, BLOCK).transpose(0, 1).contiguous()
    real, traced = from_dtype(given[0].dtype), grad_membrane is not None
    step, back = advance(Flags(*flags), True, False, real), retreat(Flags(*flags), learn, traced, real)
    spread(
        backward_task, shares, shares, (steps, samples, N), _flat(grad_spikes),
        _flat(params.new_empty(0) if grad_membrane is None else grad_membrane), _flat(grad_last), *given,
        _flat(matrix), _flat(panels), _flat(params), _flat(state), _flat(lengths), _flat(bits), _flat(checkpoints),
        tuple(flags), step, back, int(surrogate[0]), np.array(surrogate[1:], dtype=given[0].dtype),
        KINDS[int(surrogate[0])] in BOUNDED, _flat(grad_current), _flat(grad_weight), _flat(grad_recurrent),
        _flat(grad_params), _flat(grad_state),
    )  # fmt: skip
    grad_input = grad_current if weight is None else _sum(grad_weight)
    return grad_input, _sum(grad_recurrent), _sum(grad_params).to(params.dtype), grad_state
