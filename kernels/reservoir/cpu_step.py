"""One step of a block of neurons; op.py has the equations.

The numbers of a block stand on a flat tape as rows of BLOCK neurons, constant distances apart, and places are unsigned:
so the compiler needs no test for overlap or negative indices, and makes vector code. What arrives comes from `pending`,
which is emptied.
"""

from __future__ import annotations

import numpy as np

from spiking.kernels.jit import jit
from spiking.kernels.reservoir.cpu_deliver import inlined

BLOCK = 64
# Rows: six parameters in the order of neuron.py and the refractory steps; the state; z and the drive of this step.
PARAMS, HOLD, V, W, LEFT, Z, IN = 6, 6, 7, 8, 9, 10, 11
# Then for each receptor its five parameters in the order of neuron.py, and h and i.
CURRENTS, KINETICS, PER_RECEPTOR = 12, 5, 7

_A, _DRIVE, _THETA, _RESET, _ADAPT, _JUMP, _HOLD, _V, _W, _LEFT, _Z, _IN = (
    np.uint64(row * BLOCK) for row in range(CURRENTS)
)
_B, _C, _D, _BIAS, _PEAK = _DRIVE, _THETA, _RESET, _ADAPT, _JUMP  # of an Izhikevich neuron
_FALL, _RISE, _H_TO_V, _I_TO_V, _GAIN, _H, _I = (np.uint64(row * BLOCK) for row in range(PER_RECEPTOR))


@inlined
def clear(tape, place, n):
    """No synaptic drive."""
    for j in range(np.uint64(n)):
        tape[place + _IN + j] = 0


@inlined
def exponential(tape, place, there, n, pending, felt, at_once):
    """The current of the receptor at `there`, and what it adds to the drive."""
    for j in range(np.uint64(n)):
        old = tape[there + _I + j]
        new = tape[there + _FALL + j] * old + tape[there + _GAIN + j] * pending[felt + j]
        tape[place + _IN + j] += tape[there + _I_TO_V + j] * (new if at_once else old)
        tape[there + _I + j] = new
        pending[felt + j] = 0


@inlined
def alpha(tape, place, there, n, pending, felt):
    """The same of a current that rises first."""
    for j in range(np.uint64(n)):
        h, i = tape[there + _H + j], tape[there + _I + j]
        tape[place + _IN + j] += tape[there + _H_TO_V + j] * h + tape[there + _I_TO_V + j] * i
        tape[there + _I + j] = tape[there + _RISE + j] * h + tape[there + _FALL + j] * i
        tape[there + _H + j] = tape[there + _FALL + j] * h + tape[there + _GAIN + j] * pending[felt + j]
        pending[felt + j] = 0


@inlined
def leaky(tape, place, n, jump, felt, subtract):
    """Leaky neurons; whether any has fired."""
    zero, one, hits = tape.dtype.type(0), tape.dtype.type(1), 0
    for j in range(np.uint64(n)):
        left, old, w = tape[place + _LEFT + j], tape[place + _V + j], tape[place + _W + j]
        u = tape[place + _A + j] * old + tape[place + _IN + j] + tape[place + _DRIVE + j] + jump[felt + j]
        theta = tape[place + _THETA + j] + w
        z = (left == zero) & (u >= theta)
        after = u - theta if subtract else tape[place + _RESET + j]
        kept = old if left > zero else u
        less = left - one
        tape[place + _V + j] = after if z else kept
        tape[place + _W + j] = tape[place + _ADAPT + j] * w + (tape[place + _JUMP + j] if z else zero)
        tape[place + _LEFT + j] = tape[place + _HOLD + j] if z else (less if less > zero else zero)
        tape[place + _Z + j] = one if z else zero
        jump[felt + j] = 0
        hits |= z
    return hits


@inlined
def izhikevich(tape, place, n, jump, felt, substeps, dt):
    """Izhikevich's neurons; whether any has fired."""
    real = tape.dtype.type
    zero, one, hits, h = real(0), real(1), 0, real(dt / substeps)
    square, line, base = real(0.04), real(5), real(140)
    for j in range(np.uint64(n)):
        left, old, before = tape[place + _LEFT + j], tape[place + _V + j], tape[place + _W + j]
        v, u = old, before
        for _ in range(substeps):
            slope = square * v * v + line * v + base - u + tape[place + _IN + j] + tape[place + _BIAS + j]
            change = h * tape[place + _A + j] * (tape[place + _B + j] * v - u)
            v += h * slope
            u += change
        v += jump[felt + j]
        z = (left == zero) & (v >= tape[place + _PEAK + j])
        kept = old if left > zero else v
        slow = before if left > zero else u
        less = left - one
        tape[place + _V + j] = tape[place + _C + j] if z else kept
        tape[place + _W + j] = slow + (tape[place + _D + j] if z else zero)
        tape[place + _LEFT + j] = tape[place + _HOLD + j] if z else (less if less > zero else zero)
        tape[place + _Z + j] = one if z else zero
        jump[felt + j] = 0
        hits |= z
    return hits


@inlined
def collect(tape, place, first, n, queue, to):
    """Write down which neurons of a block have fired, from `first` on; how many."""
    found = 0
    for j in range(n):
        queue[to + found] = first + j
        found += int(tape[place + _Z + np.uint64(j)])
    return found


@jit
def currents(tape, low, high, width, N, pending, felt, synapse, receptors, at_once):
    """Synaptic currents of the blocks from low to high."""
    for block in range(low, high):
        place, n = np.uint64((block - low) * width), min(BLOCK, N - block * BLOCK)
        clear(tape, place, n)
        for r in range(receptors):
            there = place + np.uint64((CURRENTS + r * PER_RECEPTOR) * BLOCK)
            q = np.uint64(felt + r * N + block * BLOCK)
            if synapse == 1:
                exponential(tape, place, there, n, pending, q, at_once)
            else:
                alpha(tape, place, there, n, pending, q)


@jit
def fire(tape, low, high, width, N, jump, felt, apart, queue, to, subtract):
    """A step of leaky neurons; how many have fired, now listed in the queue."""
    found = 0
    for block in range(low, high):
        place, n = np.uint64((block - low) * width), min(BLOCK, N - block * BLOCK)
        if leaky(tape, place, n, jump, np.uint64(felt + block * apart), subtract):
            found += collect(tape, place, block * BLOCK, n, queue, to + found)
    return found


@jit
def fire_izhikevich(tape, low, high, width, N, jump, felt, apart, queue, to, substeps, dt):
    """The same of Izhikevich's."""
    found = 0
    for block in range(low, high):
        place, n = np.uint64((block - low) * width), min(BLOCK, N - block * BLOCK)
        if izhikevich(tape, place, n, jump, np.uint64(felt + block * apart), substeps, dt):
            found += collect(tape, place, block * BLOCK, n, queue, to + found)
    return found
