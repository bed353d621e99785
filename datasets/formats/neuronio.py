"""NeuronIO's files (Beniaguev, Segev & London 2021): pickles of Python 2, each of some 128 simulations of 6 s.

    Params:  allSegmentsType (one a segment), totalSimDurationInSec
    Results: listOfSingleSimulationDicts, each of exInputSpikeTimes and inhInputSpikeTimes {segment: [ms, ...]},
             outputSpikeTimes (ms), somaVoltageLowRes (mV at 1 kHz)

A pickle may run anything while it is read. Here only numbers, texts, lists, dictionaries and NumPy's arrays are let
through. As in the published reader an output spike at t ms lies in step t - 0.5, rounded down.
"""

from __future__ import annotations

import pickle
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from spiking.datasets.errors import DataError
from spiking.datasets.formats.simulation import Simulation, simulation

# what NumPy's arrays and numbers are rebuilt with, under the names of NumPy 1 and 2
ALLOWED = {
    ("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"), ("_codecs", "encode"),
}  # fmt: skip


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no NeuronIO file needs")
        return getattr(import_module(module.replace("numpy.core", "numpy._core")), name)


def read(path: Path) -> list[Simulation]:
    """The simulations of one file.

    Raises:
        DataError: naming the file, the simulation and what is wrong in it.
    """
    try:
        with path.open("rb") as file:
            content = _Arrays(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{path}: can't be read as a file of NeuronIO ({error})") from error
    try:
        segments = len(content["Params"]["allSegmentsType"])
        runs = content["Results"]["listOfSingleSimulationDicts"]
        return [_one(f"{path} simulation {k}", run, segments) for k, run in enumerate(runs)]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not laid out as a file of NeuronIO, no {error}") from error


def _one(name: str, run: dict[str, Any], segments: int) -> Simulation:
    time, channel = [], []
    for first, key in ((0, "exInputSpikeTimes"), (segments, "inhInputSpikeTimes")):
        for segment, times in run[key].items():
            time.append(np.asarray(times, np.int64))
            channel.append(np.full(len(times), first + int(segment)))
    spikes = np.maximum(np.asarray(run["outputSpikeTimes"], np.float64) - 0.5, 0)
    times, channels = (np.concatenate(parts) if parts else np.zeros(0, np.int64) for parts in (time, channel))
    return simulation(name, times, channels, run["somaVoltageLowRes"], spikes, 2 * segments)
