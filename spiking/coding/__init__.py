"""Codes between numbers and spikes: SpikingBrain's integer code and its expansions in time, and sensor encoders."""

from spiking.coding.adaptive import Code, adaptive
from spiking.coding.expand import CODES, Train, expand
from spiking.coding.sensor import delta, latency, phase, rate
from spiking.coding.stats import Stats

__all__ = ["CODES", "Code", "Stats", "Train", "adaptive", "delta", "expand", "latency", "phase", "rate"]
