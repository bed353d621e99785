"""How much simulated N-MNIST recordings are like the real ones: statistics, their ratios, and a picture.

    python examples/fidelity.py --real N-MNIST --images MNIST [--from 500] [--to 1000] [--out FOLDER]

Takes N-MNIST in the official layout (a folder or an archive) and MNIST's idx files, shows MNIST's training images of
those numbers to the simulated camera, which was fitted on 0 to 499, and compares with the real recordings of the same
images. Writes fidelity.md and fidelity.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from spiking import plots
from spiking.datasets import load
from spiking.datasets.fidelity import compare
from spiking.datasets.nmnist_camera import NMNIST
from spiking.datasets.sources import saccades


def main() -> None:
    """Record, compare, print and draw."""
    words = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    words.add_argument("--real", required=True)
    words.add_argument("--images", required=True, type=Path)
    words.add_argument("--from", dest="first", type=int, default=500)
    words.add_argument("--to", type=int, default=1000)
    words.add_argument("--out", type=Path, default=Path("runs"))
    given = words.parse_args()

    real = load("nmnist", "all", root=given.real)
    number = np.array([int(Path(name).stem) - 1 for name in real.metadata["name"]])  # 00001.bin shows image 0
    inside = np.flatnonzero((number >= given.first) & (number < given.to))
    real, number = real.select(inside[np.argsort(number[inside])]), np.sort(number[inside])

    pictures, labels = saccades.read(saccades.MNIST, given.images, "train")
    if not (labels[number] == real.labels.numpy()).all():
        raise SystemExit("these recordings don't show MNIST's training images of their numbers")
    simulated = NMNIST.record(pictures[number], progress=True).store(labels[number], real.classes)

    result = compare(real, simulated)
    print(f"{len(real)} recordings, images {number[0]} to {number[-1]}\n\n{result.table()}\n\nworst {result.worst:.3f}")
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "fidelity.md").write_text(result.table() + "\n")
    plots.fidelity(real, simulated).savefig(given.out / "fidelity.png")
    print(given.out / "fidelity.png")


if __name__ == "__main__":
    main()
