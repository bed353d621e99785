"""The neurons and synapses of a liquid, drawn from a preset and a seed: the same seed, the same bits."""

from __future__ import annotations

import hashlib
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import gammaincinv

from spiking.kernels import SparseWeight
from spiking.reservoir import connect, draws, fields
from spiking.reservoir.presets import Pair, Preset

Array = np.ndarray[Any, Any]
NAMES = ("EE", "EI", "IE", "II")
LONGEST = 255  # steps of a delay


class Network(NamedTuple):
    """A liquid before its gains.

    Attributes:
        place: (N, 3) on the grid.
        inhibitory: (N,) bool.
        recurrent: (N, N) synapses between its neurons.
        delay: (nnz,) int64, steps of each of these.
        input: (channels, N) synapses from outside.
        tau_mem, tau_syn, reset, start, bias: (N,) float32; `tau_syn` is 0 where there is no current.
        refractory: (N,) int64 steps.
        short_term: (3, N, 2) float32, U, D and F of each neuron's synapses onto E and onto I, or `None`.
        shared: (6,) float64, what all neurons have alike: dt, threshold, adapt, tau_adapt, tau_inhibitory (NaN where it
            is the same as tau_syn), and 1 if currents are normalised.
        threshold: (N,) float32 of neurons that have learned their own (adapt.py), else `None`.
    """

    place: Array
    inhibitory: Array
    recurrent: SparseWeight
    delay: torch.Tensor
    input: SparseWeight
    tau_mem: torch.Tensor
    tau_syn: torch.Tensor
    reset: torch.Tensor
    start: torch.Tensor
    bias: torch.Tensor
    refractory: torch.Tensor
    short_term: torch.Tensor | None
    shared: torch.Tensor
    threshold: torch.Tensor | None = None

    def digest(self) -> str:
        """sha256 of all its numbers."""
        total = hashlib.sha256()
        for part in self:
            arrays = (part.indptr, part.index, part.values) if isinstance(part, SparseWeight) else (part,)
            for array in arrays:
                if array is not None:
                    total.update(np.ascontiguousarray(np.asarray(array)).tobytes())
        return total.hexdigest()


def build(preset: Preset, channels: int, neurons: int, dt: float, seed: int) -> Network:
    """Draw a network.

    Arguments:
        preset: its distributions.
        channels: of the input.
        neurons: N.
        dt: step, ms.
        seed: of everything that is drawn.

    Raises:
        ValueError: naming what can't be: a probability outside 0 to 1, a time constant that is not positive, a delay
            that rounds to no step or to more than 255, a field of another form (fields.py).
    """
    check(preset, channels, neurons, dt)
    place = connect.grid(neurons, preset.shape)
    inhibitory = draws.choose(seed, draws.NEURONS, neurons, round(preset.inhibitory * neurons))
    if preset.rule == "distance":
        rows = connect.distance(seed, place, inhibitory, preset.C, preset.lam)
    elif preset.rule == "degree":
        rows = connect.degree(seed, neurons, min(neurons - 1, round(preset.fan_out * neurons)))
    else:
        rows = connect.dense(neurons, neurons)
    source = np.repeat(np.arange(neurons), np.diff(rows[0]))
    kind = connect.kinds(inhibitory, source, rows[1])
    tau_syn = _choices(seed, preset.tau_syn, neurons)
    peak = _peak(preset, tau_syn, dt)
    strength = _strengths(preset, seed, kind) * peak[rows[1]]
    entries, input_strength = _inputs(preset, seed, channels, neurons)
    return Network(
        place,
        inhibitory,
        _sparse(rows, strength, (neurons, neurons)),
        torch.from_numpy(_delays(preset, seed, kind, dt)),
        _sparse(entries, input_strength * peak[entries[1]], (channels, neurons)),
        _number(np.exp(_between(seed, 1, tuple(np.log(preset.tau_mem)), neurons))),
        _number(tau_syn),
        _number(_between(seed, 2, preset.reset, neurons)),
        _number(_between(seed, 3, preset.start, neurons)),
        _number(_between(seed, 4, preset.bias, neurons)),
        torch.from_numpy(np.where(inhibitory, *(round(r / dt) for r in preset.refractory[::-1])).astype(np.int64)),
        _number(_short_term(preset, seed, inhibitory)) if preset.short_term else None,
        _shared(preset, dt),
    )


def units(network: Network, preset: Preset, dt: float) -> Array:
    """(nnz,) the mean strength of each recurrent synapse's kind as it was drawn, without its sign and the gain."""
    recurrent = network.recurrent
    source, target = recurrent.rows().numpy(), recurrent.index.numpy()
    kind = connect.kinds(network.inhibitory, source, target)
    return np.abs(np.asarray(preset.strength))[kind] * _peak(preset, network.tau_syn.numpy(), dt)[target]


