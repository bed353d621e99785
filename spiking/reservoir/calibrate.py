"""Gains from a target activity, by bisection, without labels.

First the input gain, with silent recurrent synapses, until the inputs alone make neurons fire at `drive` Hz; then the
gain, until the branching factor or the rate reaches its target. A gain at which a recording passes its budget of spikes
counts as too high. Activity grows with either gain, though not smoothly: what is found is a gain where it crosses the
target.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from spiking.events import Events
from spiking.kernels.reservoir import Explosion
from spiking.reservoir.dynamics import branching_factor

if TYPE_CHECKING:
    from spiking.reservoir.lsm import LSM

LEAST, MOST = 2.0**-6, 2.0**6
TOLERANCE, HALVINGS = 0.02, 8
JUMP = 0.25  # of the target, beyond which activity jumped over it
BUSY = 250.0  # Hz; a mean rate above is no activity to read from


class Activity(NamedTuple):
    """What a liquid does at its gains.

    Attributes:
        rate: mean of the neurons, Hz.
        branching: branching factor; NaN where no neuron spikes.
        exploded: a recording passed its budget; the rate is that until then, the branching factor NaN.
        note: what the op said then, with step and rate.
    """

    rate: float
    branching: float
    exploded: bool
    note: str = ""


def activity(lsm: LSM, events: Events, branching: bool = True) -> Activity:
    """Rate and branching factor on a batch of recordings; an explosion is told, not raised.

    Arguments:
        lsm: the liquid.
        events: (T, B, inputs).
        branching: measure that too, which takes longer than the simulation; else it is NaN.
    """
    seconds = float(events.lengths.sum()) * events.dt * 1e-3
    budget = math.ceil(BUSY * lsm.size * events.shape[0] * events.dt * 1e-3)
    try:
        spikes, _ = lsm.simulate(events, budget=budget)
    except Explosion as error:
        ran = float(error.record.steps.sum()) * events.dt * 1e-3
        return Activity(float(error.record.total.sum()) / max(ran * lsm.size, 1e-12), math.nan, True, str(error))
    rate = spikes.nnz / max(seconds * lsm.size, 1e-12)
    found = branching_factor(spikes, lsm.network().recurrent).mean if branching else math.nan
    return Activity(rate, found, False)


def calibrate(
    lsm: LSM, events: Events, branching: float | None = None, rate: float | None = None, drive: float | None = None
) -> None:
    """Set `lsm.input_gain` and `lsm.gain`.

    Arguments:
        lsm: the liquid.
        events: a batch of recordings, training data only.
        branching: target of the branching factor.
        rate: target of the mean rate instead, Hz; without either, the preset's target.
        drive: rate by the inputs alone, Hz; `None` means the preset's, 0 leaves the input gain as it is.

    Raises:
        ValueError: if both targets are given, there are no events, or no gain reaches a target: it says what gains
            give. The gains are then as before.
    """
    if branching is not None and rate is not None:
        raise ValueError(f"branching, rate: expected one target, got {branching!r} and {rate!r}")
    for name, value in (("branching", branching), ("rate", rate), ("drive", drive)):
        if value is not None and not (0 <= value < math.inf and (value or name == "drive")):
            raise ValueError(f"{name}: expected a target above 0, got {value!r}")
    if not events.nnz:
        raise ValueError("events: expected recordings with events, got none")
    before, settings = (lsm.gain, lsm.input_gain), lsm.settings()
    drive = settings.drive if drive is None else drive
    if branching is None and rate is None:
        branching, rate = settings.branching, None if settings.branching else settings.rate
    try:
        if drive:
            lsm.gain = 0.0
            lsm.input_gain = _search("input_gain", drive, "rate", lambda g: _at(lsm, events, False, input_gain=g))
        target, what = (branching, "branching") if branching else (rate, "rate")
        assert target is not None
        lsm.gain = _search("gain", target, what, lambda g: _at(lsm, events, what == "branching", gain=g))
    except BaseException:
        lsm.gain, lsm.input_gain = before
        raise


def _at(lsm: LSM, events: Events, branching: bool, **gains: float) -> Activity:
    lsm.set_params(**gains)
    return activity(lsm, events, branching)


def _search(name: str, target: float, what: str, measure: Callable[[float], Activity]) -> float:
    """The gain at which activity first crosses its target, from LEAST upwards in octaves and then by halving."""

    def value(found: Activity) -> float:
        number: float = getattr(found, what)
        return math.inf if found.exploded else 0.0 if math.isnan(number) else number

    seen: list[tuple[float, Activity]] = []
    gain = LEAST
    while gain <= MOST:
        seen.append((gain, measure(gain)))
        if value(seen[-1][1]) >= target:
            break
        gain *= 2
    if value(seen[-1][1]) < target or len(seen) == 1:
        raise ValueError(_unreached(name, target, what, seen, value))
    low, high = seen[-2][0], seen[-1][0]
    for _ in range(HALVINGS):
        middle = math.sqrt(low * high)
        found = measure(middle)
        seen.append((middle, found))
        if abs(value(found) / target - 1) < TOLERANCE:
            return middle
        low, high = (middle, high) if value(found) < target else (low, middle)
    best, found = min(((g, f) for g, f in seen if not f.exploded), key=lambda pair: abs(value(pair[1]) - target))
    if abs(value(found) / target - 1) > JUMP:
        raise ValueError(_unreached(name, target, what, seen, value))
    return best


def _unreached(name: str, target: float, what: str, seen: list[tuple[float, Activity]], value: Any) -> str:
    calm = [(g, f) for g, f in seen if not f.exploded]
    if not calm:
        return f"{name}: even {seen[0][0]:g} is too high: {seen[0][1].note}"
    best, found = min(calm, key=lambda pair: abs(value(pair[1]) - target))
    unit = " Hz" if what == "rate" else ""
    above = min(((g, f) for g, f in seen if f.exploded), default=None, key=lambda pair: pair[0])
    more = "" if above is None else f"; at {name} {above[0]:.3g} {above[1].note}"
    return (
        f"{what}: no {name} from {LEAST:g} to {MOST:g} gives {target:g}{unit}; nearest is {value(found):.3g}{unit} at "
        f"{name} {best:.3g}, where neurons fire at {found.rate:.1f} Hz{more}"
    )
