"""The libraries that this toolkit is measured against, by name; each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module, metadata
from types import ModuleType

PEERS = {"snntorch": "snntorch", "spikingjelly": "spikingjelly", "norse": "norse", "sinabs": "sinabs", "torch": "plain"}


def version(name: str) -> str | None:
    """The installed version of a peer; `None` if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def peer(name: str) -> ModuleType:
    """The adapter of a peer: a module with `pair(problem, compiled)`."""
    return import_module(f"spiking.bench.peers.{PEERS[name]}")
