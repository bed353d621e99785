"""Pictures: functions that take arrays or Events and return a matplotlib Figure, without pyplot's global state."""

from spiking.plots.compare import fidelity
from spiking.plots.continual import accuracy_matrix, forgetting, subspaces
from spiking.plots.curves import bits_curve, confusion, learning_curve
from spiking.plots.delays import delays
from spiking.plots.growth import growth
from spiking.plots.language import bit_planes, perplexity_curve, spike_counts
from spiking.plots.movie import movie
from spiking.plots.overview import overview
from spiking.plots.raster import raster
from spiking.plots.ratios import ratios
from spiking.plots.sparsey import capacity, code_overlap, codes, learning_time, recall_noise
from spiking.plots.spikes import event_image, rates
from spiking.plots.theory import Panel, theory

__all__ = [
    "Panel", "accuracy_matrix", "bit_planes", "bits_curve", "capacity", "code_overlap", "codes", "confusion",
    "delays", "event_image", "fidelity", "forgetting", "growth", "learning_curve", "learning_time", "movie",
    "overview", "perplexity_curve", "raster", "rates", "ratios", "recall_noise", "spike_counts", "subspaces",
    "theory",
]  # fmt: skip
