"""Language models whose matrix products spike."""

from importlib.util import find_spec

from spiking.llm.config import Plan, SpikeConfig
from spiking.llm.coverage import Coverage, MissedError, coverage
from spiking.llm.products import UnspikedWarning
from spiking.llm.spike import Conversion, conversion, spike_
from spiking.llm.weight import FusedError, SpikeWeight, watching

__all__ = [
    "Conversion", "Coverage", "FusedError", "MissedError", "Plan", "SpikeConfig", "SpikeWeight", "UnspikedWarning",
    "conversion", "coverage", "spike_", "watching",
]

if find_spec("transformers"):  # registers "spiking" with it, so that from_pretrained knows our models
    from spiking.llm import quantizer  # noqa: F401
