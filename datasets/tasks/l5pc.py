"""Windows of simulations of a layer-5 pyramidal cell: from its input spikes, its own spikes and its soma's voltage.

    x_t      +1 for a spike at an excitatory synapse, -1 at an inhibitory one
    y_t      (1 if the neuron fires in this ms,  (min(v_t, -55 mV) + 67.7 mV) / 10 mV)

as Beniaguev, Segev & London 2021 and Spieler et al. 2024 prepare NeuronIO. A network starts each window from nothing,
so its first steps, `burn`, count for nothing in loss and figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking.datasets.errors import DataError
from spiking.datasets.formats import neuronio
from spiking.datasets.formats import simulation as npz
from spiking.datasets.formats.simulation import Simulation
from spiking.datasets.tasks.task import Task
from spiking.events import Events

CLIP, CENTRE, SCALE = -55.0, -67.7, 10.0  # mV
ADVICE = (
    "put train_*.npz, valid_*.npz and test_*.npz there, or folders train, valid and test with these or with NeuronIO's "
    "pickles (*.p)"
)


def read_simulations(root: Path | str, split: str) -> list[Simulation]:
    """The simulations of a split.

    Arguments:
        root: folder with `<split>_*.npz`, or with a folder of that name that holds .npz or NeuronIO's .p files.
        split: "train", "valid" or "test".

    Raises:
        DataError: if there are none, or one can't be read.
    """
    root = Path(root).expanduser()
    found = sorted([*root.glob(f"{split}_*.npz"), *root.glob(f"{split}/*.npz"), *root.glob(f"{split}/*.p")])
    if not found:
        raise DataError(f"{root}: no simulations to {split}; {ADVICE}")
    read: list[Simulation] = []
    for path in found:
        read += [npz.read(path)] if path.suffix == ".npz" else neuronio.read(path)
    return read


class Windows(Task):
    """Windows of simulations.

    Arguments:
        simulations: of one neuron.
        steps: ms of a window.
        first: where the first window of each simulation begins, ms.
        stride: ms from the beginning of one window to the next.

    Raises:
        DataError: if a simulation is shorter than the first window, or they differ in their synapses.
    """

    classes = ("spike", "soma")

    def __init__(self, simulations: Sequence[Simulation], steps: int = 500, first: int = 500, stride: int = 1) -> None:
        for name, number, least in (("steps", steps, 1), ("first", first, 0), ("stride", stride, 1)):
            if number < least:
                raise ValueError(f"{name}: expected at least {least} ms, got {number}")
        if not simulations:
            raise DataError("simulations: expected at least one, got none")
        self.simulations, self.steps, self.channels = list(simulations), steps, simulations[0].channels
        places = []
        for k, one in enumerate(simulations):
            if one.channels != self.channels:
                raise DataError(f"{one.name}: {one.channels} synapses, {simulations[0].name} has {self.channels}")
            starts = np.arange(first, len(one.soma) - steps + 1, stride)
            if not len(starts):
                raise DataError(f"{one.name}: {len(one.soma)} ms are too short for {steps} ms that begin at {first}")
            places.append(np.stack([np.full(len(starts), k), starts], 1))
        self.places = np.concatenate(places)
        self._targets = [_target(one) for one in simulations]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def spike_rate(self) -> float:
        """Share of the simulations' steps in which the neuron fires."""
        return float(sum(len(one.spikes) for one in self.simulations) / sum(len(one.soma) for one in self.simulations))

    def batch(self, indices: Any) -> tuple[Events, Tensor]:
        """Some windows; see `Task.batch`.

        Returns:
            Events (T, B, synapses) of values 1 and -1, and (T, B, 2): spikes, and voltage as above.
        """
        places = self.places[self.numbers(indices)]
        T, B = self.steps, len(places)
        target = np.empty((T, B, 2), np.float32)
        rows, channels = [], []
        for b, (k, start) in enumerate(places):
            one = self.simulations[k]
            at = slice(*np.searchsorted(one.time, (start, start + T)))
            rows.append((one.time[at] - start).astype(np.int64) * B + b)
            channels.append(one.channel[at])
            target[:, b] = self._targets[k][start : start + T]
        row, channel = np.concatenate(rows), np.concatenate(channels)
        order = np.argsort(row, kind="stable")
        indptr = np.zeros(T * B + 1, np.int64)
        np.cumsum(np.bincount(row, minlength=T * B), out=indptr[1:])
        channel = channel[order]
        value = np.where(channel < self.channels // 2, np.float32(1), np.float32(-1))
        rows_of, index, signs = (torch.from_numpy(a) for a in (indptr, channel, value))
        events = Events(rows_of, index, (T, B, self.channels), self.dt, signs, check=False)
        return events, torch.from_numpy(target)


def voltage(output: Any) -> Any:
    """mV that the second output stands for."""
    return output * SCALE + CENTRE


def _target(one: Simulation) -> np.ndarray[Any, Any]:
    """(T, 2) what is to be said in each step."""
    target = np.zeros((len(one.soma), 2), np.float32)
    target[one.spikes, 0] = 1
    target[:, 1] = (np.minimum(one.soma, CLIP) - CENTRE) / SCALE
    return target
