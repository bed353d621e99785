"""The Triton kernel of the reservoir under the interpreter, against the specification; every address is checked."""

from __future__ import annotations

import pytest
import torch

from spiking.kernels import reservoir
from spiking.kernels.reservoir import Explosion, Recorder, gpu
from spiking.kernels.reservoir import op as module

from .guard import INTERPRETED
from .reservoir_cases import LIF, both, drawn, same, stored, trains

pytestmark = INTERPRETED


@pytest.mark.parametrize("kind", ["lif", "alpha", "adaptive", "izhikevich", "short-term groups"])
def test_triton_is_the_reference(kind, monkeypatch):
    monkeypatch.setattr(gpu, "TILE", 32)  # three tiles, the last not full
    monkeypatch.setattr(gpu, "SYNAPSES", 8)
    inputs, recurrent = stored()
    inputs = inputs.with_weight(inputs.weight * 2)
    x = trains(8, (8, 0, 5), 0.5, counts=kind == "lif")
    assert both("triton", x, (inputs, recurrent), kind).sum() > 10


@pytest.mark.parametrize("kind", ["lif", "short-term groups"])
def test_drawn_connections(kind):
    assert both("triton", trains(5, (5, 3), 0.5), drawn(autapses=False), kind).sum() > 10


def test_nothing_to_do():
    both("triton", trains(0, (0,)), stored(), "lif")
    both("triton", trains(4, ()), stored(), "lif")


def test_goes_on_with_the_same_bits_and_full_buffers(monkeypatch):
    x, network = trains(6, (6, 4), 0.5), stored(dtype=torch.float32)
    whole = reservoir(x, *network, LIF, backend="triton")
    monkeypatch.setattr(module, "ROOM", 1)
    same(reservoir(x, *network, LIF, backend="triton"), whole, exact=True)
    state = reservoir(x[:2], *network, LIF, backend="triton")[1]
    state = reservoir(x[2:], *network, LIF, state=state, backend="triton", record=Recorder(spikes=False))[1]
    assert all(torch.equal(a, b) for a, b in zip(state, whole[1], strict=True))


def test_explosion():
    x, network = trains(9, (9, 9), 0.9), stored()
    runs = []
    for backend in ("reference", "triton"):
        with pytest.raises(Explosion) as caught:
            reservoir(x, *network, LIF, budget=20, backend=backend, record=Recorder(bins=2, traces=2))
        runs.append(caught.value)
    assert str(runs[0]) == str(runs[1]) and runs[0].record.total.min() > 20
    for a, b in zip(runs[0].state, runs[1].state, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
