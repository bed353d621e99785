"""Learn each thing once: sequences in one mac, recalled from noisy cues, and digits that are known by familiarity.

    python examples/sparsey.py [--out FOLDER]

Stores five random sequences in the net of Rinkus' capacity study, each in one pass, replays one from its first two
frames, and recognises all of them with noise on every frame. Then learns half of scikit-learn's digits, thinned, once
each, and says under which label each of the others is most familiar. Writes sparsey_codes.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from spiking import plots
from spiking.datasets.thin import thin
from spiking.plasticity.sparsey import LevelPlan, Sparsey, tiles, widen
from spiking.plasticity.sparsey.study import moved, sequences

SHAPE = (16, 16)


def main() -> tuple[float, float]:
    """Recall of noisy sequences, and the accuracy on digits."""
    words = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    words.add_argument("--out", type=Path, default=Path("runs"))
    given = words.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    memory, items = Sparsey.from_preset("capacity", seed=0), sequences(5, seed=0)
    codes = memory.learn(items).winners[0]
    replayed = memory.recall(items[0, :2], 8)
    print(f"replayed {int((replayed & items[0, 2:]).sum())} of {int(items[0, 2:].sum())} features from two frames")
    noisy = moved(items, 3)
    found = memory.recognise(noisy)
    recall = float((found.winners[0] == codes).double().mean())
    familiarity = float(memory.familiarity(noisy).mean())
    print(f"with 3 features of every frame moved: {100 * recall:.1f} % of winners right, familiarity {familiarity:.2f}")
    shown = {"as learned": codes[0, :, 0], "3 features moved": found.winners[0][0, :, 0]}
    plots.codes(shown, codes[0, :, 0], 16).savefig(given.out / "sparsey_codes.png")

    images, labels = load_digits(return_X_y=True)
    large = np.kron(images.reshape(-1, 8, 8), np.ones((2, 2))) >= 8
    x = widen(torch.from_numpy(thin(large)).flatten(1), SHAPE)[:, None]
    plan = LevelPlan(
        tiles(SHAPE, (8, 8), (4, 4)), modules=2, units=1024, labels=10, off=True, band=(2, 64),
        exponents={"U": 8.0, "O": 8.0}, fan_in=0,
    )  # fmt: skip
    digits = Sparsey(256, [plan], seed=0)
    half = len(x) // 2
    digits.learn(x[:half], labels[:half])
    accuracy = float((digits.classify(x[half:]).numpy() == labels[half:]).mean())
    print(f"{100 * accuracy:.1f} % of {len(x) - half} digits after one look at each of {half} others")
    return recall, accuracy


if __name__ == "__main__":
    main()
