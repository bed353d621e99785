"""One step of the integrate-and-fire recurrence for a block of neurons, and its adjoint; op.py has the equations.

A step of a block stands on a flat tape as rows of BLOCK neurons: the state before the step (rows U to REFRACTORY of
rule.py), HAT = u^ and GAP = u^ - theta, which becomes the surrogate's slope. The next step follows STEP places on. A
second flat array holds the block's parameters (rows of rule.py), the sums of their gradients and the adjoints. Input
and gradients of the outputs come in tiles of their own, whose rows stand at the same places.

The switches are constants of the compiled code: each kind of neuron gets a loop without branches, which the compiler
turns into vector code. Rows lie constant distances apart, and places are unsigned, so that none needs a test for
overlap or a negative index. The kernels of cpu.py take these functions as arguments and are compiled once for all.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray, types

from spiking.kernels.jit import callback, jit
from spiking.kernels.lif.rule import REFRACTORY, ROWS, STATES, Flags

BLOCK = 128
HAT, GAP = range(STATES, STATES + 2)
STEP = (GAP + 1) * BLOCK + 48  # not a power of two, so that steps do not share places of the cache
SUMS, ADJOINT = ROWS, 2 * ROWS
NEURON = (ADJOINT + REFRACTORY) * BLOCK

_U, _I, _W, _Z, _REST, _HAT, _GAP = (np.uint64(row * BLOCK) for row in range(GAP + 1))
_A, _S, _THETA, _C, _K, _B, _P, _Q, _R, _BIAS = (np.uint64(row * BLOCK) for row in range(ROWS))
_SUMS, _NEXT = np.uint64(SUMS * BLOCK), np.uint64(STEP)
_GU, _GI, _GW, _GZ = (np.uint64((ADJOINT + row) * BLOCK) for row in range(REFRACTORY))
_OCTET = np.uint64(0x0102040810204080)  # times eight bytes of 0 or 1: the top byte has their bits, lowest first


@jit
def copy(source, place, n, target, to):
    """target[to :][:n] = source[place :][:n]."""
    o, q = np.uint64(place), np.uint64(to)
    for j in range(np.uint64(n)):
        target[q + j] = source[o + j]


@jit
def pack(tape, place, n, byte, bits, to):
    """Spikes on the tape to bits; `byte` is scratch, 0 beyond n."""
    o, q, word = np.uint64(place), np.uint64(to), byte.view(np.uint64)
    for j in range(np.uint64(n)):
        byte[j] = tape[o + j] > 0
    for e in range(np.uint64((n + 7) // 8)):
        bits[q + e] = (word[e] * _OCTET) >> np.uint64(56)


@jit
def unpack(bits, place, n, tape, to):
    """Bits to spikes on the tape."""
    q = np.uint64(to)
    for j in range(n):
        tape[q + np.uint64(j)] = (bits[place + j // 8] >> (j % 8)) & 1


@jit
def receive(bias, place, n, current, there, x, to):
    """x[to :][:n] = bias[place :][:n] + current[there :][:n]."""
    o, q, r = np.uint64(place), np.uint64(there), np.uint64(to)
    for j in range(np.uint64(n)):
        x[r + j] = bias[o + j] + current[q + j]


@cache
def advance(flags: Flags, ahead: bool, trace: bool, real: types.Float) -> Any:
    """The step at `place`, from the input and the state to the next state.

    The next state goes a step ahead, with GAP left for the way back, or in place, with the spikes put out. HAT is left
    if the way back reads it, or with `trace`.
    """
    synapse, adaptation, previous = flags.synapse, flags.adaptation, flags.adapt_previous
    reset, reset_next, inclusive, mute = flags.reset, flags.reset_next, flags.inclusive, flags.mute
    refractory, next_step = flags.refractory, np.uint64(STEP if ahead else 0)
    leave_hat = trace or (ahead and reset == 1)

    def step(block, tape, size, place, n, inputs, spikes):
        p, x, given, out = carray(block, NEURON), carray(tape, size), carray(inputs, n), carray(spikes, n)
        zero, one, pause = x.dtype.type(0), x.dtype.type(1), x.dtype.type(refractory)
        new = place + next_step
        for j in range(n):
            u, z, drive, level = x[place + _U + j], x[place + _Z + j], given[j], p[_THETA + j]
            if synapse:
                i = x[place + _I + j]
                i_new = p[_C + j] * i + p[_K + j] * drive
                x[new + _I + j] = i_new
                drive = i_new if synapse == 1 else i
            if adaptation:
                w = x[place + _W + j]
            if adaptation == 1:
                drive = drive - w
            if adaptation == 2:
                level = level + p[_R + j] * w
            hat = p[_A + j] * u + p[_S + j] * drive
            if reset_next and reset < 2:
                hat = hat - (level if reset == 0 else hat) * z
            if refractory:
                rest = x[place + _REST + j]
                if not mute:
                    hat = u if rest > zero else hat
            gap = hat - level
            if inclusive:
                z_new = one if gap >= zero else zero
            else:
                z_new = one if gap > zero else zero
            if refractory:
                z_new = z_new if rest <= zero else zero
                left = rest - one
                x[new + _REST + j] = pause if z_new > zero else (left if left > zero else zero)
            u_new = hat
            if reset < 2 and not reset_next:
                u_new = hat - (level if reset == 0 else hat) * z_new
            if adaptation:
                felt = p[_P + j] * (u if previous else u_new) + p[_Q + j] * (z if previous else z_new)
                x[new + _W + j] = p[_B + j] * w + felt
            x[new + _U + j] = u_new
            x[new + _Z + j] = z_new
            if leave_hat:
                x[place + _HAT + j] = hat
            if ahead:
                x[place + _GAP + j] = gap
            else:
                out[j] = z_new

    array, place = types.CPointer(real), types.uint64
    return callback(step, types.void(array, array, types.intp, place, place, array, array))


@cache
def retreat(flags: Flags, learn: bool, trace: bool, real: types.Float) -> Any:
    """The step at `place` back: the adjoints of the state before it from those after it, and that of the input.

    The latter replaces the input; grad_z and, if `trace`, grad_h are the gradients of the outputs. With `learn` the
    sums of the parameters' gradients go on.
    """
    synapse, adaptation, previous, reset = flags.synapse, flags.adaptation, flags.adapt_previous, flags.reset
    reset_next, detach, refractory, mute = flags.reset_next, flags.detach_reset, flags.refractory, flags.mute

    def step(block, tape, size, place, n, inputs, grad_z, grad_h):
        p, x, given = carray(block, NEURON), carray(tape, size), carray(inputs, n)
        gz_out, gh_out = carray(grad_z, n), carray(grad_h, n)
        zero, new = x.dtype.type(0), place + _NEXT
        for j in range(n):
            u, z, hat, total = x[place + _U + j], x[place + _Z + j], x[place + _HAT + j], given[j]
            z_new, a, s, level, drive = x[new + _Z + j], p[_A + j], p[_S + j], p[_THETA + j], total
            gu, gz, fu, fz, g_level = p[_GU + j], p[_GZ + j] + gz_out[j], zero, zero, zero
            if synapse:
                i = x[place + _I + j]
                drive = x[new + _I + j] if synapse == 1 else i
            if adaptation:
                w, gw = x[place + _W + j], p[_GW + j]
                to_u, to_z = p[_P + j] * gw, p[_Q + j] * gw
                if previous:
                    fu, fz = to_u, to_z
                else:
                    gu, gz = gu + to_u, gz + to_z
                fw = p[_B + j] * gw
                if learn:
                    p[_SUMS + _B + j] += gw * w
                    p[_SUMS + _P + j] += gw * (u if previous else x[new + _U + j])
                    p[_SUMS + _Q + j] += gw * (z if previous else z_new)
            if adaptation == 1:
                drive = drive - w
            if adaptation == 2:
                level = level + p[_R + j] * w
            taken = level if reset == 0 else hat
            if reset < 2 and not reset_next:
                if not detach:
                    gz = gz - taken * gu
                if reset == 0:
                    g_level = -(z_new * gu)
                else:
                    gu = gu - z_new * gu
            if trace:
                gu = gu + gh_out[j]
            if refractory:
                rest = x[place + _REST + j]
                gz = gz if rest <= zero else zero
            through = x[place + _GAP + j] * gz
            gu, g_level = gu + through, g_level - through  # now gu is the adjoint of u^
            if refractory and not mute:
                held = gu if rest > zero else zero
                fu, gu = fu + held, gu - held
            if reset_next and reset == 0:
                g_level = g_level - z * gu
                if not detach:
                    fz = fz - taken * gu
            if reset_next and reset == 1:
                if not detach:
                    fz = fz - (a * u + s * drive) * gu
                gu = gu - z * gu
            fu, dx = fu + a * gu, s * gu
            if learn:
                p[_SUMS + _THETA + j] += g_level
                p[_SUMS + _A + j] += gu * u
                p[_SUMS + _S + j] += gu * drive
                if adaptation == 2:
                    p[_SUMS + _R + j] += g_level * w
            if adaptation == 1:
                p[_GW + j] = fw - dx
            if adaptation == 2:
                p[_GW + j] = fw + p[_R + j] * g_level
            if synapse:
                gi, direct = p[_GI + j], dx
                if synapse == 1:
                    gi, direct = gi + dx, zero
                p[_GI + j] = p[_C + j] * gi + direct
                if learn:
                    p[_SUMS + _C + j] += gi * i
                    p[_SUMS + _K + j] += gi * total
                dx = p[_K + j] * gi
            if learn:
                p[_SUMS + _BIAS + j] += dx
            p[_GU + j], p[_GZ + j] = fu, fz
            given[j] = dx

    array, place = types.CPointer(real), types.uint64
    return callback(step, types.void(array, array, types.intp, place, place, array, array, array))
