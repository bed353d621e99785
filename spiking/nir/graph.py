"""Graph: populations of neurons that send spikes to each other, as a NIR graph describes them.

    I_k = sum over the paths p into population k of p(z_source(p)),   z_k = neurons_k(I_k)

A path is what stands between two populations and has no state: weights, convolutions, pooling. Populations stand in an
order in which each hears only those before it, and itself through its recurrent weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spiking.events import Events
from spiking.neurons import Delayed, DelayedState, Layer
from spiking.neurons.layer import timing


class Path(nn.Module):
    """Maps without a state from the spikes of one population to the currents of another.

    Arguments:
        shape: of the source, such as (C, H, W).
        maps: modules of torch that take (samples, *shape).
    """

    def __init__(self, shape: tuple[int, ...], maps: Sequence[nn.Module]) -> None:
        super().__init__()
        self.shape = shape
        self.maps = nn.Sequential(*maps)

    def forward(self, x: Events | Tensor) -> Tensor:
        """Spikes (T, B, N) to currents (T, B, M), all steps at once."""
        dtype = next((p.dtype for p in self.maps.parameters()), torch.get_default_dtype())
        frames = x.to_dense(dtype) if isinstance(x, Events) else x.to(dtype)
        T, B, _ = frames.shape
        out: Tensor = self.maps(frames.reshape(T * B, *self.shape))
        return out.reshape(T, B, -1)


class Joined(nn.Module):
    """Neurons whose currents are the sum of several paths, or come through more than one matrix.

    Arguments:
        paths: one for each source.
        neurons: a layer without synapses.
    """

    def __init__(self, paths: Sequence[Path], neurons: Layer) -> None:
        super().__init__()
        self.paths = nn.ModuleList(paths)
        self.neurons = neurons

    def forward(
        self, sources: Sequence[Events | Tensor], state: Any, *, lengths: Tensor | None, dt: float | None
    ) -> tuple[Tensor, Any]:
        """What the neurons send, (T, B, N), and their state."""
        current: Any = sum(path(x) for path, x in zip(self.paths, sources, strict=True))
        return self.neurons(current, state, lengths=lengths, dt=dt)


class Graph(nn.Module):
    """A network in which populations may hear several others; `from_nir` makes it, and it is called as any network.

    Arguments:
        layers: name -> `Layer`, `Delayed` or `Joined`, in an order in which they can run; the last is the output.
        sources: for each, the names that it hears; "" is the input.
        inputs: channels of the input.
        dt: step in ms.
    """

    def __init__(
        self, layers: dict[str, Layer | Delayed | Joined], sources: Sequence[Sequence[str]], inputs: int, dt: float
    ) -> None:
        super().__init__()
        self.names = list(layers)
        self.layers = nn.ModuleList(layers.values())
        self.sources = [list(names) for names in sources]
        self.inputs, self.dt = inputs, dt

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
            dt: step of a dense batch in ms, if it is to be checked.
            trace: return `(out, sent)` for the output, with what every population but the last sends, (T, B, N).

        Returns:
            what the last population sends, (T, B, N), and the states of all.

        Raises:
            ValueError: if channels, step or states are not those of the network.
        """
        dt, lengths = timing(x, self.inputs, self.dt, dt, lengths)
        if states is not None and len(states) != len(self.layers):
            raise ValueError(f"states: expected {len(self.layers)}, one per population, got {len(states)}")
        sent: dict[str, Events | Tensor] = {"": x}
        after = []
        for k, (name, layer) in enumerate(zip(self.names, self.layers, strict=True)):
            heard = [sent[source] for source in self.sources[k]]
            state = None if states is None else states[k]
            if isinstance(layer, Joined):
                out, state = layer(heard, state, lengths=lengths, dt=dt)
            elif isinstance(heard[0], Events):
                out, state = layer(heard[0], state)
            else:
                out, state = layer(heard[0], state, lengths=lengths, dt=dt)
            sent[name] = out
            after.append(state)
        last = sent[self.names[-1]]
        return ((last, [sent[name] for name in self.names[:-1]]) if trace else last), tuple(after)

    def rest(self, samples: int) -> list[DelayedState | None]:
        """The states to start recordings from that come in parts shorter than the delays, for B samples."""
        return [k.rest(samples, self.dt) if isinstance(k, Delayed) else None for k in self.layers]
