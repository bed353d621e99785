"""What tests of kernels share."""

from collections.abc import Iterator

import pytest

from .guard import bounds, poison


@pytest.fixture
def careful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Poisoned memory, and no address outside the tensors that a kernel was given."""
    poison(monkeypatch)
    with bounds():
        yield
