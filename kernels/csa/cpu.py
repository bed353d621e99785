"""The code selection algorithm on CPUs, in Numba; op.py gives the equations.

A task is a mac and a share of the items, or all of them in order where it learns. Words without an active feature are
skipped; a word's synapses of all units lie side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import intrinsic
from torch import Tensor

from spiking.kernels.jit import jit, room, spread

SHARE = 64  # items of one task
_A, _B, _GAMMA = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15)


def _popcount(context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int32(types.int32), generate


popcount: Any = intrinsic(_popcount)  # popcount(word): bits that are set


@jit
def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * _A
    x = (x ^ (x >> np.uint64(27))) * _B
    return x ^ (x >> np.uint64(31))


@jit
def _sums(x, weight, gain, first, last, out):
    """Add up a source's signal to every unit."""
    out[:] = 0
    for w in range(first, last):
        word = x[w]
        if word != 0:
            row, g = weight[w], gain[w]
            for i in range(len(out)):
                out[i] += g * popcount(np.int32(row[i] & word))


@jit
def _counts(x, weight, first, last, count, out):
    """The same where every word is worth 1, in whole numbers."""
    count[:] = 0
    for w in range(first, last):
        word = x[w]
        if word != 0:
            row = weight[w]
            for i in range(len(count)):
                count[i] += popcount(np.int32(row[i] & word))
    out[:] = count


@jit
def _divide(total, Q, K, n):
    """Signals as shares of what is possible, at most 1."""
    for q in range(Q):
        size = n[q]
        for i in range(q * K, (q + 1) * K):
            total[i] = min(1.0, total[i] / size) if size > 0 else 0.0


@jit
def _product(share, powers, there, V, work, square):
    """V of one case: shares (S, units) to the powers of their sources."""
    some = False
    work[:] = 1.0
    for s in range(len(powers)):
        if there[s] and powers[s] > 0:
            some = True
            power, row = powers[s], share[s]
            whole = int(power)
            if whole == power and whole <= 32:
                square[:] = row
                while whole > 0:
                    if whole % 2:
                        for i in range(len(work)):
                            work[i] *= square[i]
                    whole //= 2
                    for i in range(len(work)):
                        square[i] *= square[i]
            else:
                for i in range(len(work)):
                    work[i] *= row[i] ** power
    for i in range(len(work)):
        V[i] = np.float32(work[i] if some else 0.0)


@jit
def _familiarity(V, Q, K):
    total = 0.0
    for q in range(Q):
        best = V[q * K]
        for i in range(q * K, (q + 1) * K):
            best = max(best, V[i])
        total += best
    return total / Q


@jit
def _drawn(V, psi, gained, rule, lot):
    """A unit of a module by its psi."""
    scale = np.log(rule[3])
    none = gained / (1.0 + np.exp(rule[6] * (scale + rule[4] * rule[5]))) + 1.0  # most units have no evidence
    total = 0.0
    for k in range(len(V)):
        if V[k] > 0:
            total += gained / (1.0 + np.exp(rule[6] * (scale - rule[4] * (V[k] - rule[5])))) + 1.0
        else:
            total += none
        psi[k] = total
    k = 0
    while k < len(V) - 1 and psi[k] <= lot * total:
        k += 1
    return k


@jit
def _largest(V, lot):
    """A unit of a module with the largest V."""
    best, equal = V[0], 0
    for k in range(len(V)):
        if V[k] > best:
            best, equal = V[k], 0
        if V[k] == best:
            equal += 1
    wanted = min(int(lot * equal), equal - 1)
    for k in range(len(V)):
        if V[k] == best:
            if wanted == 0:
                return k
            wanted -= 1
    return 0  # V is no number


@jit
def _set(x, weight, mask, first, last, unit, q):
    """Set a winner's synapses; how many are new."""
    new = 0
    for w in range(first, last):
        if x[w] != 0:
            fresh = np.int32(x[w] & mask[q, w] & ~weight[w, unit])
            new += popcount(fresh)
            weight[w, unit] |= fresh
    return new


