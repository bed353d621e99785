"""The learning network on CPUs, in Numba; op.py gives the equations.

The neurons, their currents and the delivery of spikes are those of the reservoir; between firing and delivery the
spikes change synapses (cpu_learn.py). One thread: what a spike changes, the next one reads.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from spiking.kernels.jit import jit
from spiking.kernels.reservoir.cpu import strengthen, turn
from spiking.kernels.reservoir.cpu_deliver import deliver, deliver_apart, deliver_grouped
from spiking.kernels.reservoir.cpu_step import BLOCK, CURRENTS, PER_RECEPTOR, currents, fire, fire_izhikevich
from spiking.kernels.reservoir.neuron import THRESHOLD
from spiking.kernels.stdp.cpu_learn import bring_all, learn

THETA = THRESHOLD * BLOCK


@jit
def adapt(tape, width, N, fired, rows):
    """Thresholds after a step; fired as `fire` leaves it."""
    for j in range(N):
        at = (j // BLOCK) * width + THETA + j % BLOCK
        h = tape[at] + rows[N + j]
        if fired[j]:
            h += rows[j]
        tape[at] = min(max(h, rows[2 * N + j]), rows[3 * N + j])


@jit
def _run(
    indptr, index, value, in_indptr, in_word, in_weight, re_indptr, re_word, params, hold, table, group, out_ptr,
    out_synapse, in_ptr, in_synapse, in_source, which, delays, ends, rule, plus, minus, fall, later, turns,
    rows, clock, v, slow, current, refractory, pending, use, resources, last_spike, weight, eligibility, pre, seen,
    post, came, past, threshold, stamp, done, fill, buffer, spikes, total, final, flags, stop, budget, dt,
):  # fmt: skip
    """Bring the network to step `stop`; less far where the buffer is full or the budget spent."""
    N, groups = hold.size, table.size // (3 * hold.size)
    kind, synapse, receptors, at_once = flags[0], flags[1], flags[2], flags[3] != 0
    subtract, substeps, slots = flags[4] != 0, flags[5], past.size // N
    blocks = (N + BLOCK - 1) // BLOCK
    width = (CURRENTS + receptors * PER_RECEPTOR) * BLOCK + 16
    nothing = np.empty(0, v.dtype)
    none = np.zeros(BLOCK if synapse else 0, v.dtype)
    jump, apart = (none, 0) if synapse else (pending, BLOCK)
    tape, fired = np.zeros(blocks * width, v.dtype), np.zeros(blocks * BLOCK, np.uint8)
    words = fired.view(np.uint64)
    turn(True, tape, 0, blocks, width, params, hold, v, slow, current, refractory, 0, receptors, synapse)
    for j in range(threshold.size):
        tape[(j // BLOCK) * width + THETA + j % BLOCK] = threshold[j]
    # Spikes of the last steps as lists; `fire` may write one place beyond those that have fired.
    lists, listed = np.empty(slots * (N + 1), np.int32), np.zeros(slots, np.int64)
    for slot in range(slots):
        for j in range(N):
            if past[slot * N + j]:
                lists[slot * (N + 1) + listed[slot]] = j
                listed[slot] += 1
    strengths = np.empty(lists.size * groups, v.dtype)
    t, now, written, seen_spikes, latest = done[0], clock[0], fill[0], total[0], final[0]
    size = buffer.size
    while t < stop and seen_spikes <= budget and (size == 0 or written + N <= size):
        slot = now % slots
        if receptors == 1:
            deliver(
                index, indptr[t], indptr[t + 1], value, pending, 0, slot, slots, N, in_indptr, in_word, in_weight, 0, N
            )
        else:
            deliver_apart(
                index, indptr[t], indptr[t + 1], value, pending, 0, slot, slots, N, in_indptr, in_word, in_weight, 0, N
            )
        felt, start = slot * receptors * N, slot * (N + 1)
        if synapse:
            currents(tape, 0, blocks, width, N, pending, felt, synapse, receptors, at_once)
            felt = 0
        if kind == 2:
            count = fire_izhikevich(
                tape, 0, blocks, width, N, jump, felt, apart, fired, words, lists, start, substeps, dt
            )
        else:
            count = fire(tape, 0, blocks, width, N, jump, felt, apart, fired, words, lists, start, subtract)
        listed[slot] = count
        if rule.size:
            if turns.size and turns[t]:
                bring_all(t - 1, out_synapse, weight, eligibility, stamp, ends, fall, later)
            learn(
                lists, start, count, now, t, N, delays, listed, slots, rule, pre, seen, post, came, out_ptr,
                out_synapse, in_ptr, in_synapse, in_source, re_word, which, weight, eligibility, stamp, ends, plus,
                minus, fall, later,
            )
        if groups:
            strengthen(lists, start, count, now, groups, table, 0, use, resources, last_spike, strengths)
            deliver_grouped(
                lists, start, start + count, strengths, group, groups, pending, 0, slot, slots, receptors, N, re_indptr,
                re_word, weight, 0, N,
            )
        elif receptors == 1:
            deliver(
                lists, start, start + count, nothing, pending, 0, slot, slots, N, re_indptr, re_word, weight, 0, N
            )
        else:
            deliver_apart(
                lists, start, start + count, nothing, pending, 0, slot, slots, N, re_indptr, re_word, weight, 0, N
            )
        for m in range(count):
            last_spike[lists[start + m]] = now
            if size:
                buffer[written + m] = lists[start + m]
        if threshold.size:
            adapt(tape, width, N, fired, rows)
        written += count if size else 0
        seen_spikes += count
        latest = t if count else latest
        spikes[t] = np.int32(count)
        t += 1
        now += 1
    turn(False, tape, 0, blocks, width, params, hold, v, slow, current, refractory, 0, receptors, synapse)
    for j in range(threshold.size):
        threshold[j] = tape[(j // BLOCK) * width + THETA + j % BLOCK]
    past[:] = False
    for slot in range(slots):
        for m in range(slot * (N + 1), slot * (N + 1) + listed[slot]):
            past[slot * N + lists[m]] = True
    done[0], clock[0], fill[0], total[0], final[0] = t, now, written, seen_spikes, latest


def _flat(tensors: list[Tensor]) -> list[np.ndarray]:
    return [x.detach().view(-1).numpy() for x in tensors]


def advance(
    given: list[Tensor], changing: list[Tensor], flags: list[int], stop: int, budget: int, dt: float
) -> None:
    """Bring the network to step `stop`, or as far as the buffer of its spikes reaches; op.py names the tensors."""
    _run(*_flat(given), *_flat(changing), np.array(flags), stop, budget, dt)


def settle(given: list[Tensor], changing: list[Tensor]) -> None:
    """Bring strengths and eligibilities to the last step that was done."""
    synapses, ends, fall, later = _flat([given[13], given[19], *given[23:25]])
    weight, eligibility, stamp, done = _flat([*changing[9:11], *changing[17:19]])
    if eligibility.size:
        bring_all(done[0] - 1, synapses, weight, eligibility, stamp, ends, fall, later)
