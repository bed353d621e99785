"""What a spike does to synapses and traces; op.py has the equations.

Arrays are flat: of N neurons `pre` holds r1 and r2; `post` holds o1, o2, y / rate and theta behind each delay, one
delay after the other. `rule` holds the numbers in the order of rule.numbers.
"""

from __future__ import annotations

import numpy as np

from spiking.kernels.jit import jit
from spiking.kernels.reservoir.cpu import bare
from spiking.kernels.reservoir.cpu_deliver import BITS, MASK, inlined

PLUS, MINUS, PLUS3, MINUS3, MU_PLUS, MU_MINUS, X, Y, NEAREST, FAST, SLOW, JUMP, FACTOR = range(13)


@inlined
def grown(w, change, a, b):
    """w + change, between a and b, whichever is the lower."""
    w += change
    low, high = (a, b) if a < b else (b, a)
    w = low if w < low else w
    return high if w > high else w


@inlined
def softness(share, mu):
    """share^mu; `share` may lie below 0 by rounding."""
    share = share if share > 0 else 0.0
    return share if mu == 1 else share**mu


@inlined
def bring(e, t, weight, eligibility, stamp, ends, fall, later):
    """Bring a synapse to step t of this call: what rewards since it was touched last have made of its eligibility."""
    a = stamp[e]
    if a < t:
        left = fall[t - a] if t - a < fall.size else 0.0
        change = eligibility[e] * (later[a + 1] - left * later[t + 1])
        weight[e] = grown(weight[e], change, ends[2 * e], ends[2 * e + 1])
        eligibility[e] *= left
        stamp[e] = t


@jit
def bring_all(t, synapses, weight, eligibility, stamp, ends, fall, later):
    """The same of all that learn."""
    for m in range(synapses.size):
        bring(synapses[m], t, weight, eligibility, stamp, ends, fall, later)


@inlined
def arrive(
    j, k, now, t, N, D, rule, pre, seen, post, came, in_ptr, in_synapse, in_source, weight, eligibility, waits, stamp,
    ends, plus, fall, later,
):  # fmt: skip
    """A spike of neuron j comes to its synapses of the k-th delay."""
    head = rule[PLUS]
    if rule[PLUS3] != 0:
        head += rule[PLUS3] * post[k * 4 * N + N + j] * np.exp(-(now - came[k * N + j]) * rule[Y])
    mu = rule[MU_PLUS]
    for m in range(np.uint64(in_ptr[j * D + k]), np.uint64(in_ptr[j * D + k + 1])):
        i = np.uint64(in_source[m])
        n = now - seen[i]
        if n < plus.size:
            e = np.uint64(in_synapse[m])
            if waits:
                bring(e, t, weight, eligibility, stamp, ends, fall, later)
            w, weak, strong = weight[e], ends[2 * e], ends[2 * e + 1]
            change = (strong - weak) * head * pre[i] * plus[n]
            if mu != 0:
                change *= softness((strong - w) / (strong - weak), mu)
            if waits:
                eligibility[e] += change
            else:
                weight[e] = grown(w, change, weak, strong)


@inlined
def leave(
    i, now, t, N, rule, pre, seen, post, came, out_ptr, out_synapse, word, which, weight, eligibility, waits, stamp,
    ends, minus, fall, later,
):  # fmt: skip
    """A spike of neuron i goes out through its synapses."""
    head = rule[MINUS]
    if rule[MINUS3] != 0:
        head += rule[MINUS3] * pre[N + i] * np.exp(-(now - seen[i]) * rule[X])
    mu = rule[MU_MINUS]
    for m in range(np.uint64(out_ptr[i]), np.uint64(out_ptr[i + 1])):
        e = np.uint64(out_synapse[m])
        if waits:
            bring(e, t, weight, eligibility, stamp, ends, fall, later)
        packed = np.uint32(word[e])
        j, k = np.uint64(packed & np.uint32(MASK)), np.uint64(which[packed >> np.uint32(BITS)])
        n = now - came[k * np.uint64(N) + j]
        if n < minus.size:
            at = k * np.uint64(4 * N) + j
            w, weak, strong = weight[e], ends[2 * e], ends[2 * e + 1]
            change = (weak - strong) * head * post[at] * post[at + np.uint64(3 * N)] * minus[n]
            if mu != 0:
                change *= softness((w - weak) / (strong - weak), mu)
            if waits:
                eligibility[e] += change
            else:
                weight[e] = grown(w, change, weak, strong)


@inlined
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


@inlined
def grow_pre(i, now, N, rule, pre, seen, plus):
    """Traces of a source after its spike."""
    n = now - seen[i]
    left = plus[n] if n < plus.size else 0.0
    keeps = 1.0 - rule[NEAREST]
    pre[i] = keeps * pre[i] * left + 1
    pre[N + i] = keeps * pre[N + i] * np.exp(-n * rule[X]) + 1
    seen[i] = now


@jit
def learn(
    z, first, count, now, t, N, delays, listed, slots, rule, pre, seen, post, came, out_ptr, out_synapse, in_ptr,
    in_synapse, in_source, word, which, weight, eligibility, stamp, ends, plus, minus, fall, later,
):  # fmt: skip
    """What `count` spikes from place `first` of z on, and earlier ones that come to synapses in this step, change."""
    z, pre, seen, post, came, rule = bare(z), bare(pre), bare(seen), bare(post), bare(came), bare(rule)
    out_ptr, out_synapse, in_ptr, in_synapse = bare(out_ptr), bare(out_synapse), bare(in_ptr), bare(in_synapse)
    in_source, word, which, weight, ends = bare(in_source), bare(word), bare(which), bare(weight), bare(ends)
    plus, minus, fall, later, stamp = bare(plus), bare(minus), bare(fall), bare(later), bare(stamp)
    waits, D = eligibility.size > 0, max(delays.size, 1)
    eligibility = bare(eligibility)
    for k in range(delays.size):
        slot = (now - delays[k]) % slots
        for m in range(slot * (N + 1), slot * (N + 1) + listed[slot]):
            arrive(
                z[m], k, now, t, N, D, rule, pre, seen, post, came, in_ptr, in_synapse, in_source, weight, eligibility,
                waits, stamp, ends, plus, fall, later,
            )
    for m in range(first, first + count):
        leave(
            z[m], now, t, N, rule, pre, seen, post, came, out_ptr, out_synapse, word, which, weight, eligibility, waits,
            stamp, ends, minus, fall, later,
        )
    for k in range(delays.size):
        slot = (now - delays[k]) % slots
        for m in range(slot * (N + 1), slot * (N + 1) + listed[slot]):
            grow_post(z[m], k, now, N, rule, post, came, minus)
    for m in range(first, first + count):
        grow_pre(z[m], now, N, rule, pre, seen, plus)
