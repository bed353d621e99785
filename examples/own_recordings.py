"""Your own recordings, from files to a trained network.

    python examples/own_recordings.py [--folder FOLDER]

Without a folder it makes one to look at: bars that move left, right, up and down before a simulated event camera, one
.npz of t, x, y, p a recording and one sub-folder a class, as a real camera's recordings would lie. Which pixels were
active says little about the direction: a linear classifier on event counts stays behind the network.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from spiking import readout
from spiking.datasets import EventStore, camera, load
from spiking.networks import SpikingMLP

SIZE, FRAMES, RECORDINGS = 12, 41, 60
DT, EPOCHS = 5.0, 15


def record_bars(folder: Path) -> None:
    """Write RECORDINGS recordings of each direction below a folder."""
    rng = np.random.default_rng(0)
    position = np.arange(SIZE)
    for number, direction in enumerate(("left", "right", "up", "down")):
        # a bar that enters on one side and leaves on the other within 200 ms, as wide and as fast as chance has it
        place = np.linspace(-3, SIZE + 2, FRAMES)[None, :, None] * rng.uniform(0.9, 1.1, (RECORDINGS, 1, 1))
        bar = np.exp(-((position - place) ** 2) / rng.uniform(1, 3, (RECORDINGS, 1, 1)))
        videos = np.repeat(bar[:, :, None, :], SIZE, axis=2)
        videos = videos[:, ::-1] if direction in ("left", "up") else videos
        videos = videos.swapaxes(2, 3) if direction in ("up", "down") else videos
        film = camera.record(videos, interval=5.0, seed=number)
        (folder / direction).mkdir(parents=True)
        for i in range(RECORDINGS):
            events = slice(film.indptr[i], film.indptr[i + 1])
            index = film.index[events]
            x, y, p = index % SIZE, index // SIZE % SIZE, index // SIZE**2
            np.savez(folder / direction / f"{i:03d}.npz", t=film.time_us[events], x=x, y=y, p=p)


def train(store: EventStore) -> SpikingMLP:
    """A small network, trained by a plain PyTorch loop."""
    torch.manual_seed(0)
    network = SpikingMLP([store.channels, 64, len(store.classes)], tau_mem=20.0)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    loader = store.loader(32, dt=DT, shuffle=True)
    for epoch in range(EPOCHS):
        total = 0.0
        for events, labels in loader:
            out, _ = network(events)
            loss = torch.nn.functional.cross_entropy(readout.max(out, events.lengths), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch + 1:2d}  loss {total / len(loader):.3f}")
    return network


def main() -> None:
    """Make or take a folder of recordings, train, and print accuracies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, help="PATH of PATH/<class>/*.npz|h5|csv")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        if folder is None:
            folder = Path(temporary) / "bars"
            record_bars(folder)
        name, cache = f"folder:{folder}", Path(temporary) / "cache"
        training, test = load(name, "train", cache=cache), load(name, "test", cache=cache)
        print(training)
        network = train(training)
        with torch.no_grad():
            events, labels = test.batch(range(len(test)), dt=DT)
            out, _ = network(events)
        right = (readout.max(out, events.lengths).argmax(1) == labels).float().mean()
        linear = LogisticRegression(C=0.1, max_iter=1000).fit(training.counts(), training.labels)
        print(f"test accuracy {right:.3f}, logistic regression on counts {linear.score(test.counts(), labels):.3f}")


if __name__ == "__main__":
    main()
