"""Adaptive current: a second variable w, driven by the membrane potential and by spikes, is subtracted from the input.

AdLIF (Bittar & Garner 2022, eqs. 4-6), with w a plain sum, so that a and b act per step:

    u^_t = alpha u_{t-1} + (1 - alpha) (I_t - w_{t-1})
    z_t  = H(u^_t - theta)
    u_t  = u^_t - theta z_t
    w_t  = beta w_{t-1} + a u^_t + b z_t

SEAdLIF (Baronig et al. 2024, eqs. 5-8), with w a mean, so that its size doesn't depend on the step:

    u^_t = alpha u_{t-1} + (1 - alpha) (I_t - w_{t-1})
    z_t  = H(u^_t - theta)
    u_t  = u^_t (1 - z_t)
    w_t  = beta w_{t-1} + (1 - beta) q (a u_t + b z_t)               coupling "symplectic"
    w_t  = beta w_{t-1} + (1 - beta) q (a u_{t-1} + b z_{t-1})       coupling "euler"

    alpha = exp(-dt/tau_mem),  beta = exp(-dt/tau_adapt)
"""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from spiking.kernels import Adaptation
from spiking.neurons.bounded import Bounded, Value, tau
from spiking.neurons.layer import Layer, Options


class AdLIF(Layer):
    """Leaky integrate-and-fire neurons with an adaptation current.

    The published ranges, from which each neuron draws and where it stays while it learns; the paper's step is 1 ms.

    Arguments:
        in_features, out_features: input channels and neurons N; without `out_features` neurons only.
        tau_mem: membrane time constant in ms.
        tau_adapt: time constant of the adaptation in ms.
        a: what w gains in a step per unit of membrane potential.
        b: what w gains from a spike.
        threshold: membrane potential above which a neuron spikes.
        **options: as in `Layer`.
    """

    tau_mem = tau(1.0, 1000.0)
    tau_adapt = tau(10.0, 10000.0)
    a = Bounded(-1.0, 1.0)
    b = Bounded(0.0, 2.0)
    threshold = Bounded(0.01, 100.0, log=True)

    def __init__(
        self,
        in_features: int,
        out_features: int | None = None,
        *,
        tau_mem: Value = (5.0, 25.0),
        tau_adapt: Value = (30.0, 120.0),
        a: Value = (-1.0, 1.0),
        b: Value = (0.0, 2.0),
        threshold: Value = 1.0,
        **options: Unpack[Options],
    ) -> None:
        values = {"tau_mem": tau_mem, "tau_adapt": tau_adapt, "a": a, "b": b, "threshold": threshold}
        super().__init__(in_features, out_features, values, **options)

    def neuron(self) -> dict[str, Any]:
        a, threshold = self.a, self.threshold
        spike = self.b + a * threshold  # the op's w reads u after the reset, u^ - theta z; this puts theta z back
        adaptation = Adaptation("current", tau=self.tau_adapt, membrane=a, spike=spike, scale="one")
        return {"tau_mem": self.tau_mem, "threshold": threshold, "tau_syn": None, "adaptation": adaptation}


class SEAdLIF(Layer):
    """Adaptive neurons whose w reads the new membrane potential, which keeps them stable and free of drift.

    The published ranges, from which each neuron draws and where it stays while it learns: tau_mem of 5 to 25 and
    tau_adapt of 60 to 300 steps of 4 ms. As published, `reset` is "zero" unless told otherwise.

    Arguments:
        in_features, out_features: input channels and neurons N; without `out_features` neurons only.
        tau_mem: membrane time constant in ms.
        tau_adapt: time constant of the adaptation in ms.
        a: drive of w by the membrane potential.
        b: drive of w by a spike.
        gain: q, a factor of both; 120 is published for "symplectic", 60 for "euler".
        threshold: membrane potential above which a neuron spikes.
        coupling: "symplectic", w reads the new u and z, or "euler", those of the step before (EF-adLIF).
        **options: as in `Layer`.

    Raises:
        ValueError: if `coupling` is neither.
    """

    tau_mem = tau(1.0, 1000.0)
    tau_adapt = tau(10.0, 10000.0)
    a = Bounded(0.0, 1.0)
    b = Bounded(0.0, 2.0)
    gain = Bounded(0.0, 1000.0)
    threshold = Bounded(0.01, 100.0, log=True)

    def __init__(
        self,
        in_features: int,
        out_features: int | None = None,
        *,
        tau_mem: Value = (20.0, 100.0),
        tau_adapt: Value = (240.0, 1200.0),
        a: Value = (0.0, 1.0),
        b: Value = (0.0, 2.0),
        gain: Value | None = None,
        threshold: Value = 1.0,
        coupling: str = "symplectic",
        **options: Unpack[Options],
    ) -> None:
        if coupling not in ("symplectic", "euler"):
            raise ValueError(f"coupling: expected symplectic or euler, got {coupling!r}")
        self.coupling = coupling
        options.setdefault("reset", "zero")
        if gain is None:
            gain = 120.0 if coupling == "symplectic" else 60.0
        values = {"tau_mem": tau_mem, "tau_adapt": tau_adapt, "a": a, "b": b, "gain": gain, "threshold": threshold}
        super().__init__(in_features, out_features, values, **options)

    def neuron(self) -> dict[str, Any]:
        adaptation = Adaptation(
            "current", tau=self.tau_adapt, membrane=self.gain * self.a, spike=self.gain * self.b, scale="decay",
            source="new" if self.coupling == "symplectic" else "previous",
        )
        return {
            "tau_mem": self.tau_mem, "threshold": self.threshold, "tau_syn": None, "adaptation": adaptation,
        }
