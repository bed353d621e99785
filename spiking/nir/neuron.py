"""Neurons of the Neuromorphic Intermediate Representation (Pedersen et al. 2024) and ours, number by number.

NIR writes neurons in continuous time, in seconds:

    LIF      tau dv/dt = v_leak - v + r I,                              z = H(v - v_threshold),  v = v_reset where z
    CubaLIF  tau_syn di/dt = -i + w_in I,  tau_mem dv/dt = v_leak - v + r i,   spike and reset as LIF
    LI       tau dv/dt = v_leak - v + r I
    IF, I    dv/dt = r I, with and without spikes, which all tools step as v = v' + r I, whatever the step is

A tool that runs them at a step dt solves each equation over the step, its input held: exactly ("exp"), or by Euler's
method ("euler", as Norse and snnTorch do):

    a = exp(-dt/tau) or 1 - dt/tau,   v = a v' + (1 - a) (v_leak + r I),   i = c i' + (1 - c) w_in I

That is our step where v_leak = 0, and

    r    = 1 for input_scale="decay", 1 / (1 - a) for "one"
    w_in = 1 / (1 - c), since our synaptic current jumps by I
    reset = "zero", reset_time = "same", inclusive = False, current = "same", refractory = 0

A neuron of ours with decay="exp" is written for a reader that takes Euler steps with the time constant that has the
same a, and the other way round. A neuron of theirs with another r is ours in units of r: its threshold becomes
v_threshold / r; with v_leak = v_reset it is ours with a threshold of v_threshold - v_leak.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spiking.neurons import LI, LIF, CubaLIF, Layer

SOLVERS = ("exp", "euler")
NEVER = 1e30  # ms, a time constant whose decay rounds to 1
SAME = 1e-6  # relative, what single precision leaves of equal numbers
_SAYS = {
    "reset": ("zero", "NIR resets to v_reset"),
    "reset_time": ("same", "NIR resets when it spikes"),
    "inclusive": (False, "NIR spikes above the threshold, not at it"),
    "current": ("same", "NIR's membrane has no delay behind its current"),
    "refractory": (0.0, "NIR has no refractory time"),
}


@dataclass(frozen=True)
class Reader:
    """What an importer makes of a graph.

    Arguments:
        solver: "exp" or "euler"; `None` is that of the network's first layer.
        dt: its step in ms; `None` is the network's.
        form: "plain" takes all numbers; "threshold" ignores the r of LIF, which then goes into the threshold;
            "weight" wants r = tau/dt, one threshold, and so all scales in the weights.
        lacks: nodes that it cannot read.
        recurrent: whether it runs a cycle as one.
    """

    solver: str | None = None
    dt: float | None = None
    form: str = "plain"
    lacks: tuple[str, ...] = ()
    recurrent: bool = True


READERS = {
    "nir": Reader(),
    "norse": Reader("euler", None, "threshold", ("LI", "AvgPool2d", "Delay")),
    "snntorch": Reader("euler", 0.1, "weight", ("LI", "Delay"), recurrent=False),
}


def library() -> Any:
    """The package nir.

    Raises:
        ModuleNotFoundError: naming what to install.
    """
    try:
        import nir
    except ModuleNotFoundError as error:
        if error.name != "nir":
            raise
        raise ModuleNotFoundError("nir: not installed; pip install 'spiking-torch[nir]'", name="nir") from None
    return nir


def write(
    name: str, layer: Layer, shape: tuple[int, ...], dt: float, reader: Reader, allow: Sequence[str]
) -> tuple[Any, np.ndarray | None]:
    """The node of a layer's neurons, and what their input has to be multiplied by, (N,), or `None` for 1.

    Raises:
        ValueError: naming the layer and what NIR cannot say of it.
    """
    nir, kind = library(), type(layer).__name__
    if type(layer) not in (LIF, CubaLIF, LI):  # a class derived from them may step otherwise
        raise ValueError(f"{name}: {kind}: NIR has no node for it; expected LIF, CubaLIF or LI")
    spikes = isinstance(layer, LIF)
    kept = _switches(name, layer, allow) if spikes else {}
    a, tau = _decay(name, layer, "tau_mem", dt, reader)
    r = np.ones_like(a) if layer.rule.input_scale == "decay" else 1 / (1 - a)
    values: dict[str, np.ndarray] = {"r": r, "v_leak": np.zeros_like(a)}
    gain = None
    synapse = spikes and layer.neuron()["tau_syn"] is not None
    if spikes:
        threshold = _numbers(layer.threshold)
        if reader.form == "weight":
            gain, values["r"], threshold = r * (1 - a) / threshold, 1 / (1 - a), np.ones_like(a)
        elif reader.form == "threshold" and not synapse:
            values["r"], threshold = np.ones_like(a), threshold / r
        values["v_threshold"] = threshold
        if "v_reset" in inspect.signature(nir.LIF).parameters:  # nir 1.0.6 and later
            values["v_reset"] = np.zeros_like(a)
    if synapse:
        c, tau_syn = _decay(name, layer, "tau_syn", dt, reader)
        values.update(tau_mem=tau, tau_syn=tau_syn, w_in=1 / (1 - c))
    else:
        values["tau"] = tau
    node = (nir.CubaLIF if synapse else nir.LIF) if spikes else nir.LI
    placed = {key: value.reshape(shape) for key, value in values.items()}
    return node(**placed, **({"metadata": {"spiking": kept}} if kept else {})), gain


def read(name: str, node: Any, size: int, dt: float, solver: str) -> tuple[dict[str, Any], np.ndarray | None]:
    """The arguments of `LIF`, or without a threshold of `LI`, and what their input has to be multiplied by.

    Arguments:
        name, node: of a neuron in the graph.
        size: N, the neurons that its input reaches.
        dt, solver: the step in ms and how to take it.

    Raises:
        ValueError: naming the node and what our neurons cannot do.
    """
    kind = type(node).__name__

    def row(key: str) -> np.ndarray:
        value = np.asarray(getattr(node, key), np.float64).reshape(-1)
        if value.size not in (1, size) or not np.isfinite(value).all():
            raise ValueError(f"node {name!r}: {key}: expected {size} finite numbers, got {value.size}")
        return np.broadcast_to(value, (size,)).copy()

    def refuse(key: str, wanted: str, got: np.ndarray) -> None:
        raise ValueError(f"node {name!r}: {key}: expected {wanted}, got {got.min():g} to {got.max():g}")

    rule: dict[str, Any] = {"decay": solver, "dt": dt, "reset": "zero"}
    tau, gain = np.full(size, NEVER), row("r")
    leak = np.zeros(size)
    if kind in ("IF", "I"):
        rule["decay"], rule["input_scale"] = "exp", "one"
    else:
        tau, leak = row("tau_mem" if kind == "CubaLIF" else "tau") * 1000, row("v_leak")
    if kind == "CubaLIF":
        rule["tau_syn"] = row("tau_syn") * 1000
        gain = gain * row("w_in") * (1 - _factor(rule["tau_syn"], dt, solver))
    if not (tau > 0).all():
        refuse("tau", "times above 0 s", tau / 1000)
    rule["tau_mem"] = tau
    if kind not in ("IF", "I"):
        a = _factor(tau, dt, solver)
        if np.allclose(gain, 1, rtol=SAME, atol=0):
            gain = np.ones(size)
        elif np.allclose(gain * (1 - a), 1, rtol=SAME, atol=0):
            rule["input_scale"], gain = "one", np.ones(size)
    if kind in ("I", "LI"):
        if leak.any():
            refuse("v_leak", "0, where our integrators rest", leak)
        rule.pop("reset")
        return rule, None if (gain == 1).all() else gain
    reset = row("v_reset") if hasattr(node, "v_reset") else leak
    if not np.array_equal(reset, leak):
        refuse("v_reset", "v_leak, to which our neurons reset", reset)
    if not (gain > 0).all():
        refuse("r", "a positive response to input", gain)
    rule["threshold"] = (row("v_threshold") - leak) / gain
    if not (rule["threshold"] > 0).all():
        refuse("v_threshold", "a threshold above v_leak", row("v_threshold"))
    rule.update(_kept(getattr(node, "metadata", None)))
    return rule, None


def _switches(name: str, layer: Layer, allow: Sequence[str]) -> dict[str, Any]:
    kept = {}
    for switch, (wanted, reason) in _SAYS.items():
        found = getattr(layer.rule, switch)
        if found == wanted or (switch == "current" and layer.neuron()["tau_syn"] is None):
            continue
        if switch not in allow:
            raise ValueError(
                f"{name}: {switch}={found!r}: {reason}; allow=({switch!r},) writes {wanted!r} for other tools, and "
                f"{found!r} for from_nir alone"
            )
        kept[switch] = found
    return kept


def _kept(metadata: Any) -> dict[str, Any]:
    """The switches that `write` was allowed to keep, in Python's own types."""
    own = metadata.get("spiking", {}) if isinstance(metadata, dict) else {}
    return {key: value.item() if hasattr(value, "item") else value for key, value in own.items() if key in _SAYS}


