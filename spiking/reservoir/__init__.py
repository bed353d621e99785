"""Liquid state machines: networks drawn from a seed that turn recordings into states for a linear readout."""

from spiking.reservoir.ensemble import Ensemble
from spiking.reservoir.lsm import LSM

__all__ = ["LSM", "Ensemble"]
