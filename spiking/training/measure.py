"""Measuring a trained classifier: accuracy, spikes and synaptic operations, firing rates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from spiking.datasets import Loader
from spiking.training.module import Classifier


@dataclass
class Measurement:
    """What `measure` found.

    Attributes:
        labels, predictions: (n,) int64.
        loss: mean cross entropy.
        spikes: per recording, of all hidden neurons.
        synops: per recording, synaptic operations; `None` where the network doesn't count them.
        rates: of each hidden layer, (N,) mean rate of each neuron in Hz.
    """

    labels: Tensor
    predictions: Tensor
    loss: float
    spikes: float
    synops: float | None
    rates: list[Tensor]

    @property
    def accuracy(self) -> float:
        """Share of recordings named rightly."""
        return float((self.labels == self.predictions).float().mean())


@torch.no_grad()
def measure(model: Classifier, loader: Loader, device: torch.device | str = "cpu") -> Measurement:
    """Run a classifier over all recordings of a loader.

    Arguments:
        model: with its network built.
        loader: recordings in a fixed order.
        device: where to compute.
    """
    model = model.to(device).eval()
    labels, predictions = [], []
    rates: list[Tensor] = []
    loss = spikes = synops = seconds = 0.0
    counts = hasattr(model.network, "synops")
    for events, target in loader:
        events, target = events.to(device), target.to(device)
        logits, fired = model(events)
        labels.append(target.cpu())
        predictions.append(logits.argmax(1).cpu())
        loss += float(cross_entropy(logits, target, reduction="sum"))
        sums = [layer.flatten(2).sum((0, 1)).double().cpu() for layer in fired]
        rates = [old + new for old, new in zip(rates, sums, strict=True)] if rates else sums
        spikes += sum(float(s.sum()) for s in sums)
        seconds += float(events.lengths.sum()) * events.dt / 1000
        if counts:
            done = model.network.synops(events, fired)  # type: ignore[union-attr, operator]
            synops += sum(float(layer.sum()) for layer in done.values())
    n = len(loader.store)
    return Measurement(
        torch.cat(labels), torch.cat(predictions), loss / n, spikes / n, synops / n if counts else None,
        [(r / seconds).float() for r in rates],
    )  # fmt: skip
