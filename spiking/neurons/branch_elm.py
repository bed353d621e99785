"""BranchELM: an ELM neuron whose synapses lie on branches, with some ten times fewer parameters (Spieler et al. 2024).

    b_t,k = kappa_b b_{t-1,k} + sum over the synapses j of branch k of relu(w_j) x_t,i(j)

where i(j) is the input that synapse j listens to, see `routing.py`; the rest is as in `elm.py`.
"""

from __future__ import annotations

from typing_extensions import Unpack

from spiking.neurons.elm import ELM, ELMOptions
from spiking.neurons.routing import Routing


class BranchELM(ELM):
    """An expressive leaky memory neuron with branches.

    Arguments:
        in_features: input channels.
        out_features: numbers read from the memory at each step.
        memory: units d.
        branches: how many.
        synapses: of each branch; contiguous branches have in_features / branches.
        routing: "contiguous", "random" (each synapse draws its input) or "neuronio" (overlapping windows).
        routing_seed: of the draw.
        **options: as in `ELM`.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(
        self, in_features: int, out_features: int, memory: int = 100, *, branches: int = 45,
        synapses: int | None = None, routing: str = "contiguous", routing_seed: int = 0,
        **options: Unpack[ELMOptions],
    ) -> None:
        wiring = Routing(in_features, branches, synapses, routing, routing_seed, options.get("device"))
        super().__init__(in_features, out_features, memory, routing=wiring, **options)
