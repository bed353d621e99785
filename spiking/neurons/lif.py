"""Leaky integrate-and-fire, the current optionally low-pass filtered:

    i_t  = c i_{t-1} + I_t                      only with tau_syn
    u^_t = a u_{t-1} + s J_t                    J = i, or I without tau_syn
    z_t  = H(u^_t - theta)
    u_t  = u^_t - theta z_t

    a = exp(-dt/tau_mem),  s = 1 - a,  c = exp(-dt/tau_syn)

Gerstner, Kistler, Naud & Paninski 2014, Neuronal Dynamics, section 1.3; with tau_syn Neftci, Mostafa & Zenke 2019,
eqs. 3-4. Switches of scale, reset and integration are those of `spiking.kernels.Rule`.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from spiking.neurons.bounded import Bounded, Value, tau
from spiking.neurons.layer import Layer, Options


class LIF(Layer):
    """Leaky integrate-and-fire neurons.

    Arguments:
        in_features, out_features: input channels and neurons N; without `out_features` neurons only.
        tau_mem: membrane time constant in ms.
        threshold: membrane potential above which a neuron spikes.
        tau_syn: time constant of the synaptic current in ms; `None` is a current without memory.
        **options: as in `Layer`.
    """

    tau_mem = tau(1.0, 1000.0)
    tau_syn = tau(1.0, 1000.0)
    threshold = Bounded(0.01, 100.0, log=True)

    def __init__(
        self,
        in_features: int,
        out_features: int | None = None,
        *,
        tau_mem: Value = 20.0,
        threshold: Value = 1.0,
        tau_syn: Value | None = None,
        **options: Unpack[Options],
    ) -> None:
        values = {"tau_mem": tau_mem, "threshold": threshold, "tau_syn": tau_syn}
        super().__init__(in_features, out_features, values, **options)

    def neuron(self) -> dict[str, Any]:
        return {
            "tau_mem": self.tau_mem, "threshold": self.threshold, "tau_syn": self.tau_syn, "adaptation": None,
        }
