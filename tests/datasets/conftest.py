"""The embedded digits, built once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from spiking.datasets import EventStore, load


@pytest.fixture(scope="session")
def digits(stores: Path) -> EventStore:
    """All of the digits."""
    return load("digits", "all", cache=stores)
