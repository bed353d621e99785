"""Linear attention as Pavlovian conditioning: keys are conditional stimuli, values what follows them.

    Hebbian    S = sum_i v_i k_i^T
    delta      S_i = S_{i-1} + beta (v_i - S_{i-1} k_i) k_i^T             Rescorla & Wagner 1972
    response   o = S q

The delta rule stores k_i with u_i = beta (v_i - sum_{j<i} (k_j . k_i) u_j) in place of v_i, one triangular system, so
that both rules are the engine's field. Qiao 2025, arXiv 2508.08289. For unit random keys in d dimensions, independent
values and a stored key as the query, the expected squares are, for Hebbian learning of n pairs,

    |o - v|^2 / |v|^2 = (n-1)/d,       cos(o, v) = 1 / sqrt(1 + (n-1)/d)

and for the delta rule those of `delta_response`, ours, exact in expectation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spiking.plasticity.arguments import whole
from spiking.plasticity.memory.engine import Memory, checked

RULES = ("hebbian", "delta")


class Pavlovian(Memory):
    """An animal that learns which stimulus is followed by what.

    Arguments:
        stimuli: length d of a conditional stimulus, a key.
        outcomes: length of an unconditional stimulus, a value.
        rule: "hebbian" or "delta".
        beta: learning rate of the delta rule; stable between 0 and 2 for keys of length 1.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(self, stimuli: int, outcomes: int, rule: str = "hebbian", beta: float = 1.0) -> None:
        super().__init__(stimuli, outcomes)
        if rule not in RULES:
            raise ValueError(f"rule: expected one of {', '.join(RULES)}, got {rule!r}")
        _check_rate(beta)
        self.rule, self.beta = rule, beta

    def learn(self, stimuli: Tensor, outcomes: Tensor) -> Pavlovian:
        """One trial a row, in order; returns the memory itself.

        Arguments:
            stimuli: (trials, d) keys.
            outcomes: (trials, outcomes) values.

        Raises:
            ValueError: naming the argument that does not fit.
        """
        if self.rule == "hebbian":
            self.store(stimuli, outcomes)
            return self
        k, v = checked("stimuli", stimuli, self.keys.shape[1]), checked("outcomes", outcomes, self.values.shape[1])
        if len(k) != len(v):
            raise ValueError(f"outcomes: expected {len(k)} rows, one for each stimulus, got {len(v)}")
        surprise = self.beta * (v - self.field(k))
        earlier = torch.tril(k @ k.t(), -1) * self.beta + torch.eye(len(k), dtype=k.dtype)
        self.store(k, torch.linalg.solve_triangular(earlier, surprise, upper=False, unitriangular=True))
        return self

    def respond(self, stimuli: Tensor) -> Tensor:
        """(B, outcomes), what stimuli (B, d) make it expect."""
        return self.field(stimuli)


def hebbian_response(pairs: int, d: int) -> tuple[float, float]:
    """Relative squared error and cosine of the response to a stored key after Hebbian learning.

    Arguments:
        pairs: n.
        d: length of the random unit keys.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    whole("pairs", pairs, 1)
    whole("d", d, 1)
    noise = (pairs - 1) / d
    return noise, 1 / math.sqrt(1 + noise)


def delta_response(pairs: int, d: int, age: int, beta: float = 1.0) -> tuple[float, float]:
    """The same after learning by the delta rule, for the key that so many others followed.

        Q_t = Q (1 - a^t),  Q = beta / (2 - beta),  a = 1 - (2 beta - beta^2)/d         |S k|^2 for a new key k
        C = beta (1 - beta/d)^age                                                       v . S k for the key itself
        P <- p P + beta^2 Q_t/(d+2) + beta^2/d,  p = 1 - 2 beta/d + 2 beta^2/(d (d+2))   |S k|^2 for the key itself

    Arguments:
        pairs: n.
        d: length of the random unit keys, at least 2.
        age: pairs learned after it, 0 to n - 1.
        beta: learning rate, above 0 and below 2.

    Returns:
        P - 2 C + 1 and C / sqrt(P).

    Raises:
        ValueError: naming the argument that does not fit.
    """
    whole("pairs", pairs, 1)
    whole("d", d, 1)
    _check_rate(beta)
    if d < 2:
        raise ValueError(f"d: expected at least 2, got {d}")
    if not 0 <= age < pairs:
        raise ValueError(f"age: expected 0 to pairs - 1 = {pairs - 1}, got {age!r}")
    before, b2 = pairs - 1 - age, beta * beta
    a, p = 1 - (2 * beta - b2) / d, 1 - 2 * beta / d + 2 * b2 / (d * (d + 2))
    Q = beta / (2 - beta)
    # What P begins with decays with p; what is added is constant, but for the part of Q_t that decays with a.
    P = p**age * ((1 - beta) ** 2 * Q * (1 - a**before) + b2)
    P += (b2 * Q / (d + 2) + b2 / d) * (1 - p**age) / (1 - p)
    P -= b2 * Q / (d + 2) * a ** (before + 1) * (a**age - p**age) / (a - p)
    C = beta * (1 - beta / d) ** age
    return P - 2 * C + 1, C / math.sqrt(P)


def _check_rate(beta: float) -> None:
    if not 0 < beta < 2:
        raise ValueError(f"beta: expected above 0 and below 2, got {beta!r}")
