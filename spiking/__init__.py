"""Spiking neurons, plasticity and reservoirs on PyTorch, where spikes are events and only events cost anything."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spiking import coding, datasets, init, kernels, llm, networks, neurons, nir, plasticity, plots, readout
    from spiking.events import Events
    from spiking.neurons import detach

__version__ = "0.1.0"
__all__ = [
    "Events", "coding", "datasets", "detach", "init", "kernels", "llm", "networks", "neurons", "nir", "plasticity",
    "plots", "readout",
]
_HOME = {"Events": "spiking.events", "detach": "spiking.neurons"}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562), so that `import spiking.kernels` pulls in nothing above it."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in __all__:
        return import_module(f"spiking.{name}")
    raise AttributeError(f"module 'spiking' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
