"""Small models and batches for the methods against forgetting."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spiking.networks import SpikingMLP
from spiking.plasticity import Method, logits

NAMES = ("layers.0", "layers.1", "readout")


def network(seed: int = 0) -> SpikingMLP:
    torch.manual_seed(seed)
    net = SpikingMLP([20, 24, 24, 4], dt=1.0)
    net.init_(rate=200.0)
    return net


def batch(seed: int, samples: int = 12) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return (torch.rand(5, samples, 20, generator=g) < 0.3).float(), torch.randint(0, 4, (samples,), generator=g)


def train(model: nn.Module, method: Method, task: int, steps: int = 12, lr: float = 0.1, seed: int = 0) -> None:
    """A task of the loop in method.py."""
    forward = logits(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for step in range(steps):
        inputs, labels = method.observe(*batch(1000 * (task + 1) + step + 100 * seed), task)
        optimizer.zero_grad()
        (cross_entropy(forward(inputs), labels) + method.penalty()).backward()
        method.project()
        optimizer.step()
        method.learn()
