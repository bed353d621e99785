"""One step of the integrate-and-fire recurrence for a block of neurons, and its adjoint; op.py has the equations.

The tape of a block is flat, (row, step, neuron): the state before step k stands at k and the one after it at k + 1
(rows U to REFRACTORY of rule.py), and at k what the step computes: DRIVE = J - w', LEVEL = theta, HAT = u^,
GAP = u^ - theta; for the way back SLOPE = h(GAP), the adjoints of the state from row ADJOINT on and, where GAP was, DX,
that of I. X = I has a row of its own only with a synapse. Rows lie a constant distance apart, and places are unsigned:
so the compiler knows that they don't overlap, tests no index for being negative, and its loops over neurons are vector
code. The number n of neurons is unsigned for the same reason.
"""

from __future__ import annotations

import numpy as np

from spiking.kernels.jit import jit
from spiking.kernels.lif.rule import BIAS, REFRACTORY, STATES, THETA, A, B, C, I, K, P, Q, R, S, U, W, Z

BLOCK = 256
DEPTH = 17  # CHECKPOINT steps and the state after the last
DRIVE, LEVEL, HAT, GAP, SLOPE, X, ADJOINT = range(STATES, STATES + 7)
DX = GAP
TAPE = ADJOINT + REFRACTORY
_BYTES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(np.float32)
_GATHER_BITS = np.uint64(0x0102040810204080)  # times eight bytes of 0 or 1: the top byte has their bits, lowest first


@jit
def at(row, k):
    """Place of a row of the tape."""
    return np.uint64((row * DEPTH + k) * BLOCK)


@jit
def of(row):
    """Place of a row of the parameters."""
    return np.uint64(row * BLOCK)


@jit
def take(flat, place, n, tape, row, k):
    """A row of the tape from flat[place :]."""
    o, x = np.uint64(place), at(row, k)
    for j in range(n):
        tape[x + j] = flat[o + j]


@jit
def put(tape, row, k, n, flat, place):
    """A row of the tape to flat[place :]."""
    o, x = np.uint64(place), at(row, k)
    for j in range(n):
        flat[o + j] = tape[x + j]


@jit
def move(tape, row, source, target, n):
    """A row of the tape from one step to another."""
    x, y = at(row, source), at(row, target)
    for j in range(n):
        tape[y + j] = tape[x + j]


@jit
def clear(tape, row, k, n):
    """A row of the tape to 0."""
    x = at(row, k)
    for j in range(n):
        tape[x + j] = 0


