"""The switches of the integrate-and-fire recurrence, and its per-neuron parameters as the kernels see them."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Rows of the (10, N) parameter block that every backend reads; op.py gives the equations they stand in.
A, S, THETA, C, K, B, P, Q, R, BIAS = range(10)
ROWS = 10
# Rows of the (5, B, N) state: membrane potential, synaptic current, adaptation, last spike, refractory steps left.
U, I, W, Z, REFRACTORY = range(5)
STATES = 5
CHECKPOINT = 16  # steps between the states that are kept for the backward pass
CHUNK = 8  # the same on GPUs, where the steps between are held in registers

_CHOICES = {
    "input_scale": ("decay", "one"),
    "reset": ("subtract", "zero", "none"),
    "reset_time": ("same", "next"),
    "decay": ("exp", "euler"),
    "current": ("same", "previous"),
    "refractory_mode": ("hold", "mute"),
}


@dataclass(frozen=True)
class Rule:
    """How a neuron of the family integrates, resets and rests.

    Arguments:
        input_scale: "decay", current times (1 - alpha), or "one" (snnTorch, NEST's delta synapses).
        reset: "subtract" the threshold, to "zero", or "none".
        reset_time: in the "same" step as the spike, or in the "next" one, un-decayed (snnTorch, Bellec 2018, Yin 2021).
        detach_reset: keep the gradient from passing through the spike that resets.
        decay: "exp", alpha = exp(-dt/tau), or "euler", alpha = 1 - dt/tau (SpikingJelly, Norse).
        current: which synaptic current drives the membrane, that of the "same" step or the "previous" one (Norse).
        inclusive: spike where the membrane potential reaches the threshold, not only above it.
        refractory: ms without spikes after a spike, rounded to steps.
        refractory_mode: "hold" the membrane potential and ignore input (NEST), or "mute" the spike only (Bellec 2018).

    Raises:
        ValueError: naming the argument that is not one of these.
    """

    input_scale: str = "decay"
    reset: str = "subtract"
    reset_time: str = "same"
    detach_reset: bool = True
    decay: str = "exp"
    current: str = "same"
    inclusive: bool = False
    refractory: float = 0.0
    refractory_mode: str = "hold"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if not (math.isfinite(self.refractory) and self.refractory >= 0):
            raise ValueError(f"refractory: expected a time of 0 ms or more, got {self.refractory}")
        if self.refractory and self.reset_time == "next" and self.refractory_mode == "hold":
            raise ValueError("refractory: holding the membrane needs reset_time='same', got 'next'")


@dataclass(frozen=True)
class Flags:
    """A rule resolved to the integers that the flat ops and kernels take, in this order.

    Arguments:
        synapse: 0 none, 1 current of the same step, 2 of the previous step.
        adaptation: 0 none, 1 subtracted from the current, 2 added to the threshold.
        adapt_previous: 1 if the adaptation reads the previous u and z, 0 if the new ones.
        reset: 0 subtract, 1 zero, 2 none.
        reset_next: 1 if the reset acts one step later.
        detach_reset: 1 if the reset passes no gradient to the spike.
        inclusive: 1 for >=, 0 for >.
        refractory: steps without spikes after a spike.
        mute: 1 if the membrane integrates while refractory, 0 if it holds.
    """

    synapse: int = 0
    adaptation: int = 0
    adapt_previous: int = 0
    reset: int = 0
    reset_next: int = 0
    detach_reset: int = 1
    inclusive: int = 0
    refractory: int = 0
    mute: int = 0

    @classmethod
    def of(cls, rule: Rule, synapse: bool, adaptation: int, adapt_previous: bool, dt: float) -> Flags:
        """The integers for a rule at a step of dt ms."""
        return cls(
            synapse=(1 + _CHOICES["current"].index(rule.current)) if synapse else 0,
            adaptation=adaptation,
            adapt_previous=int(adapt_previous),
            reset=_CHOICES["reset"].index(rule.reset),
            reset_next=_CHOICES["reset_time"].index(rule.reset_time),
            detach_reset=int(rule.detach_reset),
            inclusive=int(rule.inclusive),
            refractory=round(rule.refractory / dt),
            mute=int(rule.refractory_mode == "mute"),
        )

    def as_list(self) -> list[int]:
        """The integers, in the order of the fields."""
        return [getattr(self, name) for name in self.__dataclass_fields__]


def saved_rows(flags: list[int]) -> int:
    """How many rows of the state a checkpoint holds: u, then i, w and the refractory counter where they are used."""
    f = Flags(*flags)
    return 1 + (f.synapse > 0) + (f.adaptation > 0) + (f.refractory > 0)


def looks_back(flags: list[int]) -> bool:
    """Whether a step reads the spikes of the step before."""
    f = Flags(*flags)
    return bool(f.reset_next or f.adapt_previous)
