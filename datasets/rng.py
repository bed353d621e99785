"""Random numbers: splitmix64 (Steele, Lea & Flood 2014), one stream for each (seed, epoch, recording).

A recording's numbers depend on those three only, never on its batch or on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from spiking.kernels.jit import jit

Array = np.ndarray[Any, Any]

GAMMA = np.uint64(0x9E3779B97F4A7C15)
_A = np.uint64(0xBF58476D1CE4E5B9)
_B = np.uint64(0x94D049BB133111EB)


def streams(seed: int, epoch: int, ids: Array) -> Array:
    """(n, 1) uint64, the state of one stream for each recording, to be advanced by `uniform` and `normal`."""
    with np.errstate(over="ignore"):
        state = np.full(len(ids), np.uint64(seed & (1 << 64) - 1))
        for part in (np.uint64(epoch), ids.astype(np.uint64)):
            state = _mix(state + GAMMA * (part + np.uint64(1)))
    return state[:, None].copy()


def _mix(x: Any) -> Any:
    x = (x ^ (x >> np.uint64(30))) * _A
    x = (x ^ (x >> np.uint64(27))) * _B
    return x ^ (x >> np.uint64(31))


# 64 random bits from a stream's state, which its user moves on by GAMMA
bits = jit(_mix)


@jit
def uniform(state: Array) -> float:
    """A number in [0, 1); `state` is a (1,) stream and moves on."""
    state[0] += GAMMA
    return (bits(state[0]) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@jit
def normal(state: Array) -> float:
    """A number of mean 0 and standard deviation 1 (Box & Muller 1958)."""
    radius = np.sqrt(-2.0 * np.log(1.0 - uniform(state)))
    return radius * np.cos(2.0 * np.pi * uniform(state))


def normal_table(size: int) -> Array:
    """(size,) float32, equally likely values of mean 0 and standard deviation 1 in a normal distribution's places.

    A table is looked up in a fraction of the time that `normal` takes, for what needs no tails.
    """
    places = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    values = torch.special.ndtri(places)
    return (values / values.std(correction=0)).numpy().astype(np.float32)
