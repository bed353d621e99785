"""Measured memories: random patterns, the classes of this folder, and what their closed forms should be held to."""

from __future__ import annotations

import torch

from spiking.plasticity.arguments import whole
from spiking.plasticity.memory.dense import Dense
from spiking.plasticity.memory.hopfield import Hopfield
from spiking.plasticity.memory.multitasking import Multitasking
from spiking.plasticity.memory.patterns import patterns
from spiking.plasticity.memory.pavlovian import Pavlovian


def bit_error(
    neurons: int, order: int, stored: int, shown: int = 200, networks: int = 1, seed: int = 0
) -> tuple[float, int]:
    """The share of neurons that leave a stored pattern in the first sweep, and how many neurons were looked at.

    Arguments:
        neurons, order, stored: N, P, K.
        shown: patterns of each network to begin from, at most.
        networks: with patterns of their own.
        seed: of the patterns.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    whole("shown", shown, 1)
    whole("networks", networks, 1)
    wrong = looked = 0
    for k in range(networks):
        memory = Dense(neurons, order).learn(patterns(stored, neurons, seed=seed + k))
        state = memory.keys[:shown]
        wrong += int((memory.recall(state, sweeps=1) != state).sum())
        looked += state.numel()
    return wrong / looked, looked


def settled_overlap(neurons: int, stored: int, shown: int = 50, seed: int = 0) -> float:
    """The mean overlap of stored patterns with where a Hopfield network settles from them; arguments as `bit_error`."""
    whole("shown", shown, 1)
    memory = Hopfield(neurons).learn(patterns(stored, neurons, seed=seed))
    state = memory.keys[:shown]
    return float((memory.recall(state) * state).mean())


def multitasking(neurons: int, stored: int, dilution: float, seed: int = 0) -> list[float]:
    """The overlaps with its patterns that a multitasking network settles at from the hierarchical state.

    Arguments:
        neurons, stored: N, K.
        dilution: d, the share of zeros.
        seed: of the patterns.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    memory = Multitasking(neurons).learn(patterns(stored, neurons, dilution, seed))
    found: list[float] = memory.magnetisation(memory.recall(memory.hierarchy(seed)))[0].tolist()
    return found


def departure(neurons: int, stored: int, seed: int = 0, low: float = 0.3, high: float = 0.9) -> float:
    """The dilution from which on a multitasking network leaves the hierarchical state, by bisection to 0.001.

    Arguments:
        neurons, stored, seed: as in `multitasking`.
        low, high: dilutions between which it is looked for.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    while high - low > 1e-3:
        dilution = (low + high) / 2
        memory = Multitasking(neurons).learn(patterns(stored, neurons, dilution, seed))
        state = memory.hierarchy(seed)
        stays = torch.equal(memory.recall(state, sweeps=1), state)
        low, high = (dilution, high) if stays else (low, dilution)
    return (low + high) / 2


def pavlovian(
    pairs: int, d: int, rule: str = "hebbian", beta: float = 1.0, animals: int = 1, seed: int = 0
) -> tuple[list[float], list[float]]:
    """Relative squared errors and cosines of the responses to stored keys, the last stored first.

    Arguments:
        pairs: n.
        d: length of the random unit keys, and of the random values.
        rule, beta: as in `Pavlovian`.
        animals: memories over which the mean is taken.
        seed: of keys and values.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    for name, value in (("pairs", pairs), ("d", d), ("animals", animals)):
        whole(name, value, 1)
    generator = torch.Generator().manual_seed(seed)
    error, cosine = torch.zeros(pairs, dtype=torch.float64), torch.zeros(pairs, dtype=torch.float64)
    for _ in range(animals):
        keys, values = torch.randn(2, pairs, d, generator=generator, dtype=torch.float64)
        keys = keys / keys.norm(dim=1, keepdim=True)
        found = Pavlovian(d, d, rule, beta).learn(keys, values).respond(keys)
        error += ((found - values) ** 2).sum(1) / (values**2).sum(1) / animals
        cosine += torch.cosine_similarity(found, values) / animals
    return error.flip(0).tolist(), cosine.flip(0).tolist()
