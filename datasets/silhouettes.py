"""Weizmann's silhouettes (Gorelick et al. 2007): ten actions by nine people, as sequences of edges.

The file original_masks.mat holds for each <person>_<action> an array (144, 180, frames) of 0 and 1. A person who did an
action twice has a 1 or 2 behind the action's name. Each silhouette is moved to the middle of the picture and scaled by
the greatest height that it has in its sequence, so that a jump keeps its shape; its edge is what an erosion takes away.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from scipy.ndimage import binary_erosion
from torch.nn.functional import grid_sample

from spiking.datasets.errors import DataError

Array = np.ndarray[Any, Any]

FILE = "original_masks.mat"
ACTIONS = ("bend", "jack", "jump", "pjump", "run", "side", "skip", "walk", "wave1", "wave2")


class Silhouettes(NamedTuple):
    """Sequences of one person and action each.

    Attributes:
        frames: of each, (T, height, width) bool edges.
        action: (n,) places in ACTIONS.
        person: (n,) names.
    """

    frames: list[Array]
    action: Array
    person: Array


def read(root: str | os.PathLike[str], height: int = 32, width: int = 24, edge: bool = True) -> Silhouettes:
    """The sequences of a file.

    Arguments:
        root: the folder of original_masks.mat, or of weizmann/original_masks.mat.
        height, width: of the pictures.
        edge: edges, not whole silhouettes.

    Raises:
        DataError: naming the file, if it is missing or is another one.
    """
    path = next((p for p in (Path(root) / FILE, Path(root) / "weizmann" / FILE) if p.is_file()), None)
    if path is None:
        raise DataError(f"{root}: no {FILE} here; it is the silhouettes of the Weizmann actions as space-time shapes")
    try:
        masks = loadmat(path, struct_as_record=False, squeeze_me=True)["original_masks"]
        names = list(masks._fieldnames)
    except (MatReadError, OSError, ValueError, KeyError, AttributeError, TypeError, NotImplementedError) as error:
        raise DataError(f"{path}: not the file of silhouettes, which has a struct original_masks ({error})") from error
    frames, action, person = [], [], []
    for name in names:
        who, _, what = name.partition("_")
        plain = what if what in ACTIONS else what.rstrip("12")
        clip = np.asarray(getattr(masks, name))
        if plain not in ACTIONS or clip.ndim != 3:
            raise DataError(f"{path}: {name} {clip.shape} is no <person>_<action> (height, width, frames)")
        shown = centred(clip.transpose(2, 0, 1) > 0, height, width)
        if len(shown):
            frames.append(shown & ~binary_erosion(shown, np.ones((1, 3, 3), bool)) if edge else shown)
            action.append(ACTIONS.index(plain))
            person.append(who)
    return Silhouettes(frames, np.array(action), np.array(person))


def centred(masks: Array, height: int, width: int) -> Array:
    """Silhouettes in the middle of pictures of another size, all of a sequence on one scale; empty ones are left out.

    Arguments:
        masks: (T, h, w) bool.
    """
    masks = masks[np.flatnonzero(masks.any((1, 2)))]
    if not len(masks):
        return np.zeros((0, height, width), bool)
    rows, columns = np.asarray(masks.any(2)), np.asarray(masks.any(1))
    top, bottom = rows.argmax(1), rows.shape[1] - rows[:, ::-1].argmax(1)
    left, right = columns.argmax(1), columns.shape[1] - columns[:, ::-1].argmax(1)
    pixel = (bottom - top).max() / (height - 2)  # source pixels of one pixel of the picture
    y = (top + bottom)[:, None] / 2 + (np.arange(height) - (height - 1) / 2)[None] * pixel - 0.5
    x = (left + right)[:, None] / 2 + (np.arange(width) - (width - 1) / 2)[None] * pixel - 0.5
    h, w = masks.shape[1:]
    place = np.stack(np.broadcast_arrays((2 * x / (w - 1) - 1)[:, None, :], (2 * y / (h - 1) - 1)[:, :, None]), -1)
    grey = grid_sample(
        torch.from_numpy(masks[:, None].astype(np.float32)), torch.from_numpy(place.astype(np.float32)),
        align_corners=True,
    )  # fmt: skip
    return grey[:, 0].numpy() >= 0.5
