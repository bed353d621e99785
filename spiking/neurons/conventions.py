"""How other libraries step their integrate-and-fire neuron, in the arguments of `LIF`.

    library       update                                               spike      reset
    snnTorch      u = beta u' + I                                      u > theta  -theta next step, or to 0
    SpikingJelly  u = u' + (I - u') / tau, or u' (1 - 1/tau) + I       u >= theta to 0, or -theta
    Norse         i = i' - dt/tau_syn i' + I; u = u' + dt/tau_mem (i - u')  u > theta  to 0
    sinabs        u = a u' + (1 - a) I, or a u' + I                    u >= theta -theta
    NEST          u = a u' + I while not refractory                    u >= theta to 0, then held

tests/spiking/test_like.py runs each beside the installed library.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

_MAKERS: dict[str, Callable[..., dict[str, Any]]] = {}


def like(library: str, dt: float = 1.0, **parameters: Any) -> dict[str, Any]:
    """The arguments with which `LIF` reproduces another library's neuron, spike for spike.

    Arguments:
        library: "snntorch" (`Leaky`), "spikingjelly" (`LIFNode`), "norse" (`LIFCell`), "sinabs" (`LIF` with
            `SingleSpike`) or "nest" (`iaf_psc_delta`).
        dt: step in ms.
        **parameters: the library's own, by its own names and defaults:
            snntorch: beta=0.9, threshold=1.0, reset_mechanism="subtract" | "zero" | "none";
            spikingjelly: tau=2.0 (steps), v_threshold=1.0, v_reset=0.0 | None, decay_input=True, detach_reset=False;
            norse: tau_syn_inv=200.0, tau_mem_inv=100.0 (1/s), v_th=1.0;
            sinabs: tau_mem=20.0 (steps), spike_threshold=1.0, norm_input=True;
            nest: tau_m=10.0 (ms), V_th=15.0 (mV above E_L = V_reset), t_ref=2.0 (ms).

    Returns:
        keyword arguments for `LIF`.

    Raises:
        ValueError: if the library or one of its parameters is unknown, or has no counterpart here.
    """
    if library not in _MAKERS:
        raise ValueError(f"library: expected one of {', '.join(_MAKERS)}, got {library!r}")
    if not (math.isfinite(dt) and dt > 0):
        raise ValueError(f"dt: expected a step above 0 ms, got {dt}")
    maker = _MAKERS[library]
    known: dict[str, Any] = maker.__kwdefaults__ or {}
    for name in parameters:
        if name not in known:
            raise ValueError(f"{name}: {library} has {', '.join(known)} here")
    return {"dt": dt, **maker(dt, **parameters)}


def _snntorch(
    dt: float, *, beta: float = 0.9, threshold: float = 1.0, reset_mechanism: str = "subtract"
) -> dict[str, Any]:
    if not 0 < beta < 1:
        raise ValueError(f"beta: expected a decay between 0 and 1, got {beta}")
    # Its reset to zero clears the old membrane potential before the decay: a reset at the end of the same step.
    return {
        "tau_mem": -dt / math.log(beta), "threshold": threshold, "input_scale": "one", "reset": reset_mechanism,
        "reset_time": "next" if reset_mechanism == "subtract" else "same",
    }


def _spikingjelly(
    dt: float, *, tau: float = 2.0, v_threshold: float = 1.0, v_reset: float | None = 0.0, decay_input: bool = True,
    detach_reset: bool = False,
) -> dict[str, Any]:
    if v_reset not in (None, 0.0):
        raise ValueError(f"v_reset: expected 0.0 or None, got {v_reset}; shift threshold and input instead")
    return {
        "tau_mem": tau * dt, "threshold": v_threshold, "decay": "euler", "inclusive": True,
        "input_scale": "decay" if decay_input else "one", "reset": "subtract" if v_reset is None else "zero",
        "detach_reset": detach_reset,
    }


def _norse(
    dt: float, *, tau_syn_inv: float = 200.0, tau_mem_inv: float = 100.0, v_th: float = 1.0
) -> dict[str, Any]:
    return {
        "tau_mem": 1000.0 / tau_mem_inv, "tau_syn": 1000.0 / tau_syn_inv, "threshold": v_th, "decay": "euler",
        "reset": "zero", "detach_reset": False,
    }


def _sinabs(
    dt: float, *, tau_mem: float = 20.0, spike_threshold: float = 1.0, norm_input: bool = True
) -> dict[str, Any]:
    return {
        "tau_mem": tau_mem * dt, "threshold": spike_threshold, "inclusive": True,
        "input_scale": "decay" if norm_input else "one", "detach_reset": False,
    }


def _nest(dt: float, *, tau_m: float = 10.0, V_th: float = 15.0, t_ref: float = 2.0) -> dict[str, Any]:
    return {
        "tau_mem": tau_m, "threshold": V_th, "input_scale": "one", "reset": "zero", "inclusive": True,
        "refractory": t_ref,
    }


_MAKERS.update(snntorch=_snntorch, spikingjelly=_spikingjelly, norse=_norse, sinabs=_sinabs, nest=_nest)
