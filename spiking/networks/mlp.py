"""SpikingMLP: fully connected layers of spiking neurons, as

    z_1 = neurons(x W_1),  z_2 = neurons(z_1 W_2), ...,  out = LI(z_K W_out)

With `skip` a hidden layer of the size of the one before adds that one's spikes to its own currents, so that what runs
between layers stays binary (Hu et al. 2024, MS-ResNet, put the shortcut in the same place).

With `delays` every weight, those of the readout included, has a delay that trains with it (Hammouamri,
Khalfaoui-Hassani & Masquelier 2024, whose network for spoken digits is
`SpikingMLP([140, 256, 256, 20], norm="batch", dropout=0.4, delays={"max_delay": 250.0, "sigma": 120.0})`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor

from spiking.events import Events
from spiking.networks.network import HeldDropout, Network, neuron_class
from spiking.neurons import LI, Delay, Delayed, Layer


class SpikingMLP(Network):
    """A multi-layer network of spiking neurons with a leaky integrator as readout.

    Arguments:
        sizes: channels of the input, neurons of each hidden layer, classes.
        neuron: of the hidden layers, a name ("lif", "cuba", "alif", "adlif", "seadlif", "silif", "csilif") or a
            class.
        recurrent: neurons of a hidden layer feel each other's spikes one step later.
        norm: "batch", batch normalisation of the hidden currents over time and batch.
        dropout: probability with which a hidden neuron is silenced for a sample, while training.
        skip: shortcuts between hidden layers of equal size; not with delays.
        delays: the longest of learned synaptic delays in ms, or the arguments of `Delay` as a mapping; `None` is none.
        dt: step in ms; `None` takes that of the Events.
        tau_out: time constant of the readout in ms.
        **options: of the neuron class.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        neuron: str | type[Layer] = "lif",
        *,
        recurrent: bool = False,
        norm: str | None = None,
        dropout: float = 0.0,
        skip: bool = False,
        delays: float | Mapping[str, Any] | None = None,
        dt: float | None = None,
        tau_out: float = 20.0,
        **options: Any,
    ) -> None:
        if len(sizes) < 2:
            raise ValueError(f"sizes: expected (input, hidden..., classes), got {list(sizes)}")
        kind = neuron_class(neuron)
        place = {name: options[name] for name in ("check_finite", "device", "dtype") if name in options}
        hidden = list(pairwise(sizes[:-1]))
        links = [HeldDropout(dropout) for _ in hidden]
        layers: list[Layer | Delayed]
        readout: LI | Delayed
        if delays is None:
            wired = {"fan_out", "recurrent_fan_out"} & options.keys()  # each layer draws connections of its own
            first = int(options.pop("connectome_seed", 0)) if wired else 0
            seeds: list[dict[str, Any]] = [
                {"connectome_seed": first + 2 * k} if wired else {} for k in range(len(hidden))
            ]
            layers = [
                kind(n, m, recurrent=recurrent, norm=norm, dt=dt, **options, **seed)
                for (n, m), seed in zip(hidden, seeds, strict=True)
            ]
            readout = LI(sizes[-2], sizes[-1], tau_mem=tau_out, dt=dt, **place)
        else:
            if skip:
                raise ValueError("skip: a shortcut has no delays; leave out skip or delays")
            given = dict(delays) if isinstance(delays, Mapping) else {"max_delay": delays}
            layers = [
                Delayed(Delay(n, m, dt=dt, **given, **place), kind(m, recurrent=recurrent, norm=norm, dt=dt, **options))
                for n, m in hidden
            ]
            last = LI(sizes[-1], tau_mem=tau_out, dt=dt, **place)
            readout = Delayed(Delay(sizes[-2], sizes[-1], dt=dt, **given, **place), last)
        super().__init__(layers, links, readout, sizes[0], dt)
        self.skips = [skip and k > 0 and n == m for k, (n, m) in enumerate(hidden)]

    def run(
        self, k: int, x: Events | Tensor, state: Any, lengths: Tensor | None, dt: float | None
    ) -> tuple[Tensor, Any]:
        if not self.skips[k]:
            return super().run(k, x, state, lengths, dt)
        layer = self.layers[k]
        assert isinstance(layer, Layer) and isinstance(x, Tensor)
        spikes, after = layer.fire(layer.current(x, lengths) + x, state, lengths=lengths, dt=dt)
        return spikes, after

    def fan_out(self, k: int) -> Tensor | int:
        skipped = k < len(self.skips) and self.skips[k]
        return int(super().fan_out(k)) + int(skipped)
