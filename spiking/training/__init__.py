"""Training on event recordings with Lightning: the module, the data, one run with its controls and report."""

from spiking.training.controls import controls
from spiking.training.data import EventData
from spiking.training.delays import DelayTraining
from spiking.training.fit import Outcome
from spiking.training.measure import Measurement, measure
from spiking.training.module import Classifier
from spiking.training.regularise import RateBounds
from spiking.training.run import run

__all__ = [
    "Classifier", "DelayTraining", "EventData", "Measurement", "Outcome", "RateBounds", "controls", "measure", "run",
]  # fmt: skip
