"""Plasticity inside a liquid: its recurrent synapses and its thresholds learn from recordings, without labels.

Recordings come one after the other, each into a liquid at rest without traces; strengths, thresholds and what BCM knows
of a neuron's rate stay, as if no time lay between. They are learned in double precision and kept in single. What input
synapses bring does not change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spiking.datasets.progress import progress_bar
from spiking.events import Events
from spiking.kernels.reservoir import Explosion, Interrupted
from spiking.kernels.stdp import Homeostasis, LearningState, Plastic, PlasticNetwork, Rule, again, stdp
from spiking.plasticity.hebbian import IntrinsicPlasticity
from spiking.plasticity.hebbian.synaptic import Synaptic
from spiking.reservoir.calibrate import BUSY
from spiking.reservoir.network import units

if TYPE_CHECKING:
    from spiking.reservoir.lsm import LSM

Signal = Tensor | Callable[[int], Tensor] | None
NEAR = 0.02  # of the way between the bounds, within which a synapse counts as at one of them


class Epoch(NamedTuple):
    """What a passage through the recordings did.

    Attributes:
        rate: mean of the neurons, Hz.
        change: mean change of the synapses that learn, without sign, in units of their mean strength before.
        weak, strong: share of them at either bound.
        threshold: mean of the thresholds.
    """

    rate: float
    change: float
    weak: float
    strong: float
    threshold: float


class Halted(KeyboardInterrupt):
    """Stopped by hand; the liquid keeps what it has learned from the recordings before."""


def adapt(
    lsm: LSM, x: Any, rule: Any, epochs: int = 1, reward: Signal = None, budget: int | None = None,
    progress: bool = False,
) -> list[Epoch]:  # fmt: skip
    """Let a liquid learn in place; arguments as `LSM.adapt`.

    Raises:
        ValueError, TypeError: naming the argument that does not fit.
        Explosion: if a recording passes its budget, with its number, step and rate.
        Halted: on Ctrl-C.
    """
    synaptic, intrinsic = _rules(rule)
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs: expected 1 or more, got {epochs!r}")
    circuit, settings, network = lsm.circuit(), lsm.settings(), lsm.network()
    recurrent = circuit.recurrent
    if synaptic is None:
        plastic = Plastic(recurrent, 0.0, 0.0, torch.zeros(recurrent.word.numel(), dtype=torch.bool))
    elif lsm.gain == 0:
        raise ValueError("gain: expected it above 0 for synapses to learn, got 0")
    else:
        unit = torch.from_numpy(units(network, settings, lsm.step)) * lsm.gain
        # A synapse that was weakened to nothing is still one of its source's kind.
        negative = torch.from_numpy(network.inhibitory)[network.recurrent.rows()] | (network.recurrent.values < 0)
        plastic = synaptic.plastic(recurrent, unit, negative)
    homeostasis = None if intrinsic is None else intrinsic.homeostasis(settings.threshold, network.reset)
    given = PlasticNetwork(circuit.inputs, plastic, circuit.neuron, circuit.kinetics, circuit.short_term)
    numbers = None if synaptic is None else synaptic.numbers
    count = _count(x)
    if not count:
        raise ValueError("events: expected at least one recording, got none")
    first = _recording(x, 0, lsm)
    circuit.check(first)
    waits = numbers is not None and numbers.tau_eligibility is not None
    nothing = torch.zeros(0, dtype=torch.float64) if waits else None
    begin = stdp(first[:0], given, numbers, homeostasis, circuit.begin(first[:0]), reward=nothing)[1]
    found, now = list[Epoch](), begin
    try:
        for epoch in range(epochs):
            before, spikes, seconds = now.weight, 0, 0.0
            for k in progress_bar(range(count), f"learning, epoch {epoch + 1} of {epochs}", progress):
                events, signal = _recording(x, k, lsm), _signal(reward, k, x)
                now, more = _learn(events, given, numbers, homeostasis, begin, now, signal, budget, (k, epoch))
                spikes += more
                seconds += int(events.lengths[0]) * events.dt * 1e-3
            found.append(_epoch(plastic, before, now, spikes / max(seconds * lsm.size, 1e-12), settings.threshold))
    except KeyboardInterrupt as stopped:
        raise Halted(f"after {len(found)} of {epochs} epochs; what was learned is kept") from stopped
    finally:
        if now is not begin:
            threshold = now.threshold.float() if intrinsic is not None else network.threshold
            e = plastic.learning
            strength = network.recurrent.values.index_copy(0, e, (now.weight[e] / (lsm.gain or 1.0)).float())
            lsm.teach(strength, threshold)
    return found


def _learn(
    events: Events, given: PlasticNetwork, numbers: Rule | None, homeostasis: Homeostasis | None, begin: LearningState,
    now: LearningState, signal: Tensor | None, budget: int | None, place: tuple[int, int],
) -> tuple[LearningState, int]:  # fmt: skip
    """The state after a recording, and its spikes."""
    N = given.recurrent.shape[0]
    most = math.ceil(BUSY * N * int(events.lengths[0]) * events.dt * 1e-3) if budget is None else budget
    state = again(now, begin, numbers, events.dt)
    try:
        record, state = stdp(
            events, given, numbers, homeostasis, state, reward=signal, spikes=False, budget=most
        )
    except Explosion as error:
        said = f"recording {place[0]} of epoch {place[1]}: {error}; the liquid keeps what it learned before it"
        raise Explosion(said, error.record, error.state) from error
    except Interrupted as stopped:
        raise KeyboardInterrupt from stopped  # a recording counts as a whole
    return state, int(record.total[0])


def _rules(rule: Any) -> tuple[Synaptic | None, IntrinsicPlasticity | None]:
    """The rule for synapses and that for thresholds, of one or several."""
    given = list(rule) if isinstance(rule, Sequence) else [rule]
    kinds: tuple[list[Synaptic], list[IntrinsicPlasticity]] = ([], [])
    for each in given:
        if isinstance(each, Synaptic):
            kinds[0].append(each)
        elif isinstance(each, IntrinsicPlasticity):
            kinds[1].append(each)
        else:
            raise TypeError(f"rule: expected a rule of spiking.plasticity.hebbian, got {type(each).__name__}")
    if not given or len(kinds[0]) > 1 or len(kinds[1]) > 1:
        raise ValueError(f"rule: expected one for synapses, one for thresholds, or both, got {given!r}")
    synaptic, intrinsic = kinds
    return (synaptic[0] if synaptic else None), (intrinsic[0] if intrinsic else None)


def _count(x: Any) -> int:
    return int(x.shape[1]) if isinstance(x, Events) else len(x)


def _recording(x: Any, k: int, lsm: LSM) -> Events:
    if isinstance(x, Events):
        return x[:, k : k + 1]
    found: Events = x.batch([k], dt=lsm.step, steps=lsm.steps)[0]
    return found


def _signal(reward: Signal, k: int, x: Any) -> Tensor | None:
    """The reward of a recording."""
    if reward is None:
        return None
    given = reward(k) if callable(reward) else reward
    if not isinstance(given, Tensor):
        raise TypeError(f"reward: expected a tensor, or a function that gives one, got {type(given).__name__}")
    if callable(reward):
        return given
    if not isinstance(x, Events):
        raise TypeError("reward: expected a function from a recording's number to (T,) for a store, got a tensor")
    if given.shape not in ((x.shape[0],), tuple(x.shape[:2])):
        raise ValueError(f"reward: expected ({x.shape[0]},) or {tuple(x.shape[:2])}, got {tuple(given.shape)}")
    return given if given.ndim == 1 else given[:, k]


def _epoch(plastic: Plastic, before: Tensor, now: LearningState, rate: float, threshold: float) -> Epoch:
    e = plastic.learning
    mean = float(now.threshold.mean()) if now.threshold.numel() else threshold
    if not len(e):
        return Epoch(rate, 0.0, 0.0, 0.0, mean)
    weak, span = plastic.weak[e], (plastic.strong - plastic.weak)[e]
    share = ((now.weight[e] - weak) / span).numpy()
    change = (now.weight - before)[e].abs().mean() / before[e].abs().mean().clamp(min=1e-300)
    return Epoch(rate, float(change), float(np.mean(share < NEAR)), float(np.mean(share > 1 - NEAR)), mean)
