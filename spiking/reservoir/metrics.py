"""What a liquid's states are good for, from matrices of states.

    kernel quality        how many different inputs the states can tell apart: the rank of (m, N) states of m inputs
    generalisation rank   how many variants of the same input they tell apart, which should be few
                          (Legenstein & Maass 2007, "Edge of chaos and prediction of computational performance")
    effective rank        exp(-sum_k p_k ln p_k) with p_k = sigma_k / sum sigma (Roy & Vetterli 2007): noise adds a
                          little to it, where it adds 1 to the rank for each sample
    class separation      c_d / (c_v + 1), the mean distance of the classes' centres by the mean distance from them
                          (Norton & Ventura 2010)
    memory capacity       sum over delays k of r^2(u(t - k), its linear estimate from the state x(t)) (Jaeger 2001),
                          the estimate fitted on the first half of time and judged on the second, 0 where it is useless

A rank is at most the number of samples: with no more samples than neurons it says how many samples there were. So these
functions want more samples than neurons; `some` takes a part of the neurons.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from spiking.reservoir import draws

Array = np.ndarray[Any, Any]
SUBSET = 100


class Rank(NamedTuple):
    """The rank of a set of states.

    Attributes:
        rank: number of singular values above rounding.
        effective: effective rank.
        values: (N,) singular values, falling.
    """

    rank: int
    effective: float
    values: Array


class Capacity(NamedTuple):
    """How much of a signal's past the states hold.

    Attributes:
        total: sum over delays.
        curve: (delays,) r^2 of each.
    """

    total: float
    curve: Array


def rank(states: Any) -> Rank:
    """The rank of states, whose mean is not taken off.

    Arguments:
        states: (m, N), a row for each input, more rows than columns.

    Raises:
        ValueError: if there are no more samples than neurons, or a state is not finite.
    """
    X = _states(states)
    if X.shape[0] <= X.shape[1]:
        raise ValueError(
            f"states: expected more samples than neurons, got {X.shape[0]} of {X.shape[1]}; `some` takes fewer neurons"
        )
    values = np.linalg.svd(X, compute_uv=False)
    total = float(values.sum())
    if total == 0:
        return Rank(0, 0.0, values)
    share = values[values > 0] / total
    least = values[0] * max(X.shape) * np.finfo(np.float64).eps
    return Rank(int((values > least).sum()), float(np.exp(-(share * np.log(share)).sum())), values)


def some(states: Any, neurons: int, seed: int = 0) -> Array:
    """The states (m, neurons) of some neurons, drawn at random; of all where there are no more."""
    X = _states(states)
    return X if neurons >= X.shape[1] else X[:, draws.choose(seed, draws.NEURONS, X.shape[1], neurons)]


def class_separation(states: Any, labels: Any) -> float:
    """How far the classes' centres lie apart, compared with how far states lie from them.

    Arguments:
        states: (m, N).
        labels: (m,) whole numbers.

    Returns:
        c_d / (c_v + 1), 0 for one class.
    """
    X, y = np.asarray(states), np.asarray(labels)
    if X.ndim != 2 or not X.size:
        raise ValueError(f"states: expected (samples, neurons), got {X.shape}")
    if y.shape != (len(X),):
        raise ValueError(f"labels: expected ({len(X)},), one for each state, got {y.shape}")
    names = np.unique(y)
    centre, off = np.empty((len(names), X.shape[1])), np.empty(len(names))
    for k, name in enumerate(names):  # one class at a time in double precision: many states take gigabytes
        own = _states(X[y == name])
        centre[k] = own.mean(0)
        off[k] = np.linalg.norm(own - centre[k], axis=1).mean()
    square = (centre**2).sum(1)
    apart = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * centre @ centre.T, 0)).sum() / len(names) ** 2
    spread = float(off.mean())
    return float(apart) / (spread + 1)


def memory_capacity(states: Any, signal: Any, delays: int = 50, washout: int = 50, ridge: float = 1e-3) -> Capacity:
    """How well a linear readout of the present state remembers a signal.

    Arguments:
        states: (T, N), one recording, for instance the traces of `LSM.traces`.
        signal: (T,) what drove it, best without correlations of its own.
        delays: how far back, in steps: 0 to delays - 1.
        washout: steps at the beginning that are left out.
        ridge: penalty, as a share of the states' mean variance times the samples.

    Raises:
        ValueError: if lengths differ or too few steps are left.
    """
    X, u = _states(states), np.asarray(signal, np.float64)
    if u.shape != (len(X),):
        raise ValueError(f"signal: expected ({len(X)},), one for each step of states, got {u.shape}")
    first = max(washout, delays - 1)
    if len(X) - first < 20:
        raise ValueError(f"signal: expected at least {first + 20} steps for {delays} delays, got {len(X)}")
    past = np.stack([u[first - k : len(u) - k] for k in range(delays)], 1)
    X = X[first:]
    half = len(X) // 2
    mean, target = X[:half].mean(0), past[:half].mean(0)
    A, Y = X[:half] - mean, past[:half] - target
    penalty = ridge * half * max(float(A.var(0).mean()), np.finfo(np.float64).tiny)
    weight = np.linalg.solve(A.T @ A + penalty * np.eye(A.shape[1]), A.T @ Y)
    guess = (X[half:] - mean) @ weight + target
    curve = np.array([_square_correlation(guess[:, k], past[half:, k]) for k in range(delays)])
    return Capacity(float(curve.sum()), curve)


def _square_correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float((a**2).sum() * (b**2).sum())
    together = float((a * b).sum())
    return together**2 / scale if scale > 0 and together > 0 else 0.0


def _states(states: Any) -> Array:
    X = np.asarray(states, np.float64)
    if X.ndim != 2 or not X.size:
        raise ValueError(f"states: expected (samples, neurons), got {X.shape}")
    if not np.isfinite(X).all():
        raise ValueError("states: expected finite numbers, got NaN or infinity")
    return X
