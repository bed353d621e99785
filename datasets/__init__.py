"""Event recordings: where they come from, how they are kept, and how they become batches of `Events`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spiking.datasets import camera, cochlea
    from spiking.datasets.augment import Augment
    from spiking.datasets.catalogue import available, images, load
    from spiking.datasets.errors import DataError
    from spiking.datasets.loader import Loader
    from spiking.datasets.store import EventStore

__all__ = ["Augment", "DataError", "EventStore", "Loader", "available", "camera", "cochlea", "images", "load"]
_HOME = {
    "Augment": "augment",
    "DataError": "errors",
    "EventStore": "store",
    "Loader": "loader",
    "available": "catalogue",
    "images": "catalogue",
    "load": "catalogue",
}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562): a command that reads no data doesn't wait for Numba."""
    if name in _HOME:
        return getattr(import_module(f"spiking.datasets.{_HOME[name]}"), name)
    if name in __all__:
        return import_module(f"spiking.datasets.{name}")
    raise AttributeError(f"module 'spiking.datasets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
