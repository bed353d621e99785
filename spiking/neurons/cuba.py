"""Current-based leaky integrate-and-fire: each spike leaves a current that decays with tau_syn.

    i_t  = c i_{t-1} + I_t
    u^_t = a u_{t-1} + (1 - a) i_t
    z_t  = H(u^_t - theta)
    u_t  = u^_t - theta z_t

Neftci, Mostafa & Zenke 2019, eqs. 3-4.
"""

from __future__ import annotations

from typing_extensions import Unpack

from spiking.neurons.bounded import Value
from spiking.neurons.layer import Options
from spiking.neurons.lif import LIF


class CubaLIF(LIF):
    """Current-based leaky integrate-and-fire neurons.

    Arguments:
        in_features, out_features: input channels and neurons N; without `out_features` neurons only.
        tau_mem: membrane time constant in ms.
        tau_syn: time constant of the synaptic current in ms.
        threshold: membrane potential above which a neuron spikes.
        **options: as in `Layer`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int | None = None,
        *,
        tau_mem: Value = 20.0,
        tau_syn: Value = 10.0,
        threshold: Value = 1.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            in_features, out_features, tau_mem=tau_mem, tau_syn=tau_syn, threshold=threshold, **options
        )
