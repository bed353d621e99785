"""Train a spiking network on event recordings in a plain PyTorch loop.

    python examples/train_digits.py
"""

import torch
from torch.nn.functional import cross_entropy

from spiking import readout
from spiking.datasets import Augment, load
from spiking.networks import SpikingMLP


def main(epochs: int = 10) -> float:
    """Train on the embedded digits; returns the accuracy on those of other writers."""
    train, test = load("digits", split="train"), load("digits", split="test")
    net = SpikingMLP([train.channels, 256, 10], dropout=0.2)
    net.init_(rate=train.rate, dt=10.0)  # events per second and channel
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    loader = train.loader(64, dt=10.0, shuffle=True, augment=Augment(shift=2, rotate=10.0))
    for epoch in range(epochs):
        for events, labels in loader:
            out, _ = net(events)  # readout membrane (T, B, 10)
            loss = cross_entropy(readout.mean(out, events.lengths), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.2f}")

    net.eval()
    events, labels = test.batch(range(len(test)), dt=10.0)
    with torch.no_grad():
        right = readout.mean(net(events)[0], events.lengths).argmax(1) == labels
    return float(right.float().mean())


if __name__ == "__main__":
    print(f"test accuracy {100 * main():.1f} %")
