"""Networks and their measures on a real GPU: what a CPU's tests can't see is a tensor on the wrong device."""

from __future__ import annotations

import pytest
import torch

from spiking import readout
from spiking.init import poisson
from spiking.networks import SpikingConvNet, SpikingMLP
from spiking.networks.network import Network

pytestmark = pytest.mark.gpu

NETWORKS = {
    "mlp": lambda: SpikingMLP([200, 64, 10], neuron="alif", recurrent=True, norm="batch", dropout=0.2, device="cuda"),
    "conv": lambda: SpikingConvNet((10, 10, 2), [8, 16], 10, hidden=[32], device="cuda"),
}


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS.keys())
def test_network_runs_learns_and_counts(make):
    net: Network = make().init_(rate=20.0, dt=5.0)
    x = poisson(20.0, 5.0, 30, 6, 200)
    events = x.to("cuda")
    (out, spikes), _ = net(events, trace=True)
    loss = torch.nn.functional.cross_entropy(readout.mean(out, events.lengths), torch.arange(6, device="cuda"))
    loss.backward()
    assert torch.isfinite(loss) and all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    net.eval()
    done = net.synops(events)
    there = net.cpu().synops(x)
    assert done.keys() == there.keys() and len(spikes) == len(net.layers)
    torch.testing.assert_close(done["layers.0"].cpu(), there["layers.0"])
