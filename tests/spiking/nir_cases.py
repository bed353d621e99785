"""Networks, graphs and spike trains that the tests of NIR share."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spiking import Events
from spiking.networks import SpikingMLP

nir: Any = pytest.importorskip("nir", reason="spiking.nir needs the extra nir")


def trains(channels: int = 30, steps: int = 100, samples: int = 4, density: float = 0.1) -> Tensor:
    g = torch.Generator().manual_seed(7)
    return (torch.rand(steps, samples, channels, generator=g) < density).float()


def mlp(**options: Any) -> SpikingMLP:
    g = torch.Generator().manual_seed(1)
    torch.manual_seed(2)  # delays and values drawn by the layers
    net = SpikingMLP([30, 20, 20, 5], reset="zero", dt=1.0, **options)
    net.init_(100.0, generator=g)
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(std=0.2, generator=g)
    for _ in range(3):  # statistics for a batch norm
        net(trains().to(next(net.parameters()).dtype))
    return net.eval()


def chain(*nodes: Any, size: int = 4) -> Any:
    """Input -> nodes -> Output, in a row."""
    names = ["input", *(f"n{k}" for k in range(len(nodes))), "output"]
    ends = (nir.Input(np.array([size])), *nodes, nir.Output(np.array([size])))
    edges = list(pairwise(names))
    return nir.NIRGraph(dict(zip(names, ends, strict=True)), edges, type_check=False)


def numbers(kind: str, **changed: float) -> Any:
    """A node of four neurons."""
    given = {"tau": 0.01, "tau_mem": 0.01, "tau_syn": 0.005, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0,
             "v_reset": 0.0, "w_in": 1.0, **changed}
    fields = {field.name for field in dataclasses.fields(getattr(nir, kind)) if field.init}
    return getattr(nir, kind)(**{k: np.full(4, v) for k, v in given.items() if k in fields})


def same(net: Any, back: Any, x: Tensor | Events, tolerance: float = 0.0) -> None:
    """Equal spikes in all hidden layers, some of them, and an equal readout."""
    with torch.no_grad():
        (out, spikes), _ = net(x, trace=True)
        (found, returned), _ = back(x, trace=True)
    for a, b in zip(spikes, returned, strict=True):
        assert a.sum() > 20 and torch.equal(a, b)
    torch.testing.assert_close(found, out, rtol=tolerance, atol=tolerance)
