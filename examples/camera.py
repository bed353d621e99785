"""A simulated event camera watches a video: a ball that bounces through a room.

    python examples/camera.py [--out FOLDER]

Writes camera.png: frames of the video above the events that the camera made of them, blue where it grew brighter and
red where it grew darker, and below how many there were in each millisecond.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from spiking.datasets import camera

SIZE, FRAMES, INTERVAL = 48, 241, 2.0


def bouncing_ball() -> np.ndarray:
    """(1, FRAMES, SIZE, SIZE), a bright ball before a grey wall."""
    time = np.linspace(0, 2.5, FRAMES)[:, None, None]
    y, x = np.mgrid[:SIZE, :SIZE]
    height = SIZE - 8 - 30 * np.abs(np.cos(np.pi * time))
    distance = np.hypot(x - (6 + 14 * time), y - height)
    wall = 0.15 + 0.1 * (x // 12 % 2)
    return (wall + (1 - wall) / (1 + np.exp(3 * (distance - 5))))[None]


def main() -> None:
    """Record, print and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    out = parser.parse_args().out
    video = bouncing_ball()
    film = camera.record(video, interval=INTERVAL, seed=0)
    brighter = float((film.index >= SIZE * SIZE).mean())
    print(f"{len(film.index)} events in {film.duration / 1000:g} ms, {100 * brighter:.0f} % of them brighter")

    figure, axes = plt.subplots(3, 5, figsize=(10, 6), height_ratios=[3, 3, 2])
    for k in range(5):
        begin = (k + 0.5) * film.duration / 5
        seen = (film.time_us >= begin) & (film.time_us < begin + 20_000)
        count = np.bincount(film.index[seen], minlength=2 * SIZE * SIZE).reshape(2, SIZE, SIZE)
        axes[0, k].imshow(video[0, int(begin / 1000 / INTERVAL)], cmap="gray", vmin=0, vmax=1)
        axes[0, k].set_title(f"{begin / 1000:.0f} ms")
        axes[1, k].imshow(count[1] - count[0], cmap="RdBu", vmin=-3, vmax=3)
        for row in (0, 1):
            axes[row, k].axis("off")
        axes[2, k].remove()
    rate = figure.add_subplot(3, 1, 3)
    rate.plot(np.bincount(film.time_us // 1000))
    rate.set(xlabel="time (ms)", ylabel="events per ms")
    figure.tight_layout()
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "camera.png", dpi=80)
    plt.close(figure)
    print(out / "camera.png")


if __name__ == "__main__":
    main()
