"""Models that the tests of language models share."""

import pytest
import torch
from torch import Tensor


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(1, 96, (2, 10), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transformers says once for each kernel that it runs the reference, and draws bars."""
    transformers = pytest.importorskip("transformers", reason="spiking.llm needs the extra llm")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
