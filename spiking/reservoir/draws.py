"""Random numbers of a network: each depends on (seed, what it is for, its place), on nothing else.

They are splitmix64's, as those of recordings are, and not NumPy's, whose distributions may change from version to
version: a network that is rebuilt from its seed years later has the same synapses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri

from spiking.datasets import rng

Array = np.ndarray[Any, Any]

# what numbers are drawn for, so that a new use never moves those of another
NEURONS, SYNAPSES, STRENGTHS, DELAYS, INPUTS, INPUT_STRENGTHS, INPUT_SIGNS, PLACES, SHORT_TERM = range(9)


def uniform(seed: int, use: int, first: int, count: int) -> Array:
    """(count,) float64 in (0, 1), numbers `first` to `first + count` of a stream.

    Arguments:
        seed: of the network.
        use: what they are for, one of the constants above or more.
        first, count: places in the stream.
    """
    state = rng.streams(seed, use, np.arange(first, first + count))[:, 0]
    return ((state >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def normal(seed: int, use: int, first: int, count: int) -> Array:
    """(count,) float64 of mean 0 and standard deviation 1; arguments as in `uniform`."""
    quantiles: Array = ndtri(uniform(seed, use, first, count))
    return quantiles


def choose(seed: int, use: int, count: int, chosen: int) -> Array:
    """(count,) bool with exactly `chosen` True, every set of them equally likely."""
    mask = np.zeros(count, bool)
    mask[np.argsort(uniform(seed, use, 0, count), kind="stable")[:chosen]] = True
    return mask
