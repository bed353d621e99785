"""Neurons whose time constants start and train as those of state space models (Fabre et al. 2025).

SiLIF is AdLIF, with all rates positive, time constants learned as logarithms and held to no range:

    u^_t = alpha u_{t-1} + (1 - alpha) (I_t - w_{t-1})
    z_t  = H(u^_t - theta)
    u_t  = u^_t - theta z_t
    w_t  = beta w_{t-1} + a u^_t + b z_t,     alpha = exp(-dt/tau_mem), beta = exp(-dt/tau_adapt)

C-SiLIF is a complex membrane potential v, which turns and decays and spikes by its real part:

    v^_t = lambda v_{t-1} + I_t / 2
    z_t  = H(2 Re v^_t - theta)
    v_t  = v^_t - theta z_t / 2,              lambda = exp((-1/tau_mem + 2 pi i f) dt)

The authors scale I by a learned b_j ~ U(0, 1) as well, which synapses or a norm before the neuron already do.
The layer's u is 2 Re v, its w is 2 Im lambda Im v: kernels/lif/op.py has the same equations in these.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from spiking.kernels import Resonance
from spiking.neurons.adlif import AdLIF
from spiking.neurons.bounded import Bounded, Value, tau
from spiking.neurons.layer import Layer, Options, population


class SiLIF(AdLIF):
    """Leaky integrate-and-fire neurons with an adaptation current, started and trained as a state space model.

    The published ranges, from which each neuron draws; the paper's step is 4 ms. Learned time constants may leave
    them, a and b don't.

    Arguments:
        in_features, out_features: input channels and neurons N; without `out_features` neurons only.
        tau_mem: membrane time constant in ms.
        tau_adapt: time constant of the adaptation in ms.
        a: what w gains in a step per unit of membrane potential.
        b: what w gains from a spike.
        threshold: membrane potential above which a neuron spikes.
        **options: as in `Layer`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int | None = None,
        *,
        tau_mem: Value = (4.0, 100.0),
        tau_adapt: Value = (100.0, 400.0),
        a: Value = (0.0, 1.0),
        b: Value = (0.0, 2.0),
        threshold: Value = 1.0,
        **options: Unpack[Options],
    ) -> None:
        N = population(in_features, out_features)
        super().__init__(
            in_features, out_features, tau_mem=SiLIF.tau_mem.draw(tau_mem, N),
            tau_adapt=SiLIF.tau_adapt.draw(tau_adapt, N), a=a, b=b, threshold=threshold, **options,
        )


class CSiLIF(Layer):
    """Neurons with a complex membrane potential: they resonate.

    Each neuron draws its time constant from the published range, and turns once in it unless told otherwise; the
    authors' step is 4 ms, their range 16 to 800 ms on SHD and 1.6 to 800 ms on SSC. Learned ones may leave it. As
    published, `input_scale` is "one" unless told otherwise.

    Arguments:
        in_features, out_features: input channels and neurons N; without `out_features` neurons only.
        tau_mem: time constant of the decay in ms.
        frequency: f in Hz; `None` is 1 / tau_mem. Above 1 / (2 dt) it can't be told from a lower one.
        threshold: real part of 2 v above which a neuron spikes.
        **options: as in `Layer`; `reset="zero"` acts on the real part, `decay="euler"` is refused.
    """

    tau_mem = tau(1.0, 1000.0)
    frequency = Bounded(0.1, 1000.0, log=True, unit="Hz")
    threshold = Bounded(0.01, 100.0, log=True)

    def __init__(
        self,
        in_features: int,
        out_features: int | None = None,
        *,
        tau_mem: Value = (16.0, 800.0),
        frequency: Value | None = None,
        threshold: Value = 1.0,
        **options: Unpack[Options],
    ) -> None:
        N = population(in_features, out_features)
        drawn: Tensor = CSiLIF.tau_mem.draw(tau_mem, N)
        frequency = 1000.0 / drawn if frequency is None else CSiLIF.frequency.draw(frequency, N)
        options.setdefault("input_scale", "one")
        super().__init__(
            in_features, out_features, {"tau_mem": drawn, "frequency": frequency, "threshold": threshold}, **options
        )

    def neuron(self) -> dict[str, Any]:
        return {
            "tau_mem": self.tau_mem, "threshold": self.threshold, "tau_syn": None,
            "adaptation": Resonance(self.frequency),
        }