def _numbers(value: Any) -> np.ndarray:
    found: np.ndarray = value.detach().cpu().double().numpy()
    return found


def _factor(tau: np.ndarray, dt: float, solver: str) -> np.ndarray:
    """The decay over a step; `decay="euler"` refuses time constants below it."""
    return np.exp(-dt / tau) if solver == "exp" else 1 - dt / tau


def _decay(name: str, layer: Layer, key: str, dt: float, reader: Reader) -> tuple[np.ndarray, np.ndarray]:
    """The decay a of our step, and the time constant in s with which the reader's step decays by it."""
    tau, own = _numbers(getattr(layer, key)), layer.rule.decay
    a, step = _factor(tau, dt, own), dt if reader.dt is None else reader.dt
    if reader.solver == own:
        return a, tau * (step / dt) / 1000
    if reader.solver == "exp" and not (a > 0).all():
        raise ValueError(f"{name}: {key}: no exact solution decays to 0 in one step; expected above {dt} ms, got {tau}")
    return a, (-step / np.log(a) if reader.solver == "exp" else step / (1 - a)) / 1000


def step_of(dt: float | None) -> float:
    """A step in ms that was given.

    Raises:
        ValueError: if it is missing, or not above 0.
    """
    if dt is None:
        raise ValueError("dt: expected the step in ms, which neither the argument nor the network gives, got None")
    if not (math.isfinite(dt) and dt > 0):
        raise ValueError(f"dt: expected a step above 0 ms, got {dt}")
    return float(dt)
