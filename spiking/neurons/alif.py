"""Adaptive threshold: every spike raises the threshold, which relaxes with tau_adapt.

    theta_t = threshold + strength w_{t-1}
    u^_t    = a u_{t-1} + (1 - a) I_t
    z_t     = H(u^_t - theta_t)
    u_t     = u^_t - theta_t z_t
    w_t     = b w_{t-1} + (1 - b) z_t,     b = exp(-dt/tau_adapt)

Bellec et al. 2018, eqs. 1-3, and Yin, Corradi & Bohte 2021, eqs. 1-5. They reset one step later, by
theta_t z_{t-1}; reset_time="next" is exactly that.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from spiking.kernels import Adaptation
from spiking.neurons.bounded import Bounded, Value, tau
from spiking.neurons.layer import Layer, Options


class ALIF(Layer):
    """Leaky integrate-and-fire neurons with an adaptive threshold.

    Arguments:
        in_features, out_features: input channels and neurons N; without `out_features` neurons only.
        tau_mem: membrane time constant in ms.
        tau_adapt: time constant of the threshold in ms.
        threshold: the threshold at rest.
        strength: how far a neuron that fires in every step raises its threshold (beta; 1.8 in Yin et al. 2021).
        **options: as in `Layer`.
    """

    tau_mem = tau(1.0, 1000.0)
    tau_adapt = tau(10.0, 10000.0)
    threshold = Bounded(0.01, 100.0, log=True)
    strength = Bounded(0.0, 100.0)

    def __init__(
        self,
        in_features: int,
        out_features: int | None = None,
        *,
        tau_mem: Value = 20.0,
        tau_adapt: Value = 150.0,
        threshold: Value = 1.0,
        strength: Value = 1.8,
        **options: Unpack[Options],
    ) -> None:
        values = {"tau_mem": tau_mem, "tau_adapt": tau_adapt, "threshold": threshold, "strength": strength}
        super().__init__(in_features, out_features, values, **options)

    def neuron(self) -> dict[str, Any]:
        adaptation = Adaptation("threshold", tau=self.tau_adapt, strength=self.strength)
        return {
            "tau_mem": self.tau_mem, "threshold": self.threshold, "tau_syn": None, "adaptation": adaptation,
        }