def check(preset: Preset, channels: int, neurons: int, dt: float) -> None:
    """Raise if no network can be drawn; see `build`."""
    for name, count in (("inputs", channels), ("neurons", neurons)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"{name}: expected a whole number of at least 1, got {count!r}")
    if not 0 < dt < np.inf:
        raise ValueError(f"dt: expected a step above 0 ms, got {dt!r}")
    fields.check(preset)
    if preset.rule not in ("distance", "degree", "dense"):
        raise ValueError(f"rule: expected distance, degree or dense, got {preset.rule!r}")
    for name, p in zip(NAMES, preset.C, strict=True):
        connect.probability(f"C {name}", p)
    for name in ("inhibitory", "input_density", "fan_out", "input_negative"):
        value = getattr(preset, name)
        if value is not None:
            connect.probability(name, value)
    for name, times in (("tau_mem", preset.tau_mem), ("tau_adapt", (preset.tau_adapt,))):
        if not min(times) > 0:
            raise ValueError(f"{name}: expected a time constant above 0 ms, got {min(times)!r}")
    if min(preset.tau_syn) < 0 or (0 in preset.tau_syn and max(preset.tau_syn) > 0):
        raise ValueError(f"tau_syn: expected time constants above 0 ms, or (0,) for none, got {preset.tau_syn!r}")
    if preset.tau_inhibitory is not None and not preset.tau_inhibitory > 0:
        raise ValueError(f"tau_inhibitory: expected a time constant above 0 ms, got {preset.tau_inhibitory!r}")
    for name, delay in zip(NAMES, preset.delay, strict=True):
        if not 1 <= round(delay / dt) <= LONGEST:
            raise ValueError(f"delay {name}: expected 1 to {LONGEST} steps of {dt:g} ms, got {delay!r} ms")
    if preset.rule != "dense" and not (min(preset.strength[:2]) >= 0 >= max(preset.strength[2:])):
        raise ValueError(f"strength: expected E->E, E->I of at least 0, I->E, I->I of at most 0, got {preset.strength}")


def _peak(preset: Preset, tau_syn: Array, dt: float) -> Array:
    """What a strength of 1 becomes in each neuron."""
    if not (preset.normalised and max(preset.tau_syn) > 0):
        return np.ones(len(tau_syn))
    return 1 / np.maximum(tau_syn, dt)


def _shared(preset: Preset, dt: float) -> torch.Tensor:
    other = math.nan if preset.tau_inhibitory is None else preset.tau_inhibitory
    alike = (dt, preset.threshold, preset.adapt, preset.tau_adapt, other, preset.normalised)
    return torch.tensor(alike, dtype=torch.float64)


def _strengths(preset: Preset, seed: int, kind: Array) -> Array:
    mean = np.asarray(preset.strength)[kind]
    if preset.rule == "dense":
        return mean * draws.normal(seed, draws.STRENGTHS, 0, len(kind))
    if preset.spread == 0:
        return mean
    shape = preset.spread**-2
    strengths: Array = mean * gammaincinv(shape, draws.uniform(seed, draws.STRENGTHS, 0, len(kind))) / shape
    return strengths


def _inputs(preset: Preset, seed: int, channels: int, neurons: int) -> tuple[connect.Rows, Array]:
    """Connections from outside, and their strengths."""
    if preset.input_negative is None:
        rows = connect.dense(channels, neurons)
        return rows, preset.input_strength * draws.normal(seed, draws.INPUT_STRENGTHS, 0, len(rows[1]))
    density = (preset.input_density, preset.input_negative)
    if preset.input_width is None:
        indptr, index, sign = connect.inputs(seed, channels, neurons, *density)
    else:
        indptr, index, sign = connect.inputs_by_place(seed, channels, neurons, *density, preset.input_width)
    return (indptr, index), preset.input_strength * sign


def _delays(preset: Preset, seed: int, kind: Array, dt: float) -> Array:
    mean = np.asarray(preset.delay)[kind] / dt
    if preset.delay_spread:
        mean = mean * (1 + preset.delay_spread * draws.normal(seed, draws.DELAYS, 0, len(kind)))
    return np.clip(np.round(mean), 1, LONGEST).astype(np.int64)


def _short_term(preset: Preset, seed: int, inhibitory: Array) -> Array:
    """U, D and F, normal with half the mean as deviation; what falls below 0 is uniform up to twice the mean."""
    mean = np.asarray(preset.short_term).reshape(2, 2, 3)[inhibitory.astype(int)].transpose(2, 0, 1)
    value = mean * (1 + 0.5 * draws.normal(seed, draws.SHORT_TERM, 0, mean.size).reshape(mean.shape))
    again = 2 * mean * draws.uniform(seed, draws.SHORT_TERM, mean.size, mean.size).reshape(mean.shape)
    value = np.where(value > 0, value, again)
    value[0] = np.minimum(value[0], 1.0)
    return value


def _choices(seed: int, choices: tuple[float, ...], neurons: int) -> Array:
    u = draws.uniform(seed, draws.NEURONS, 5 * neurons, neurons)
    return np.asarray(choices, np.float64)[(u * len(choices)).astype(int)]


def _between(seed: int, which: int, ends: Pair, neurons: int) -> Array:
    low, high = ends
    if low == high:
        return np.full(neurons, float(low))
    return low + (high - low) * draws.uniform(seed, draws.NEURONS, which * neurons, neurons)


def _sparse(rows: connect.Rows, values: Array, shape: tuple[int, int]) -> SparseWeight:
    return SparseWeight(torch.from_numpy(rows[0]), torch.from_numpy(rows[1]), _number(values), shape, check=False)


def _number(values: Array) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values).astype(np.float32))


