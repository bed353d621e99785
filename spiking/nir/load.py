"""from_nir: a NIR graph, ours or another tool's, as a network; neuron.py has the neurons' numbers.

Subgraphs are laid open. Neurons are then populations, and what leads from one to another is a path of nodes without a
state. A population that hears one other through one matrix becomes a `Layer`, with a delay before it `Delayed`; all
else is torch's modules in front of neurons. A path from a population to itself is its recurrent weights, felt one step
later.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spiking.neurons import LI, LIF, CubaLIF, Delay, Delayed, Layer
from spiking.nir.graph import Graph, Joined, Path
from spiking.nir.neuron import SOLVERS, library, read, step_of

NEURONS = ("LIF", "CubaLIF", "LI", "IF", "I")
MAPS = ("Affine", "Linear", "Scale", "Conv1d", "Conv2d", "AvgPool2d", "SumPool2d", "Flatten", "Delay")
ENDS = ("Input", "Output")


class Scale(nn.Module):
    """y = scale x, elementwise."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale)

    def forward(self, x: Tensor) -> Tensor:
        """(samples, *shape) to the same."""
        return x * self.scale


def from_nir(
    graph: Any,
    dt: float | None = None,
    *,
    solver: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Graph:
    """The network that a NIR graph describes.

    Arguments:
        graph: a `nir.NIRGraph`, or the path of a file that nir reads.
        dt: step in ms; `None` is that of a graph which `to_nir` wrote.
        solver: how a step is taken, "exp" or "euler" (neuron.py); `None` is that of a graph which `to_nir` wrote, and
            "euler" for any other, as Norse and snnTorch do.
        dtype: of the parameters.

    Returns:
        a network in evaluation, called as those of `spiking.networks`; its output is that of the population before the
        graph's output: spikes, or the membrane of an LI.

    Raises:
        ValueError: naming the node and what our layers cannot do.
        ModuleNotFoundError: without the package nir.
    """
    nir = library()
    if isinstance(graph, (str, PathLike)):
        graph = nir.read(graph)
    if not isinstance(graph, nir.NIRGraph):
        raise TypeError(f"graph: expected a nir.NIRGraph or a path, got {type(graph).__name__}")
    own = (getattr(graph, "metadata", None) or {}).get("spiking", {})
    solver = solver or own.get("solver", "euler")
    if solver not in SOLVERS:
        raise ValueError(f"solver: expected one of {', '.join(SOLVERS)}, got {solver!r}")
    reader = _Reader(graph, step_of(own.get("dt") if dt is None else dt), solver, dtype)
    return reader.network().eval()


class _Reader:
    def __init__(self, graph: Any, dt: float, solver: str, dtype: torch.dtype) -> None:
        self.dt, self.solver, self.dtype = dt, solver, dtype
        self.nodes: dict[str, Any] = {}
        self.before: dict[str, list[str]] = {}
        self.open(graph, "")
        kinds = {name: type(node).__name__ for name, node in self.nodes.items()}
        for name, kind in kinds.items():
            if kind not in (*NEURONS, *MAPS, *ENDS):
                raise ValueError(f"node {name!r}: expected one of {', '.join((*NEURONS, *MAPS))}, got {kind}")
        self.populations = [name for name, kind in kinds.items() if kind in NEURONS]
        self.input = self.end("Input", [n for n, kind in kinds.items() if kind == "Input" and not self.before[n]])
        after = {source for sources in self.before.values() for source in sources}
        self.output = self.end("Output", [n for n, kind in kinds.items() if kind == "Output" and n not in after])

    def open(self, graph: Any, prefix: str) -> None:
        """Collect nodes and edges, those of subgraphs under their own names."""
        starts: dict[str, str] = {}
        stops: dict[str, str] = {}
        for name, node in graph.nodes.items():
            full = prefix + name
            if type(node).__name__ != "NIRGraph":
                self.nodes[full] = node
                self.before.setdefault(full, [])
                continue
            self.open(node, f"{full}.")
            for kind, places in (("Input", starts), ("Output", stops)):
                inner = [key for key, part in node.nodes.items() if type(part).__name__ == kind]
                places[full] = f"{full}.{self.end(kind, inner, full)}"
        for source, target in dict.fromkeys((str(a), str(b)) for a, b in graph.edges):
            source, target = prefix + source, prefix + target
            source, target = stops.get(source, source), starts.get(target, target)
            for name in (source, target):
                if name not in self.nodes:
                    raise ValueError(f"edge {source!r} -> {target!r}: there is no node {name!r}")
            self.before.setdefault(target, []).append(source)

    @staticmethod
    def end(kind: str, found: list[str], graph: str = "") -> str:
        if len(found) != 1:
            where = f"node {graph!r}" if graph else "graph"
            raise ValueError(f"{where}: expected one {kind}, got {', '.join(found) or 'none'}")
        return found[0]

    def paths(self, name: str, later: tuple[str, ...] = ()) -> list[tuple[str, list[str]]]:
        """What leads into a node: for each source, a population or the input, the nodes between, in order."""
        found: list[tuple[str, list[str]]] = []
        for source in self.before[name]:
            if source in self.populations or source == self.input:
                found.append((source, []))
            elif source in later:
                raise ValueError(f"node {source!r}: a cycle without neurons")
            else:
                into = self.paths(source, (*later, source))
                if len(into) != 1 and type(self.nodes[source]).__name__ not in ENDS:
                    heard = ", ".join(other for other, _ in into) or "none"
                    raise ValueError(f"node {source!r}: expected one input (sums stand before neurons), got {heard}")
                step = [] if type(self.nodes[source]).__name__ in ENDS else [source]
                found += [(origin, [*between, *step]) for origin, between in into]
        return found

    def network(self) -> Graph:
        into = {name: self.paths(name) for name in self.populations}
        last = self.paths(self.output)
        if len(last) != 1 or last[0][1] or last[0][0] == self.input:
            got = ", ".join(name for source, between in last for name in (between or [source]))
            raise ValueError(f"node {self.output!r}: expected one population of neurons before it, got {got or 'none'}")
        order, output = self.order(into), last[0][0]
        start = np.asarray(self.nodes[self.input].input_type["input"]).reshape(-1)
        shapes: dict[str, tuple[int, ...]] = {self.input: tuple(int(n) for n in start)}
        layers: dict[str, Layer | Delayed | Joined] = {}
        heard = []
        for name in [*(n for n in order if n != output), output]:
            onward = [(source, between) for source, between in into[name] if source != name]
            built = [self.path(between, shapes[source]) for source, between in onward]
            sizes = {shape for _, shape in built}
            if len(sizes) != 1:
                raise ValueError(f"node {name!r}: expected inputs of one shape, got {sorted(sizes) or 'none'}")
            shapes[name] = sizes.pop()
            back = [between for source, between in into[name] if source == name]
            layers[name.replace(".", "_")] = self.population(name, shapes, onward, [m for m, _ in built], back)
            heard.append(["" if source == self.input else source.replace(".", "_") for source, _ in onward])
        inputs = int(np.prod(shapes[self.input]))
        return Graph(layers, heard, inputs, self.dt)

    def order(self, into: dict[str, list[tuple[str, list[str]]]]) -> list[str]:
        """The populations, each behind those that it hears."""
        waits = {name: {source for source, _ in paths} - {name, self.input} for name, paths in into.items()}
        order: list[str] = []
        while waits:
            ready = [name for name, others in waits.items() if others <= set(order)]
            if not ready:
                raise ValueError(
                    f"nodes {', '.join(map(repr, waits))}: a cycle through several populations; expected cycles of one"
                )
            order += ready
            waits = {name: others for name, others in waits.items() if name not in ready}
        return order

    def path(self, between: list[str], shape: tuple[int, ...]) -> tuple[list[nn.Module], tuple[int, ...]]:
        """The modules of a path, and the shape in which it ends."""
        maps: list[nn.Module] = []
        for name in between:
            node = self.nodes[name]
            try:
                maps.append(self.map(name, node))
                x = maps[-1](torch.zeros(1, *shape, dtype=self.dtype))
            except RuntimeError as error:
                raise ValueError(f"node {name!r}: does not take an input of shape {shape}: {error}") from error
            shape = tuple(x.shape[1:])
        return maps, shape

    def map(self, name: str, node: Any) -> nn.Module:
        kind = type(node).__name__
        if kind in ("Affine", "Linear"):
            matrix, shift = self.matrix(name)
            linear = nn.Linear(matrix.shape[0], matrix.shape[1], shift is not None, dtype=self.dtype)
            linear.weight.data = matrix.t().contiguous()
            if shift is not None:
                linear.bias.data = shift
            return linear
        if kind == "Scale":
            return Scale(self.tensor(node.scale))
        if kind == "Flatten":
            first, last = int(node.start_dim), int(node.end_dim)
            return nn.Flatten(first + 1 if first >= 0 else first, last + 1 if last >= 0 else last)
        if kind == "Delay":
            return nn.Identity()  # `population` takes it, or refuses
        if kind in ("AvgPool2d", "SumPool2d"):
            side, stride, pad = (_pair(x) for x in (node.kernel_size, node.stride, node.padding))
            return nn.AvgPool2d(side, stride, pad, divisor_override=1 if kind == "SumPool2d" else None)
        weight = self.tensor(node.weight)
        form: Any = nn.Conv1d if kind == "Conv1d" else nn.Conv2d
        size = {
            key: value if isinstance(value, str) else tuple(int(n) for n in np.atleast_1d(value))
            for key, value in ((k, _text(getattr(node, k))) for k in ("stride", "padding", "dilation"))
        }
        groups = int(node.groups)
        conv: nn.Module = form(
            weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]), groups=groups, dtype=self.dtype, **size
        )
        conv.weight.data, conv.bias.data = weight, self.tensor(node.bias)
        return conv

    def population(
        self, name: str, shapes: dict[str, tuple[int, ...]], onward: list[tuple[str, list[str]]],
        maps: list[list[nn.Module]], back: list[list[str]],
    ) -> Layer | Delayed | Joined:
        N = int(np.prod(shapes[name]))
        matrix, shift, delay = self.connection(onward, shapes, N)
        for source, between in onward:
            for step in between:
                if type(self.nodes[step]).__name__ == "Delay" and step != delay:
                    raise ValueError(
                        f"node {step!r}: Delay: expected right before one Linear or Affine and its neurons, got it "
                        f"between {source!r} and {name!r}"
                    )
        arguments, gain = read(name, self.nodes[name], N, self.dt, self.solver)
        recurrent = None
        if len(back) > 1 or (back and (len(back[0]) != 1 or len(shapes[name]) != 1)):
            raise ValueError(f"node {name!r}: expected one Linear or Affine from the population to itself, got {back}")
        if back:
            recurrent, constant = self.matrix(back[0][0])
            shift = constant if shift is None else shift if constant is None else shift + constant
        if gain is not None:
            scale = self.tensor(gain)
            matrix = None if matrix is None else matrix * scale
            shift = None if shift is None else shift * scale
            recurrent = None if recurrent is None else recurrent * scale
        layer = self.neurons(arguments, matrix if delay is None else None, N, recurrent, shift)
        if matrix is None:
            more = [] if gain is None else [Scale(self.tensor(gain).view(shapes[name]))]
            sources = [shapes[source] for source, _ in onward]
            return Joined([Path(shape, [*m, *more]) for shape, m in zip(sources, maps, strict=True)], layer)
        return layer if delay is None else Delayed(self.delay(delay, matrix), layer)

    def connection(
        self, onward: list[tuple[str, list[str]]], shapes: dict[str, tuple[int, ...]], N: int
    ) -> tuple[Tensor | None, Tensor | None, str | None]:
        """Weights, bias and the name of the delay of a population that hears one other through one matrix."""
        between = [step for step in onward[0][1] if type(self.nodes[step]).__name__ != "Flatten"]
        kinds = [type(self.nodes[step]).__name__ for step in between]
        if len(onward) == 1 and kinds and kinds[-1] in ("Affine", "Linear") and kinds[:-1] in ([], ["Delay"]):
            matrix, shift = self.matrix(between[-1])
            if matrix.shape == (int(np.prod(shapes[onward[0][0]])), N):
                return matrix, shift, between[0] if len(between) == 2 else None
        return None, None, None

    def neurons(
        self, arguments: dict[str, Any], matrix: Tensor | None, N: int, recurrent: Tensor | None, shift: Tensor | None
    ) -> Layer:
        given: dict[str, Any] = {
            key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for key, value in arguments.items()
        }
        form = LI if "threshold" not in given else CubaLIF if "tau_syn" in given else LIF
        size = (N, None) if matrix is None else (matrix.shape[0], N)
        layer: Layer = form(
            *size, recurrent=recurrent is not None, bias=shift is not None, dtype=self.dtype, **given
        )
        for parameter, value in ((layer.weight, matrix), (layer.recurrent, recurrent), (layer.bias, shift)):
            if parameter is not None:
                assert value is not None
                parameter.data.copy_(value)
        return layer

    def delay(self, name: str, matrix: Tensor) -> Delay:
        times = np.asarray(self.nodes[name].delay, np.float64).reshape(-1) * 1000
        if not (np.isfinite(times).all() and (times >= 0).all()):
            raise ValueError(f"node {name!r}: delay: expected finite times of 0 s or more, got {times.min() / 1000:g}")
        inputs, outputs = matrix.shape
        if times.size not in (1, inputs):
            raise ValueError(f"node {name!r}: delay: expected {inputs} times, got {times.size}")
        longest = max(float(times.max()), self.dt)
        delay = Delay(inputs, outputs, longest, "axonal", dt=self.dt, dtype=self.dtype)
        delay.weight.data.copy_(matrix)
        delay.raw_delay.data.copy_(torch.from_numpy(times).clamp(max=longest))
        return delay

    def matrix(self, name: str) -> tuple[Tensor, Tensor | None]:
        """The weights (in, out) and the bias (out,) of a Linear or Affine."""
        node = self.nodes[name]
        kind = type(node).__name__
        if kind not in ("Affine", "Linear") or np.ndim(node.weight) != 2:
            raise ValueError(f"node {name!r}: expected a Linear or Affine with weights (out, in), got {kind}")
        return self.tensor(node.weight).t(), self.tensor(node.bias) if kind == "Affine" else None

    def tensor(self, value: Any) -> Tensor:
        given = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
        return given.to(self.dtype)


def _pair(value: Any) -> tuple[int, int]:
    both = np.broadcast_to(np.atleast_1d(value), (2,))
    return int(both[0]), int(both[1])


def _text(value: Any) -> Any:
    """nir.read leaves the words "same" and "valid" as bytes."""
    return value.decode() if isinstance(value, bytes) else value
