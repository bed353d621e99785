"""Ten actions of nine people (datasets/silhouettes.py), the actions of each by a memory that has seen the others.

Every third frame is an item; a sequence's label is that under which all its frames together are most familiar.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking.datasets.silhouettes import Silhouettes
from spiking.plasticity.sparsey.fields import widen
from spiking.plasticity.sparsey.network import Sparsey
from spiking.plasticity.sparsey.presets import FIGURE

Array = np.ndarray[Any, Any]
LEAST = 10  # edge pixels of a frame that shows somebody


def actions(
    found: Silhouettes, every: int = 3, seed: int = 0, report: Callable[[str], None] = print, **changes: Any
) -> tuple[Array, dict[str, float]]:
    """Leave one person out, learn all others, name the actions of that one.

    Arguments:
        found: sequences in the size of the preset.
        every: how many frames to go on by.
        seed: of the memory and of the order in which frames are learned.
        report: takes lines of progress.
        changes: of the preset "weizmann".

    Returns:
        (n,) the action that each sequence was taken for, and metrics.
    """
    cells = [_cells(clip, every) for clip in found.frames]
    guess = np.full(len(cells), -1)
    for person in np.unique(found.person):
        here = found.person == person
        x = torch.cat([cells[k] for k in np.flatnonzero(~here)])
        labels = np.concatenate([np.full(len(cells[k]), found.action[k]) for k in np.flatnonzero(~here)])
        order = np.random.default_rng(seed).permutation(len(x))
        memory = Sparsey.from_preset("weizmann", seed, **changes)
        memory.learn(x[order][:, None], labels[order])
        for k in np.flatnonzero(here):
            guess[k] = int(memory.scores(cells[k][:, None]).sum(0).argmax())
        right = int((guess[here] == found.action[here]).sum())
        report(f"{person}: {right} of {int(here.sum())} actions, {len(x)} frames of others learned")
    people = [float((guess == found.action)[found.person == person].mean()) for person in np.unique(found.person)]
    accuracy = float((guess == found.action).mean())
    return guess, {
        "leave_one_person_out_accuracy": accuracy, "worst_person_accuracy": min(people), "sequences": float(len(cells)),
        "people": float(len(people)),
    }  # fmt: skip


def _cells(clip: Array, every: int) -> Tensor:
    x = torch.from_numpy(clip[::every].reshape(len(clip[::every]), -1))
    return widen(x[x.sum(1) >= LEAST], FIGURE)
