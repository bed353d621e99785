"""Sparsey: an associative memory that learns each item once and keeps similarity in the overlap of its codes."""

from spiking.plasticity.sparsey.backoff import BackOff
from spiking.plasticity.sparsey.fields import around, tiles, widen
from spiking.plasticity.sparsey.level import Level
from spiking.plasticity.sparsey.mac import Mac
from spiking.plasticity.sparsey.network import FrozenWarning, Sparsey, Trace
from spiking.plasticity.sparsey.permanence import Permanence
from spiking.plasticity.sparsey.plan import LevelPlan
from spiking.plasticity.sparsey.presets import PRESETS

__all__ = [
    "PRESETS", "BackOff", "FrozenWarning", "Level", "LevelPlan", "Mac", "Permanence", "Sparsey", "Trace", "around",
    "tiles", "widen",
]