@jit
def _task(
    task, share, x, weight, used, norm, gain, weighed, mask, masked, active, bounds, cases, thresholds, levels, limits,
    fan_in, rule, random, learn, seed, step, winners, familiarity, hypotheses, case,
):
    B, M, W = x.shape
    Q, S, C = winners.shape[2], len(bounds) - 1, len(cases)
    units = weight.shape[2]
    K = units // Q
    m, block = task % M, task // M
    shares, there, n = np.empty((S, units)), np.empty(S, np.bool_), np.empty(Q)
    V, best, work, psi = np.empty(units, np.float32), np.empty(units, np.float32), np.empty(units), np.empty(K)
    held, whole, square = np.empty(Q, np.int64), np.empty(units, np.int32), np.empty(units)
    for b in range(block * share, min((block + 1) * share, B)):
        if not active[b, m]:
            winners[b, m] = -1
            familiarity[b, m], hypotheses[b, m], case[b, m] = 0.0, 0, 0
            continue
        for s in range(S):
            first, last = bounds[s], bounds[s + 1]
            if weighed:
                _sums(x[b, m], weight[m], gain[b, m], first, last, shares[s])
            else:
                _counts(x[b, m], weight[m], first, last, whole, shares[s])
            count = 0
            for w in range(first, last):
                count += popcount(x[b, m, w])
            n[:] = count
            if masked:
                for q in range(Q):
                    n[q] = 0
                    for w in range(first, last):
                        n[q] += popcount(np.int32(x[b, m, w] & mask[q, w]))
            there[s] = n.max() > 0
            given = norm[min(b, len(norm) - 1), min(m, norm.shape[1] - 1), s]
            if given > 0:
                n[:] = given
            _divide(shares[s], Q, K, n)
        chosen, G, c = 0, -1.0, 0
        while c < C:  # a level at a time
            level, clears = levels[c], False
            while c < C and levels[c] == level:
                _product(shares, cases[c], there, V, work, square)
                found = _familiarity(V, Q, K)
                if (found >= thresholds[c] and (not clears or found > G)) or c == 0:
                    clears = clears or found >= thresholds[c]
                    chosen, G = c, found
                    best[:] = V
                c += 1
            if clears:
                break
        gained = (max(0.0, G - rule[0]) / (1 - rule[0])) ** rule[1] * rule[2] * K
        state = _mix(_mix(seed + _GAMMA) + _GAMMA * (step + np.uint64(b + 1 if random else 1)))
        total = 0
        for i in range(units):
            total += best[i] > rule[7]
        familiarity[b, m], hypotheses[b, m], case[b, m] = G, total, chosen
        for q in range(Q):
            lot = (_mix(state + _GAMMA * np.uint64(m * Q + q + 1)) >> np.uint64(11)) * (1.0 / 9007199254740992.0)
            row = best[q * K : (q + 1) * K]
            winners[b, m, q] = _drawn(row, psi, gained, rule, lot) if random else _largest(row, lot)
        if learn:
            for q in range(Q):
                held[q] = 0
                for w in range(W):
                    held[q] += popcount(weight[m, w, q * K + winners[b, m, q]])
            for s in range(S):
                if used[m, s] <= limits[m, s]:
                    for q in range(Q):
                        if held[q] <= fan_in:
                            unit = q * K + winners[b, m, q]
                            used[m, s] += _set(x[b, m], weight[m], mask, bounds[s], bounds[s + 1], unit, q)


def csa(
    x: Tensor, weight: Tensor, used: Tensor, norm: Tensor | None, gain: Tensor | None, mask: Tensor | None,
    active: Tensor, modules: int, parts: list[int], exponents: list[float], thresholds: list[float],
    levels: list[int], limits: Tensor, fan_in: int, rule: list[float], random: bool, learn: bool, seed: int,
    step: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Winners, familiarity, hypotheses and case; arguments as in op.py, rule as its numbers."""
    (B, M, W), S = x.shape, len(parts)
    winners, hypotheses, case = room(x, B, M, modules), room(x, B, M), room(x, B, M)
    familiarity = torch.from_numpy(np.empty((B, M)))
    if not B:
        return winners, familiarity, hypotheses, case
    numbers = (
        np.zeros((1, 1, S)) if norm is None else norm.numpy(), np.ones((1, 1, 1)) if gain is None else gain.numpy(),
        gain is not None,
        np.full((modules, W), -1, np.int32) if mask is None else mask.numpy(), mask is not None, active.numpy(),
        np.cumsum([0, *parts]), np.array(exponents).reshape(-1, S), np.array(thresholds), np.array(levels),
        limits.numpy(), fan_in, np.array(rule), random, learn, np.uint64(seed % (1 << 64)),
        np.uint64(step % (1 << 64)),
    )  # fmt: skip
    share = B if learn else SHARE
    out = winners.numpy(), familiarity.numpy(), hypotheses.numpy(), case.numpy()
    spread(_task, M * -(-B // share), share, x.numpy(), weight.numpy(), used.numpy(), *numbers, *out)
    return winners, familiarity, hypotheses, case
