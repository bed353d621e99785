"""Pictures: functions that take arrays or Events and return a matplotlib Figure, without pyplot's global state."""

from spiking.plots.compare import fidelity
from spiking.plots.continual import accuracy_matrix, forgetting, stability_gap, subspaces
from spiking.plots.curves import bits_curve, confusion, learning_curve
from spiking.plots.delays import delays
from spiking.plots.growth import growth
from spiking.plots.language import bit_planes, perplexity_curve, spike_counts
from spiking.plots.movie import movie
from spiking.plots.overview import overview
from spiking.plots.raster import raster
from spiking.plots.ratios import ratios
from spiking.plots.reservoir import (
    branching,
    degrees,
    divergence,
    gain_sweep,
    memory,
    ranks,
    separation,
    unseen_pairs,
)
from spiking.plots.sparsey import capacity, code_overlap, codes, learning_time, recall_noise
from spiking.plots.spikes import event_image, rates
from spiking.plots.tasks import agreement, detection, loss_curve, membrane, time_constants
from spiking.plots.theory import Panel, theory

__all__ = [
    "Panel", "accuracy_matrix", "agreement", "bit_planes", "bits_curve", "branching", "capacity", "code_overlap",
    "codes", "confusion", "degrees", "delays", "detection", "divergence", "event_image", "fidelity", "forgetting",
    "gain_sweep", "growth", "learning_curve", "learning_time", "loss_curve", "membrane", "memory", "movie",
    "overview", "perplexity_curve", "ranks", "raster", "rates", "ratios", "recall_noise", "separation",
    "spike_counts", "stability_gap", "subspaces", "theory", "time_constants", "unseen_pairs",
]  # fmt: skip
