"""What a spike does to synapses and traces; op.py has the equations.

Arrays are flat: of N neurons `pre` holds r1 and r2; `post` holds o1, o2, y / rate and theta behind each delay, one
delay after the other. `rule` holds the numbers in the order of rule.numbers.
"""

from __future__ import annotations

import numpy as np

from spiking.kernels.jit import jit
from spiking.kernels.reservoir.cpu_deliver import BITS, MASK, inlined

PLUS, MINUS, PLUS3, MINUS3, MU_PLUS, MU_MINUS, X, Y, NEAREST, FAST, SLOW, JUMP, FACTOR = range(13)


@inlined
def held(w, a, b):
    """w between a and b, whichever is the lower."""
    return min(max(w, min(a, b)), max(a, b))


@inlined
def power(share, mu):
    """share^mu, at once where mu is 0 or 1."""
    return 1.0 if mu == 0 else (max(share, 0.0) if mu == 1 else max(share, 0.0) ** mu)


@jit
def bring(e, t, weight, eligibility, stamp, weak, strong, fall, later):
    """Bring a synapse to step t of this call: what rewards since it was touched last have made of its eligibility."""
    a = stamp[e]
    if a < t:
        left = fall[t - a] if t - a < fall.size else 0.0
        w = weight[e] + eligibility[e] * (later[a + 1] - left * later[t + 1])
        weight[e] = held(w, weak[e], strong[e])
        eligibility[e] *= left
        stamp[e] = t


@jit
def bring_all(t, synapses, weight, eligibility, stamp, weak, strong, fall, later):
    """The same of all that learn."""
    for m in range(synapses.size):
        bring(synapses[m], t, weight, eligibility, stamp, weak, strong, fall, later)


@jit
def arrive(
    j, k, now, t, N, D, rule, pre, seen, post, came, in_ptr, in_synapse, in_source, weight, eligibility, stamp, weak,
    strong, plus, fall, later,
):  # fmt: skip
    """A spike of neuron j comes to its synapses of the k-th delay."""
    at = k * 4 * N + j
    head = rule[PLUS]
    if rule[PLUS3] != 0:
        head += rule[PLUS3] * post[at + N] * np.exp(-(now - came[k * N + j]) * rule[Y])
    mu, waits = rule[MU_PLUS], eligibility.size > 0
    for m in range(in_ptr[j * D + k], in_ptr[j * D + k + 1]):
        i = in_source[m]
        n = now - seen[i]
        if n < plus.size and pre[i] != 0:
            e = in_synapse[m]
            if waits:
                bring(e, t, weight, eligibility, stamp, weak, strong, fall, later)
            w, span = weight[e], strong[e] - weak[e]
            change = span * head * pre[i] * plus[n] * power((strong[e] - w) / span, mu)
            if waits:
                eligibility[e] += change
            else:
                weight[e] = held(w + change, weak[e], strong[e])


@jit
def leave(
    i, now, t, N, rule, pre, seen, post, came, out_ptr, out_synapse, word, which, weight, eligibility, stamp, weak,
    strong, minus, fall, later,
):  # fmt: skip
    """A spike of neuron i goes out through its synapses."""
    head = rule[MINUS]
    if rule[MINUS3] != 0:
        head += rule[MINUS3] * pre[N + i] * np.exp(-(now - seen[i]) * rule[X])
    mu, waits = rule[MU_MINUS], eligibility.size > 0
    for m in range(out_ptr[i], out_ptr[i + 1]):
        e = out_synapse[m]
        if waits:
            bring(e, t, weight, eligibility, stamp, weak, strong, fall, later)
        j, k = word[e] & MASK, np.int64(which[(word[e] >> BITS) & 255])
        n = now - came[k * N + j]
        if n < minus.size:
            at = k * 4 * N + j
            w, span = weight[e], strong[e] - weak[e]
            less = span * head * post[at] * post[at + 3 * N] * minus[n] * power((w - weak[e]) / span, mu)
            if waits:
                eligibility[e] -= less
            else:
                weight[e] = held(w - less, weak[e], strong[e])


@jit
def grow_post(j, k, now, N, rule, post, came, minus):
    """Traces behind a delay after a spike has come there."""
    at, n = k * 4 * N + j, now - came[k * N + j]
    left = minus[n] if n < minus.size else 0.0
    keeps = 1.0 - rule[NEAREST]
    post[at] = keeps * post[at] * left + 1
    post[at + N] = keeps * post[at + N] * np.exp(-n * rule[Y]) + 1
    if rule[JUMP] != 0:
        y, fast, slow = post[at + 2 * N], np.exp(-n * rule[FAST]), np.exp(-n * rule[SLOW])
        post[at + 3 * N] = post[at + 3 * N] * slow + y * y * (slow - fast * fast) * rule[FACTOR]
        post[at + 2 * N] = y * fast + rule[JUMP]
    came[k * N + j] = now


@jit
def grow_pre(i, now, N, rule, pre, seen, plus):
    """Traces of a source after its spike."""
    n = now - seen[i]
    left = plus[n] if n < plus.size else 0.0
    keeps = 1.0 - rule[NEAREST]
    pre[i] = keeps * pre[i] * left + 1
    pre[N + i] = keeps * pre[N + i] * np.exp(-n * rule[X]) + 1
    seen[i] = now
