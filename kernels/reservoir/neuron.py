"""The neurons and synaptic currents of a reservoir, and how they become the numbers that every backend reads.

op.py gives the equations. Propagators of linear neurons are exact for any step: the matrix exponential of

    tau_mem dV/dt = -V + i + bias,   dh/dt = -h / tau,   di/dt = h - i / tau   (alpha; without h for exponential)

(Rotter & Diesmann 1999). Potentials are measured from rest.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from spiking.kernels.arguments import number

Number = float | Tensor

# Rows of the parameter block (ROWS, N). Linear neurons use the first six so, Izhikevich's a, b, c, d, bias, peak.
DECAY, DRIVE, THRESHOLD, RESET, ADAPT, JUMP = range(6)
A, B, C, D, BIAS, PEAK = range(6)
# Then for each of two receptors: decay of the current, what h adds to it, what h and i add to V, what a weight adds.
KINETICS, EACH = 6, 5
FALL, RISE, H_TO_V, I_TO_V, GAIN = range(EACH)
ROWS = KINETICS + 2 * EACH
KINDS = ("delta", "exponential", "alpha")
LIF, ADAPTIVE, IZHIKEVICH = range(3)
# Integers of the switches: kind of neuron, kind of synapse, receptors, whether a current acts in the step in which it
# comes, whether the reset subtracts, Euler steps of an Izhikevich neuron.
NEURON, SYNAPSE, RECEPTORS, AT_ONCE, SUBTRACT, SUBSTEPS = range(6)


class IntegrateFire(NamedTuple):
    """Leaky integrate-and-fire neurons, with an adaptive threshold if `tau_adapt` is given.

    Arguments:
        tau_mem: ms; like all but the last a number or (N,).
        threshold: above rest; a spike comes where V reaches it.
        reset: V after a spike; `None` subtracts the threshold from V.
        bias: constant drive, in units of V.
        refractory: steps after a spike in which V is held and input is lost, a number or (N,) integers.
        tau_adapt: ms, of the rise of the threshold; `None` is none.
        jump: rise of the threshold with each spike.
    """

    tau_mem: Number = 20.0
    threshold: Number = 1.0
    reset: Number | None = 0.0
    bias: Number = 0.0
    refractory: int | Tensor = 0
    tau_adapt: Number | None = None
    jump: Number = 0.0


class Izhikevich(NamedTuple):
    """Neurons of Izhikevich (2003), in mV and ms, by Euler's rule.

    Arguments:
        a, b, c, d: his four numbers, each a number or (N,).
        bias: constant current.
        peak: V at which a spike is cut.
        substeps: Euler steps in a step.
        refractory: steps after a spike in which V and u are held, a number or (N,) integers.
    """

    a: Number = 0.02
    b: Number = 0.2
    c: Number = -65.0
    d: Number = 8.0
    bias: Number = 0.0
    peak: Number = 30.0
    substeps: int = 2
    refractory: int | Tensor = 0


class Kinetics(NamedTuple):
    """What a spike's arrival does to a neuron.

    Arguments:
        kind: "delta", V jumps by the weight; "exponential", a current jumps by it and decays; "alpha", a current rises
            to it within tau and decays.
        tau: ms, a number or (N,).
        tau_inhibitory: ms, likewise, for negative weights; `None` is the same.
        exact: integrate the current over the step (NEST). `False`, with "exponential" only, adds all of it to V in the
            step in which it comes, V = a V + i, as digital chips do.
    """

    kind: str = "delta"
    tau: Number = 5.0
    tau_inhibitory: Number | None = None
    exact: bool = True


class Setup(NamedTuple):
    """Parameters (ROWS, N), refractory steps (N,) int32, and the integers of the switches."""

    params: Tensor
    hold: Tensor
    flags: list[int]


def setup(
    neuron: IntegrateFire | Izhikevich, kinetics: Kinetics, N: int, dt: float, dtype: torch.dtype, device: torch.device
) -> Setup:
    """The numbers of a population at a step of dt ms.

    Raises:
        ValueError, TypeError: naming the argument.
    """
    rows = torch.zeros(ROWS, N, dtype=torch.float64)
    linear = isinstance(neuron, IntegrateFire)
    if isinstance(neuron, IntegrateFire):
        tau = _time("neuron.tau_mem", neuron.tau_mem, N)
        rows[DECAY] = torch.exp(-dt / tau)
        rows[DRIVE] = (1 - rows[DECAY]) * _row("neuron.bias", neuron.bias, N)
        rows[THRESHOLD] = _row("neuron.threshold", neuron.threshold, N)
        if neuron.reset is not None:
            rows[RESET] = _row("neuron.reset", neuron.reset, N)
            if not bool((rows[RESET] < rows[THRESHOLD]).all()):
                raise ValueError("neuron.reset: expected it below the threshold")
        if neuron.tau_adapt is not None:
            rows[ADAPT] = torch.exp(-dt / _time("neuron.tau_adapt", neuron.tau_adapt, N))
            rows[JUMP] = _row("neuron.jump", neuron.jump, N)
        kind = LIF if neuron.tau_adapt is None else ADAPTIVE
        subtract, substeps = int(neuron.reset is None), 1
    elif isinstance(neuron, Izhikevich):
        for k, name in enumerate(("a", "b", "c", "d", "bias", "peak")):
            rows[k] = _row(f"neuron.{name}", getattr(neuron, name), N)
        if not bool((rows[C] < rows[PEAK]).all()):
            raise ValueError("neuron.c: expected it below the peak")
        if not (isinstance(neuron.substeps, int) and neuron.substeps > 0):
            raise ValueError(f"neuron.substeps: expected 1 or more, got {neuron.substeps!r}")
        kind, subtract, substeps, tau = IZHIKEVICH, 0, neuron.substeps, rows[A]
    else:
        raise TypeError(f"neuron: expected IntegrateFire or Izhikevich, got {type(neuron).__name__}")
    receptors = _kinetics(rows, kinetics, tau if linear else None, dt)
    flags = [kind, KINDS.index(kinetics.kind), receptors, int(not kinetics.exact), subtract, substeps]
    return Setup(rows.to(device, dtype).contiguous(), _hold(neuron.refractory, N).to(device), flags)


def _kinetics(rows: Tensor, kinetics: Kinetics, tau_mem: Tensor | None, dt: float) -> int:
    """Fill the rows of the receptors; how many there are."""
    if not isinstance(kinetics, Kinetics):
        raise TypeError(f"kinetics: expected Kinetics, got {type(kinetics).__name__}")
    if kinetics.kind not in KINDS:
        raise ValueError(f"kinetics.kind: expected one of {', '.join(KINDS)}, got {kinetics.kind!r}")
    if not kinetics.exact and kinetics.kind != "exponential":
        raise ValueError(f"kinetics.exact: only exponential currents act at once, got {kinetics.kind!r}")
    rows[KINETICS + GAIN :: EACH] = 1.0
    if kinetics.kind == "delta":
        return 1
    both = [kinetics.tau, kinetics.tau if kinetics.tau_inhibitory is None else kinetics.tau_inhibitory]
    for r, (name, value) in enumerate(zip(("tau", "tau_inhibitory"), both, strict=True)):
        tau = _time(f"kinetics.{name}", value, rows.shape[1])
        at = KINETICS + r * EACH
        rows[at + FALL], rows[at + RISE] = torch.exp(-dt / tau), dt * torch.exp(-dt / tau)
        rows[at + I_TO_V] = 1.0
        if kinetics.kind == "alpha":
            rows[at + GAIN] = math.e / tau
        if tau_mem is not None and kinetics.exact:
            step = rows.new_zeros(rows.shape[1], 3, 3)
            step[:, 0, 0] = step[:, 1, 1] = -1 / tau
            step[:, 1, 0] = 1
            step[:, 2, 1], step[:, 2, 2] = 1 / tau_mem, -1 / tau_mem
            after = torch.linalg.matrix_exp(step * dt)
            rows[at + H_TO_V], rows[at + I_TO_V] = after[:, 2, 0], after[:, 2, 1]
    return 1 if torch.equal(rows[KINETICS : KINETICS + EACH], rows[KINETICS + EACH :]) else 2


def _row(name: str, value: Number, N: int) -> Tensor:
    number(name, value, N, torch.device("cpu") if not isinstance(value, Tensor) else value.device)
    row = torch.as_tensor(value, dtype=torch.float64).cpu().expand(N)
    if not bool(row.isfinite().all()):
        raise ValueError(f"{name}: expected finite numbers")
    return row


def _time(name: str, value: Number, N: int) -> Tensor:
    row = _row(name, value, N)
    if N and not float(row.min()) > 0:
        raise ValueError(f"{name}: expected a time constant above 0 ms, got {float(row.min())}")
    return row


def _hold(refractory: int | Tensor, N: int) -> Tensor:
    steps = torch.as_tensor(refractory)
    if steps.is_floating_point() or steps.dtype == torch.bool or steps.ndim > 1 or steps.numel() not in (1, N):
        raise ValueError(f"neuron.refractory: expected whole steps, a number or ({N},), got {refractory!r}")
    if N and int(steps.min()) < 0:
        raise ValueError(f"neuron.refractory: expected 0 steps or more, got {int(steps.min())}")
    return steps.to(torch.int32).expand(N).contiguous()
