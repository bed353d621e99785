"""Sequential images: a picture's pixels one after the other, its class at the end (Le, Jaitly & Hinton 2015).

    x_t = grey_t / 255, row after row, or in one order that a seed has shuffled for all pictures
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking.datasets.tasks.task import Task
from spiking.events import Events


class Pixels(Task):
    """Pictures as sequences.

    Arguments:
        images: (n, H, W) bytes, as `spiking.datasets.images` gives them.
        labels: (n,) whole numbers.
        permute: seed of the order of the pixels; `None` keeps rows.

    Raises:
        ValueError: if images and labels don't fit together.
    """

    channels = 1

    def __init__(self, images: Any, labels: Any, permute: int | None = None) -> None:
        images, labels = np.asarray(images), np.asarray(labels)
        if images.ndim != 3 or images.dtype != np.uint8 or labels.shape != (len(images),) or not len(images):
            raise ValueError(
                f"images: expected (n, H, W) bytes and as many labels, got {images.dtype} {images.shape} "
                f"and {labels.shape}"
            )
        flat = images.reshape(len(images), -1)
        self.steps = flat.shape[1]
        if permute is not None:
            flat = flat[:, np.random.default_rng(permute).permutation(self.steps)]
        self.flat, self.labels = flat, torch.from_numpy(labels.astype(np.int64))
        self.classes = tuple(str(k) for k in range(max(10, int(labels.max()) + 1)))

    def __len__(self) -> int:
        return len(self.flat)

    def batch(self, indices: Any) -> tuple[Events, Tensor]:
        """Some pictures; see `Task.batch`.

        Returns:
            Events (H*W, B, 1), whose values are grey, and the labels (B,).
        """
        at = self.numbers(indices)
        grey = torch.from_numpy(self.flat[at].T.astype(np.float32) / 255)
        return Events.from_dense(grey[:, :, None], self.dt), self.labels[torch.from_numpy(at)]
