"""Random numbers: splitmix64 (Steele, Lea & Flood 2014), one stream for each (seed, epoch, recording).

A recording's numbers depend on those three only, never on its batch or on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spiking.kernels.jit import jit

Array = np.ndarray[Any, Any]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_A = np.uint64(0xBF58476D1CE4E5B9)
_B = np.uint64(0x94D049BB133111EB)


def streams(seed: int, epoch: int, ids: Array) -> Array:
    """(n, 1) uint64, the state of one stream for each recording, to be advanced by `uniform` and `normal`."""
    with np.errstate(over="ignore"):
        state = np.full(len(ids), np.uint64(seed & (1 << 64) - 1))
        for part in (np.uint64(epoch), ids.astype(np.uint64)):
            state = _mix(state + _GAMMA * (part + np.uint64(1)))
    return state[:, None].copy()


def _mix(x: Array) -> Array:
    x = (x ^ (x >> np.uint64(30))) * _A
    x = (x ^ (x >> np.uint64(27))) * _B
    return x ^ (x >> np.uint64(31))


@jit
def uniform(state: Array) -> float:
    """A number in [0, 1); `state` is a (1,) stream and moves on."""
    state[0] += _GAMMA
    x = state[0]
    x = (x ^ (x >> np.uint64(30))) * _A
    x = (x ^ (x >> np.uint64(27))) * _B
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@jit
def normal(state: Array) -> float:
    """A number of mean 0 and standard deviation 1 (Box & Muller 1958)."""
    radius = np.sqrt(-2.0 * np.log(1.0 - uniform(state)))
    return radius * np.cos(2.0 * np.pi * uniform(state))
