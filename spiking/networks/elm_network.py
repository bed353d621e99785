"""ELMNetwork: layers of small ELM neurons that speak of what changes, and one ELM neuron that reads them.

    z_1 = layer_1(x),  z_2 = layer_2(z_1), ...,  out = ELM(z_K)

Spieler, Martius & Levina 2026, "The ELM Network" (arXiv:2605.12049). Without a hidden layer it is a single ELM neuron
(Spieler et al. 2024).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from spiking.events import Events
from spiking.networks.network import HeldDropout
from spiking.neurons import ELM, BranchELM, ELMLayer
from spiking.neurons.layer import timing


class ELMNetwork(nn.Module):
    """A network of ELM neurons.

    Arguments:
        inputs: channels.
        classes: numbers read out in each step.
        hidden: neurons of each hidden layer; none at all leaves the reading neuron alone.
        dropout: probability with which a hidden neuron is silenced for a sample, while training.
        drop_input: the same of input channels, each for a whole sample.
        readout: arguments of the reading neuron, an `ELM`, or with `branches` a `BranchELM`.
        seed: of the connections.
        dt: step in ms; `None` takes that of the Events.
        **options: of `ELMLayer`.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(
        self, inputs: int, classes: int, hidden: Sequence[int] = (), *, dropout: float = 0.0, drop_input: float = 0.0,
        readout: Mapping[str, Any] | None = None, seed: int = 0, dt: float | None = None, **options: Any,
    ) -> None:
        super().__init__()
        if options and not hidden:
            raise ValueError(f"{', '.join(options)}: of hidden layers, of which there are none; those of the reading "
                             "neuron are named in readout")  # fmt: skip
        sizes = [inputs, *hidden]
        self.inputs, self.dt = inputs, dt
        self.layers = nn.ModuleList(
            ELMLayer(n, m, seed=seed + k, dt=dt, **options) for k, (n, m) in enumerate(zip(sizes, hidden, strict=False))
        )
        self.links = nn.ModuleList(HeldDropout(dropout) for _ in hidden)
        self.first = HeldDropout(drop_input)
        own = dict(readout or {})
        self.readout = (BranchELM if "branches" in own else ELM)(sizes[-1], classes, **{"dt": dt, **own})

    def forward(
        self,
        x: Events | Tensor,
        states: Sequence[Any] | None = None,
        *,
        lengths: Tensor | None = None,
        dt: float | None = None,
        trace: bool = False,
    ) -> tuple[Any, tuple[Any, ...]]:
        """Run the network over a batch.

        Arguments:
            x: Events (T, B, in) or a dense tensor (T, B, in).
            states: where to go on from, as a former call returned them; `None` is rest.
            lengths: (B,) valid steps of a dense batch; Events bring their own.
            dt: step of a dense batch in ms, by default the network's.
            trace: return `(out, spikes)` for the output, spikes a list of (T, B, N), one for each layer that spikes.

        Returns:
            (T, B, classes) and the states of all layers.

        Raises:
            ValueError: if channels, step or states are not those of the network.
        """
        count = len(self.layers) + 1
        if states is not None and len(states) != count:
            raise ValueError(f"states: expected {count}, one per layer and reading neuron, got {len(states)}")
        before: Sequence[Any] = [None] * count if states is None else states
        dt, lengths = timing(x, self.inputs, self.dt, dt, lengths)
        if self.training and self.first.p:
            x = self.first(x.to_dense() if isinstance(x, Events) else x)
        call: dict[str, Any] = {} if isinstance(x, Events) else {"lengths": lengths, "dt": dt}
        spikes: list[Tensor] = []
        after: list[Any] = []
        for layer, link, state in zip(self.layers, self.links, before, strict=False):
            z, last = layer(x, state, **call)
            if layer.output == "spike":
                spikes.append(z)
            after.append(last)
            x, call = link(z), {"lengths": lengths, "dt": dt}
        out, last = self.readout(x, before[-1], **call)
        after.append(last)
        return ((out, spikes) if trace else out), tuple(after)
