"""The embedded digits, built once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from spiking.datasets import EventStore, load


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for built stores that the tests share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def digits(cache: Path) -> EventStore:
    """All of the digits."""
    return load("digits", "all", cache=cache)
