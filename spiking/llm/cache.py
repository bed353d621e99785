"""Keys, values and recurrent states in whole numbers, and spiking queries, for models of Hugging Face."""

from __future__ import annotations
from typing import Any
from spiking.llm.config import SpikeConfig


def attach(model: Any, config: SpikeConfig | None) -> None:
    pass
