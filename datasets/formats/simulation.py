"""Simulations of a neuron: which synapses were reached when, the voltage at its soma, its own spikes, in steps of 1 ms.

`read` takes our .npz:

    t, channel  (events,) input spikes: ms and synapse, excitatory synapses first, then as many inhibitory ones
    soma        (T,) mV at 1 kHz
    spikes      (n,) the neuron's own spikes, ms

NeuronIO's files (`spiking.datasets.formats.neuronio`) hold the same for 128 simulations each.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spiking.datasets.errors import DataError

Array = np.ndarray[Any, Any]

NEEDED = ("t", "channel", "soma", "spikes")
SYNAPSES = 1278  # of the layer-5 pyramidal cell of Hay et al. 2011 with 639 segments


class Simulation(NamedTuple):
    """One simulation.

    Attributes:
        name: for messages.
        time, channel: (events,) step and synapse of each input spike, in the order of time; no pair twice.
        soma: (T,) float32, mV.
        spikes: (n,) int64, steps in which the neuron fires.
        channels: synapses.
    """

    name: str
    time: Array
    channel: Array
    soma: Array
    spikes: Array
    channels: int


def read(path: Path, channels: int = SYNAPSES) -> Simulation:
    """A simulation from our .npz.

    Arguments:
        path: the file.
        channels: synapses of the neuron.

    Raises:
        DataError: naming the file and what is wrong in it.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            given = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: can't be read as .npz ({error})") from error
    missing = [name for name in NEEDED if name not in given]
    if missing:
        raise DataError(f"{path}: no {' and no '.join(missing)} in it; expected {', '.join(NEEDED)}")
    time, channel, soma, spikes = (given[name] for name in NEEDED)
    return simulation(str(path), time, channel, soma, spikes, channels)


def simulation(name: str, time: Any, channel: Any, soma: Any, spikes: Any, channels: int) -> Simulation:
    """A checked simulation.

    Arguments:
        name: for messages.
        time, channel: (events,) ms and synapse of each input spike, in any order; what comes twice counts once.
        soma: (T,) mV at 1 kHz.
        spikes: (n,) ms of the neuron's own spikes; step k holds those from k to k + 1.
        channels: synapses.

    Raises:
        DataError: naming the simulation and what is wrong in it.
    """
    time, channel, soma, spikes = (np.asarray(a) for a in (time, channel, soma, spikes))
    for what, array in (("t", time), ("channel", channel), ("soma", soma), ("spikes", spikes)):
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iuf"):
            raise DataError(f"{name}: {what}: expected a row of numbers, got {array.dtype} {array.shape}")
        if not np.isfinite(array).all():
            raise DataError(f"{name}: {what}: expected finite numbers, got NaN or infinity")
    steps = len(soma)
    if not steps or not len(time):
        raise DataError(f"{name}: an empty recording, {steps} ms of voltage and {len(time)} input spikes")
    if len(time) != len(channel):
        raise DataError(f"{name}: {len(time)} times of input spikes, {len(channel)} channels")
    for what, array, least, most in (
        ("t", time, 0, steps), ("channel", channel, 0, channels), ("spikes", spikes, 0, steps),
    ):  # fmt: skip
        if array.size and not (least <= array.min() and array.max() < most):
            raise DataError(f"{name}: {what}: expected {least} to below {most}, got {array.min()} to {array.max()}")
    cell = np.unique(time.astype(np.int64) * channels + channel.astype(np.int64))
    time, channel = np.divmod(cell, channels)
    fired = np.unique(spikes.astype(np.int64))
    return Simulation(name, time.astype(np.int32), channel.astype(np.int32), soma.astype(np.float32), fired, channels)
