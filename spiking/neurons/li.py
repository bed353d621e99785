"""Leaky integrator, the readout: a neuron that never spikes, whose membrane potential is the output.

    u_t = a u_{t-1} + (1 - a) I_t,     a = exp(-dt/tau_mem)
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from spiking.events import Events
from spiking.kernels import LIFState
from spiking.neurons.bounded import Value, tau
from spiking.neurons.layer import Layer, Options


class LI(Layer):
    """Leaky integrators.

    Arguments:
        in_features, out_features: input channels and integrators N; without `out_features` integrators only.
        tau_mem: time constant in ms.
        **options: as in `Layer`; those of the spike and of its reset have no effect.
    """

    tau_mem = tau(1.0, 1000.0)

    def __init__(
        self,
        in_features: int,
        out_features: int | None = None,
        *,
        tau_mem: Value = 20.0,
        **options: Unpack[Options],
    ) -> None:
        options["surrogate"], options["reset"] = "never", "none"
        super().__init__(in_features, out_features, {"tau_mem": tau_mem}, **options)

    def neuron(self) -> dict[str, Any]:
        return {"tau_mem": self.tau_mem, "threshold": math.inf, "tau_syn": None, "adaptation": None}

    def forward(  # type: ignore[override]
        self,
        x: Events | Tensor,
        state: LIFState | None = None,
        *,
        lengths: Tensor | None = None,
        dt: float | None = None,
    ) -> tuple[Tensor, LIFState]:
        """Integrate a batch.

        Arguments:
            x, state, lengths, dt: as in `Layer.forward`.

        Returns:
            membrane potentials (T, B, N), 0 after a recording's end, and the state after its last valid step.
        """
        (_, membrane), after = super().forward(x, state, lengths=lengths, dt=dt, trace=True)
        return membrane, after
