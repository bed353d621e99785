"""Plan: what a source would build, known before any work is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spiking.datasets.store import EventStore


@dataclass(frozen=True)
class Plan:
    """What a source would build.

    Attributes:
        key: everything the store depends on; stores of equal keys are equal.
        size: bytes that the store will take, about.
        build: does the work; its store has a column `split`.
        missing: for each split whose files aren't there, how to get them.
        scratch: a folder where `build` keeps its parts, removed once the store is saved.
    """

    key: dict[str, Any]
    size: int
    build: Callable[[], EventStore]
    missing: dict[str, str] = field(default_factory=dict)
    scratch: Path | None = None
