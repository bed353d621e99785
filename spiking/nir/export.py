"""to_nir: a network of ours as a NIR graph; neuron.py has the neurons' numbers.

    Layer         Affine or Linear -> LIF, CubaLIF or LI;  recurrent weights: a cycle LIF -> Linear -> LIF
    SpikingConv2d Conv2d -> LIF;  shortcuts: an edge, or a 1x1 Conv2d, to the same LIF
    Delayed       Delay -> Affine or Linear -> LIF, for axonal delays
    pool          AvgPool2d;  between a map and a fully connected layer: Flatten

Batch norm in evaluation is part of the weights: W' = W g, b' = beta - mean g, g = gamma / sqrt(var + eps).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spiking.networks import HeldDropout, Network, SpikingConv2d, SpikingMLP
from spiking.networks.conv import Pool
from spiking.neurons import Delay, Delayed, Layer
from spiking.nir.neuron import READERS, Reader, library, step_of, write

ALLOW = ("reset", "reset_time", "inclusive", "current", "refractory")


@torch.no_grad()
def to_nir(
    network: Network | Layer | Delayed | SpikingConv2d,
    dt: float | None = None,
    *,
    reader: str = "nir",
    readout: bool = True,
    allow: Collection[str] = (),
) -> Any:
    """A network in evaluation as a `nir.NIRGraph`, for `nir.write` and other tools.

    Arguments:
        network: a network of `spiking.networks`, or one layer.
        dt: step in ms, by default the network's.
        reader: "nir" writes the numbers as they are; "norse" and "snntorch" in the form which those importers run spike
            for spike: call `norse.torch.from_nir(graph, dt=dt / 1000)`, `snntorch.import_nir.import_from_nir(graph)`.
        readout: whether the network's readout is written; neither Norse nor snnTorch reads an LI.
        allow: switches that NIR cannot say, to be written as if they had NIR's value: "reset", "reset_time",
            "inclusive", "current", "refractory". `from_nir` finds the true ones in the node's metadata.

    Returns:
        the graph; nodes are named after the layers, such as "layers.0.neurons".

    Raises:
        ValueError: naming the layer and what NIR or the reader cannot say.
        ModuleNotFoundError: without the package nir.
    """
    if reader not in READERS:
        raise ValueError(f"reader: expected one of {', '.join(READERS)}, got {reader!r}")
    for switch in allow:
        if switch not in ALLOW:
            raise ValueError(f"allow: expected names among {', '.join(ALLOW)}, got {switch!r}")
    own = network.neurons.dt if isinstance(network, (Delayed, SpikingConv2d)) else getattr(network, "dt", None)
    if dt is not None and own is not None and dt != own:
        raise ValueError(f"dt: network {own} ms, argument {dt} ms")
    writer = _Writer(step_of(own if dt is None else dt), READERS[reader], reader, tuple(allow))
    return writer.graph(network, readout)


class _Writer:
    """Nodes and edges as they grow; `last` is the node behind which the next one stands, `shape` what it sends."""

    def __init__(self, dt: float, reader: Reader, title: str, allow: tuple[str, ...]) -> None:
        self.nir, self.dt, self.reader, self.title, self.allow = library(), dt, reader, title, allow
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.last: str = "input"
        self.shape: tuple[int, ...] = ()

    def graph(self, network: nn.Module, readout: bool) -> Any:
        first: Any = [*network.layers, network.readout][0] if isinstance(network, Network) else network
        self.shape = first.shape if isinstance(first, SpikingConv2d) else (int(first.in_features),)
        self.nodes["input"] = self.nir.Input(np.array(self.shape))
        if not isinstance(network, Network):
            self.layer("layer", network)
        else:
            skips = network.skips if isinstance(network, SpikingMLP) else [False] * len(network.layers)
            for k, (layer, link) in enumerate(zip(network.layers, network.links, strict=True)):
                self.layer(f"layers.{k}", layer, skips[k])
                self.link(f"links.{k}", link)
            if readout:
                self.layer("readout", network.readout)
        self.nodes["output"] = self.nir.Output(np.array(self.shape))
        self.edges.append((self.last, "output"))
        step = self.dt if self.reader.dt is None else self.reader.dt
        return self.nir.NIRGraph(
            self.nodes, self.edges, metadata={"spiking": {"dt": step, "solver": self.reader.solver}}
        )

    def add(self, name: str, node: Any, shape: tuple[int, ...], *sources: str) -> None:
        """Put a node behind the last one and the other sources."""
        kind = type(node).__name__
        if kind in self.reader.lacks:
            raise ValueError(f"{name}: {self.title} does not read {kind} nodes")
        self.nodes[name] = node
        self.edges += [(source, name) for source in (self.last, *sources)]
        self.last, self.shape = name, shape

    def layer(self, name: str, layer: nn.Module, skip: bool = False) -> None:
        if isinstance(layer, SpikingConv2d):
            self.convolution(name, layer)
        elif isinstance(layer, Delayed):
            self.flatten(name)
            self.delay(name, layer.delay)
            self.dense(name, layer.neurons, layer.delay.weight)
        elif isinstance(layer, Layer):
            self.flatten(name)
            self.dense(name, layer, layer.weight, skip)
        else:
            raise ValueError(f"{name}: {type(layer).__name__}: expected a Layer, Delayed or SpikingConv2d")

    def dense(self, name: str, layer: Layer, weight: Tensor | None, skip: bool = False) -> None:
        before, N = self.last, layer.out_features
        node, gain = self.neurons(name, layer, (N,))
        scale, shift = self.normalised(name, layer.norm, N)
        if layer.bias is not None:
            shift = shift + layer.bias.double().cpu()
        if gain is not None:
            if skip and not np.allclose(gain, 1):
                raise ValueError(f"{name}: skip: {self.title} wants thresholds of 1, which an edge cannot scale to")
            scale, shift = scale * torch.from_numpy(gain), shift * torch.from_numpy(gain)
        if weight is not None or bool((scale != 1).any()) or bool(shift.any()):
            like = layer.recurrent if weight is None else weight
            dtype = torch.float32 if like is None else like.dtype
            matrix = torch.eye(N, dtype=torch.float64) if weight is None else weight.double().cpu()
            self.add(f"{name}.weight", self.affine((matrix * scale).to(dtype), shift.to(dtype)), (N,))
        self.add(f"{name}.neurons", node, (N,), *([before] if skip else []))
        if layer.recurrent is not None:
            if not self.reader.recurrent:
                raise ValueError(f"{name}: recurrent: {self.title} sends the input of a cycle through its weights")
            recurrent = layer.recurrent.double().cpu()
            if gain is not None:
                recurrent = recurrent * torch.from_numpy(gain)
            self.nodes[f"{name}.recurrent"] = self.affine(recurrent.to(layer.recurrent.dtype), torch.zeros(N))
            self.edges += [(self.last, f"{name}.recurrent"), (f"{name}.recurrent", self.last)]

    def convolution(self, name: str, layer: SpikingConv2d) -> None:
        before, shape = self.last, layer.out_shape
        node, gain = self.neurons(name, layer.neurons, shape)
        scale, shift = self.normalised(name, layer.norm, shape[0])
        if layer.neurons.bias is not None:
            shift = shift + self.per_channel(f"{name}: bias", layer.neurons.bias.double().cpu(), shape)
        more = torch.ones(shape[0], dtype=torch.float64)
        if gain is not None:
            more = self.per_channel(f"{name}: threshold or tau_mem", torch.from_numpy(gain), shape)
        self.add(f"{name}.weight", self.conv(layer.conv, layer.shape, scale * more, shift * more), shape)
        sources = []
        if isinstance(layer.shortcut, nn.Conv2d):
            short = f"{name}.shortcut"
            self.nodes[short] = self.conv(layer.shortcut, layer.shape, more, torch.zeros(shape[0]))
            self.edges.append((before, short))
            sources = [short]
        elif layer.shortcut is not None:
            if not bool((more == 1).all()):
                raise ValueError(f"{name}: skip: {self.title} wants thresholds of 1, which an edge cannot scale to")
            sources = [before]
        self.add(f"{name}.neurons", node, shape, *sources)

    def delay(self, name: str, delay: Delay) -> None:
        if delay.training and float(delay.sigma) > 0:
            raise ValueError(f"{name}: sigma: NIR has no spread delays; call eval() first")
        steps = delay.delay.double().cpu() / self.dt
        if steps.ndim == 2:
            if not bool((steps == steps[:, :1]).all()):
                raise ValueError(f"{name}: kind='synaptic': NIR delays a whole channel, not each of its synapses")
            steps = steps[:, 0]
        whole = steps.round()
        if not delay.rounded and not bool((whole - steps).abs().max() < 1e-6):
            raise ValueError(f"{name}: rounded=False: a delay between two steps has no exact counterpart")
        step = self.dt if self.reader.dt is None else self.reader.dt
        self.add(f"{name}.delay", self.nir.Delay(whole.numpy() * step / 1000), self.shape)

    def link(self, name: str, link: nn.Module) -> None:
        if isinstance(link, nn.Sequential):
            for k, part in enumerate(link):
                self.link(f"{name}.{k}", part)
        elif isinstance(link, HeldDropout):
            if link.training and link.p:
                raise ValueError(f"{name}: dropout: NIR has no random silence; call eval() first")
        elif isinstance(link, Pool):
            if link.size > 1:
                side = np.array([link.size, link.size])
                self.add(name, self.nir.AvgPool2d(side, side, np.array([0, 0])), link.out_shape)
        elif not isinstance(link, nn.Identity):
            raise ValueError(f"{name}: {type(link).__name__}: expected dropout, pooling or nothing between layers")

    def flatten(self, name: str) -> None:
        if len(self.shape) > 1:
            size = int(np.prod(self.shape))
            node = self.nir.Flatten({"input": np.array(self.shape)}, start_dim=0, end_dim=-1)
            self.add(f"{name}.flatten", node, (size,))

    def neurons(self, name: str, layer: Layer, shape: tuple[int, ...]) -> tuple[Any, np.ndarray | None]:
        if self.reader.solver is None:  # a tool runs a graph with one
            self.reader = replace(self.reader, solver=layer.rule.decay)
        return write(name, layer, shape, self.dt, self.reader, self.allow)

    def affine(self, matrix: Tensor, shift: Tensor) -> Any:
        rows = np.ascontiguousarray(matrix.t().cpu().numpy())  # NIR's matrices are (out, in)
        return self.nir.Affine(rows, shift.cpu().numpy()) if bool(shift.any()) else self.nir.Linear(rows)

    def conv(self, conv: nn.Conv2d, shape: tuple[int, ...], scale: Tensor, shift: Tensor) -> Any:
        weight = (conv.weight.double().cpu() * scale.view(-1, 1, 1, 1)).to(conv.weight.dtype)
        return self.nir.Conv2d(
            input_shape=tuple(shape[1:]), weight=weight.numpy(), stride=conv.stride, padding=conv.padding,
            dilation=conv.dilation, groups=conv.groups, bias=shift.to(conv.weight.dtype).cpu().numpy(),
        )

    @staticmethod
    def normalised(name: str, norm: Any, channels: int) -> tuple[Tensor, Tensor]:
        """Scale and shift of a batch norm in evaluation, (channels,) in double precision."""
        if norm is None:
            return torch.ones(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
        if norm.training:
            raise ValueError(f"{name}: norm: NIR has no statistics of a batch; call eval() first")
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        return scale.cpu(), (norm.bias.double() - norm.running_mean.double() * scale).cpu()

    @staticmethod
    def per_channel(what: str, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        rows = values.view(shape[0], -1)
        if not bool(torch.allclose(rows, rows[:, :1], rtol=1e-12, atol=0)):
            raise ValueError(f"{what}: a Conv2d has one number a channel; expected equal ones within each")
        return rows[:, 0]
