"""Recordings like those of the Heidelberg digits in their published layout, and tonic's way from there to batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from spiking.datasets.formats import shd

EVENTS = 8000  # of a recording of about 1 s, in the mean


def write_file(path: Path, recordings: int, seed: int = 0) -> None:
    """Recordings like SHD's: some 8,000 events in 1 s, dense in a few bands of channels that move.

    Beside the file lies an empty archive, whose presence tonic takes for a finished download.
    """
    rng = np.random.default_rng(seed)
    times, units = [], []
    for _ in range(recordings):
        n = int(rng.normal(EVENTS, EVENTS / 10))
        t = np.sort(rng.beta(2, 2.5, n) * 0.999).astype(np.float16)
        band = rng.integers(0, 4, n)
        centre = rng.uniform(80, 620, 4)[band] + rng.normal(0, 60, 4)[band] * t
        times.append(t)
        units.append(np.clip(rng.normal(centre, 40), 0, shd.CHANNELS - 1).astype(np.uint16))
    labels = rng.integers(0, 20, recordings)
    shd.write(path, times, units, labels, rng.integers(0, 12, recordings), [f"word {k}" for k in range(20)])
    path.with_name(path.name + ".zip").touch()


def tonic_loader(folder: Path, batch: int, steps: int, dt: float, *, workers: int, shuffle: bool = False) -> Any:
    """tonic's way to batches (B, T, 1, 700) int16 and labels, from FOLDER/SHD/shd_train.h5.

    `ToFrame` is given start_time=0, end_time and include_incomplete=True: left to itself it begins its first bin at the
    first event and drops the last one. It also returns one float frame for an empty recording; there is none here.

    Arguments:
        folder: where the folder SHD lies.
        batch: recordings of a batch.
        steps, dt: steps of a batch, and their length in ms.
        workers: processes.
        shuffle: a new order each epoch.
    """
    import tonic

    frames = tonic.transforms.ToFrame(
        sensor_size=tonic.datasets.SHD.sensor_size,
        time_window=dt * 1000,
        start_time=0,
        end_time=steps * dt * 1000,
        include_incomplete=True,
    )
    dataset = tonic.datasets.SHD(str(folder), train=True, transform=frames)
    collate = tonic.collation.PadTensors(batch_first=True)
    return torch.utils.data.DataLoader(
        dataset, batch, collate_fn=collate, num_workers=workers, persistent_workers=workers > 0, shuffle=shuffle
    )
