"""MNIST, binarised and thinned to lines in 24 x 16, each image learned once, in a mac for each of some windows.

The classifier asks under which label an image is most familiar. Its controls see the same input: the nearest training
image by differing pixels, of the lines and of what the memory's cells see of them (`widen`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking.datasets.thin import strokes
from spiking.plasticity.sparsey.fields import widen
from spiking.plasticity.sparsey.network import Sparsey
from spiking.plasticity.sparsey.presets import SHAPE

Array = np.ndarray[Any, Any]
BLOCK = 1000


def lines(images: Array) -> Tensor:
    """(n, 384) bool, thinned digits of images (n, 28, 28)."""
    return torch.from_numpy(strokes(images, *SHAPE)).flatten(1)


def balanced(labels: Array, per_class: int, seed: int) -> Array:
    """Places of the first so many images of each class, in an order that a seed draws."""
    first = np.concatenate([np.flatnonzero(labels == c)[:per_class] for c in np.unique(labels)])
    return np.random.default_rng(seed).permutation(first)


def nearest(train: Tensor, labels: Array, test: Tensor) -> Array:
    """(n,) labels of the training images with the fewest differing pixels."""
    A = train.float()
    found = []
    for rows in test.float().split(BLOCK):
        found.append((A.sum(1) - 2 * rows @ A.t()).argmin(1))
    return np.asarray(labels[torch.cat(found).numpy()])


def digits(
    train: tuple[Tensor, Array], test: tuple[Tensor, Array], seed: int = 0, report: Callable[[str], None] = print,
    control: bool = True, **changes: Any,
) -> tuple[Sparsey, dict[str, float], list[float], Array]:
    """Learn lines once each and classify others.

    Arguments:
        train, test: `lines` and labels.
        seed: of the memory.
        report: takes lines of progress.
        control: whether to look for nearest neighbours too.
        changes: of the preset "mnist".

    Returns:
        the memory, metrics, processor seconds of each block of 1000 training images (a busy machine stretches others),
        and the labels it gives to the test images.
    """
    cells = widen(train[0], SHAPE)
    Sparsey.from_preset("mnist", **changes).learn(cells[:1])  # compiles what is timed
    memory = Sparsey.from_preset("mnist", seed, **changes)
    blocks, wall = [], time.perf_counter()
    for begin in range(0, len(cells), BLOCK):
        part = slice(begin, begin + BLOCK)
        start = time.process_time()
        memory.learn(cells[part, None], train[1][part].astype(np.int64))
        blocks.append(time.process_time() - start)
        if len(blocks) % 10 == 0 or begin + BLOCK >= len(cells):
            so_far = min(begin + BLOCK, len(cells))
            report(f"learned {so_far} of {len(cells)} images in {sum(blocks):.1f} processor seconds")
    wall, start = time.perf_counter() - wall, time.process_time()
    looks = widen(test[0], SHAPE)
    guess = torch.cat([memory.classify(rows[:, None]) for rows in looks.split(BLOCK)]).numpy()
    spent = time.process_time() - start
    metrics = {
        "accuracy": float((guess == test[1]).mean()), "learn_seconds": wall, "learn_cpu_seconds": sum(blocks),
        "test_cpu_seconds": spent,
        "train_images": float(len(cells)), "test_images": float(len(looks)), "synapses": float(memory.synapses),
    }  # fmt: skip
    report(f"{100 * metrics['accuracy']:.2f} % of {len(looks)} in {spent:.1f} processor seconds")
    if control:
        for name, a, b in (("lines", train[0], test[0]), ("cells", cells, looks)):
            metrics[f"nearest_{name}_accuracy"] = float((nearest(a, train[1], b) == test[1]).mean())
            report(f"nearest neighbour, {name}: {100 * metrics[f'nearest_{name}_accuracy']:.2f} %")
    return memory, metrics, blocks, guess