@jit
def pack(tape, k, n, byte, word, bits, place):
    """Spikes of step k to bits; `byte` and `word` are one scratch."""
    z = at(Z, k)
    for j in range(n):
        byte[j] = tape[z + j] > 0
    for e in range((np.int64(n) + 7) // 8):
        bits[place + e] = (word[e] * _GATHER_BITS) >> np.uint64(56)


@jit
def unpack(bits, place, n, tape, k):
    """Bits to the spikes of step k."""
    z = at(Z, k)
    for e in range((n + 7) // 8):
        byte = bits[place + e]
        for j in range(8):
            tape[z + np.uint64(8 * e + j)] = _BYTES[byte, j]


@jit
def carried(flags, row):
    """Whether a step reads and changes a row of the state."""
    synapse, adaptation, _, _, _, _, _, refractory, _ = flags
    if row == I:
        return synapse > 0
    if row == W:
        return adaptation > 0
    return row != REFRACTORY or refractory > 0


@jit
def receive(flags, p, tape, k, n, current, place):
    """I of step k: the bias, and the currents at `place` if there are any."""
    x, bias, o = at(X if flags[0] else DRIVE, k), of(BIAS), np.uint64(place)
    for j in range(n):
        tape[x + j] = p[bias + j]
    if current.size:
        for j in range(n):
            tape[x + j] += current[o + j]


@jit
def integrate(flags, p, tape, k, n):
    """Step k from I up to u^ - theta."""
    synapse, adaptation, _, reset, reset_next, _, _, refractory, mute = flags
    u, w, z, rest = at(U, k), at(W, k), at(Z, k), at(REFRACTORY, k)
    drive, level, hat, gap = at(DRIVE, k), at(LEVEL, k), at(HAT, k), at(GAP, k)
    if synapse:
        x, i, i_new, c, gain = at(X, k), at(I, k), at(I, k + 1), of(C), of(K)
        for j in range(n):
            tape[i_new + j] = p[c + j] * tape[i + j] + p[gain + j] * tape[x + j]
        felt = i_new if synapse == 1 else i
        for j in range(n):
            tape[drive + j] = tape[felt + j]
    if adaptation == 1:
        for j in range(n):
            tape[drive + j] -= tape[w + j]
    elif adaptation == 2:
        theta, r = of(THETA), of(R)
        for j in range(n):
            tape[level + j] = p[theta + j] + p[r + j] * tape[w + j]
    a, s = of(A), of(S)
    if reset_next and reset == 0:
        for j in range(n):
            h = p[a + j] * tape[u + j] + p[s + j] * tape[drive + j] - tape[level + j] * tape[z + j]
            tape[hat + j] = h
            tape[gap + j] = h - tape[level + j]
    else:
        for j in range(n):
            h = p[a + j] * tape[u + j] + p[s + j] * tape[drive + j]
            tape[hat + j] = h
            tape[gap + j] = h - tape[level + j]
    if reset_next and reset == 1:
        for j in range(n):
            tape[hat + j] -= tape[hat + j] * tape[z + j]
            tape[gap + j] = tape[hat + j] - tape[level + j]
    if refractory and not mute:
        for j in range(n):
            tape[hat + j] = tape[u + j] if tape[rest + j] > 0 else tape[hat + j]
            tape[gap + j] = tape[hat + j] - tape[level + j]


@jit
def fire(flags, tape, k, n):
    """z = H(u^ - theta), 0 while refractory."""
    inclusive, refractory = flags[6], flags[7]
    gap, z, rest = at(GAP, k), at(Z, k + 1), at(REFRACTORY, k)
    if inclusive:
        for j in range(n):
            tape[z + j] = tape[gap + j] >= 0
    else:
        for j in range(n):
            tape[z + j] = tape[gap + j] > 0
    if refractory:
        for j in range(n):
            tape[z + j] = tape[z + j] if tape[rest + j] <= 0 else 0


@jit
def settle(flags, p, tape, k, n):
    """After the spikes of step k: reset, adaptation, refractory counter."""
    _, adaptation, previous, reset, reset_next, _, _, refractory, _ = flags
    hat, u, z = at(HAT, k), at(U, k + 1), at(Z, k + 1)
    if reset_next or reset == 2:
        for j in range(n):
            tape[u + j] = tape[hat + j]
    else:
        taken = at(LEVEL, k) if reset == 0 else hat
        for j in range(n):
            tape[u + j] = tape[hat + j] - tape[taken + j] * tape[z + j]
    if adaptation:
        b, pu, q, w, w_new = of(B), of(P), of(Q), at(W, k), at(W, k + 1)
        read_u, read_z = (at(U, k), at(Z, k)) if previous else (u, z)
        for j in range(n):
            felt = p[pu + j] * tape[read_u + j] + p[q + j] * tape[read_z + j]
            tape[w_new + j] = p[b + j] * tape[w + j] + felt
    if refractory:
        rest, rest_new = at(REFRACTORY, k), at(REFRACTORY, k + 1)
        for j in range(n):
            tape[rest_new + j] = refractory if tape[z + j] > 0 else max(tape[rest + j] - 1, 0)


@jit
def adjoint(flags, p, tape, k, n, grad_z, grad_h, place, acc):
    """Step k back: the adjoints at k from those at k + 1, DX, and on top of acc those of the parameters.

    grad_z and grad_h are flat gradients of the outputs, this step's at `place` (grad_h may be empty).
    """
    synapse, adaptation, previous, reset, reset_next, detach, _, refractory, mute = flags
    u, i, w, z, rest = at(U, k), at(I, k), at(W, k), at(Z, k), at(REFRACTORY, k)
    z_new, drive, hat, dx, slope = at(Z, k + 1), at(DRIVE, k), at(HAT, k), at(DX, k), at(SLOPE, k)
    gu, gi, gw, gz = at(ADJOINT + U, k + 1), at(ADJOINT + I, k + 1), at(ADJOINT + W, k + 1), at(ADJOINT + Z, k + 1)
    fu, fi, fw, fz = at(ADJOINT + U, k), at(ADJOINT + I, k), at(ADJOINT + W, k), at(ADJOINT + Z, k)
    taken = at(LEVEL, k) if reset == 0 else hat
    o = np.uint64(place)
    for j in range(n):
        tape[gz + j] += grad_z[o + j]
        tape[fu + j] = 0
        tape[fz + j] = 0
    if adaptation:
        read_u, read_z, to_u, to_z = (u, z, fu, fz) if previous else (at(U, k + 1), z_new, gu, gz)
        b, pu, q = of(B), of(P), of(Q)
        for j in range(n):
            tape[to_u + j] += p[pu + j] * tape[gw + j]
            tape[to_z + j] += p[q + j] * tape[gw + j]
        for j in range(n):
            acc[b + j] += tape[gw + j] * tape[w + j]
            acc[pu + j] += tape[gw + j] * tape[read_u + j]
            acc[q + j] += tape[gw + j] * tape[read_z + j]
            tape[fw + j] = p[b + j] * tape[gw + j]
    # gu becomes the adjoint of u^; dx is that of theta until the parameters have it, then of I.
    reset_now = not reset_next and reset < 2
    if reset_now and not detach:
        for j in range(n):
            tape[gz + j] -= tape[taken + j] * tape[gu + j]
    if reset_now and reset == 0:
        for j in range(n):
            tape[dx + j] = -tape[z_new + j] * tape[gu + j]
    else:
        for j in range(n):
            tape[dx + j] = 0
    if reset_now and reset == 1:
        for j in range(n):
            tape[gu + j] -= tape[gu + j] * tape[z_new + j]
    if grad_h.size:
        for j in range(n):
            tape[gu + j] += grad_h[o + j]
    if refractory:
        for j in range(n):
            tape[gz + j] = tape[gz + j] if tape[rest + j] <= 0 else 0
    for j in range(n):
        e = tape[slope + j] * tape[gz + j]
        tape[gu + j] += e
        tape[dx + j] -= e
    if refractory and not mute:
        for j in range(n):
            held = tape[gu + j] if tape[rest + j] > 0 else 0
            tape[fu + j] += held
            tape[gu + j] -= held
    a, s, theta, bias = of(A), of(S), of(THETA), of(BIAS)
    if reset_next and reset == 0:
        for j in range(n):
            tape[dx + j] -= tape[z + j] * tape[gu + j]
        if not detach:
            for j in range(n):
                tape[fz + j] -= tape[taken + j] * tape[gu + j]
    elif reset_next and reset == 1:
        if not detach:
            for j in range(n):
                tape[fz + j] -= (p[a + j] * tape[u + j] + p[s + j] * tape[drive + j]) * tape[gu + j]
        for j in range(n):
            tape[gu + j] -= tape[z + j] * tape[gu + j]
    if adaptation == 2:
        r = of(R)
        for j in range(n):
            acc[r + j] += tape[dx + j] * tape[w + j]
            tape[fw + j] += p[r + j] * tape[dx + j]
    for j in range(n):
        acc[theta + j] += tape[dx + j]
        acc[a + j] += tape[gu + j] * tape[u + j]
        acc[s + j] += tape[gu + j] * tape[drive + j]
    for j in range(n):
        tape[fu + j] += p[a + j] * tape[gu + j]
        tape[dx + j] = p[s + j] * tape[gu + j]
    if adaptation == 1:
        for j in range(n):
            tape[fw + j] -= tape[dx + j]
    if synapse:
        x, c, gain = at(X, k), of(C), of(K)
        if synapse == 1:
            for j in range(n):
                tape[gi + j] += tape[dx + j]
                tape[dx + j] = 0
        for j in range(n):
            tape[fi + j] = p[c + j] * tape[gi + j] + tape[dx + j]
            acc[c + j] += tape[gi + j] * tape[i + j]
            acc[gain + j] += tape[gi + j] * tape[x + j]
            tape[dx + j] = p[gain + j] * tape[gi + j]
    for j in range(n):
        acc[bias + j] += tape[dx + j]
