"""What this machine has, and which backend runs which op."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numba
import torch

from spiking import __version__

# The folder in spiking.kernels of each op; sparse_linear is event_linear's with sparse weights.
OPS = {
    "event_linear": "event_linear", "event_conv": "event_conv", "delay_linear": "delay", "spike_linear": "spike_linear",
    "lif": "lif", "elm": "elm", "elm_layer": "elm_layer", "reservoir": "reservoir", "stdp": "stdp", "csa": "csa",
    "strongest": "dendrites", "oja": "oja",
}  # fmt: skip
NEEDED = ("torch", "numba", "triton", "numpy", "lightning", "h5py", "scikit-learn", "snntorch", "tonic")
PEERS = ("spikingjelly", "norse", "sinabs", "nest-simulator", "transformers")


def report() -> str:
    """Versions, devices, backends, threads and folders, a line each."""
    machine = f"{platform.system()} {platform.machine()}"
    lines = [f"spiking       {__version__}, Python {platform.python_version()}, {machine}"]
    lines += [f"{name:<14}{_version(name)}" for name in NEEDED]
    lines.append("")
    lines.append(f"cpu           {os.cpu_count()} cores, torch uses {torch.get_num_threads()}, {_numba()}")
    lines += _devices()
    lines += [f"{op:<14}{', '.join(_backends(folder))}" for op, folder in OPS.items()]
    lines.append("")
    lines += [f"{name:<14}{_writable(folder)}" for name, folder in _folders().items()]
    lines.append(f"optional      {', '.join(f'{name} {_version(name)}' for name in PEERS)}")
    return "\n".join(lines)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _numba() -> str:
    @numba.njit(parallel=True)
    def touch(n: int) -> int:
        total = 0
        for i in numba.prange(n):
            total += i
        return total

    touch(4)
    return f"numba {numba.get_num_threads()} threads on {numba.threading_layer()}"


def _devices() -> list[str]:
    if not torch.cuda.is_available():
        return ["gpu           none that torch can use"]
    kind = "ROCm" if torch.version.hip else "CUDA"
    found = []
    for k in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(k)
        found.append(f"gpu {k:<10}{about.name}, {about.total_memory / 2**30:.0f} GiB, {kind}")
    return found


def _backends(folder: str) -> list[str]:
    found = ["reference (any device)", "numba (CPU)"]
    if find_spec(f"spiking.kernels.{folder}.gpu") is None:
        return found
    if find_spec("triton") is None:
        return [*found, "no triton: it isn't installed"]
    return [*found, "triton (GPU)" if torch.cuda.is_available() else "triton (waits for a GPU)"]


def _folders() -> dict[str, Path]:
    data = os.environ.get("SPIKING_CACHE")
    kernels = os.environ.get("NUMBA_CACHE_DIR")
    return {
        "data cache": Path(data) if data else Path.home() / ".cache" / "spiking" / "datasets",
        "kernel cache": Path(kernels) if kernels else Path(__file__).parent / "kernels",
    }


def _writable(folder: Path) -> str:
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    fine = os.access(there, os.W_OK | os.X_OK)
    return f"{folder} ({'writable' if fine else 'can NOT be written'})"
