"""The mathematics of sparse distributed representations: exact counting, and segments that are simulated beside it."""

from spiking.plasticity.sdr import simulate, transitions
from spiking.plasticity.sdr.match import false_match, mixed, overlap_set, set_bound, set_match, uniqueness
from spiking.plasticity.sdr.noise import false_negative
from spiking.plasticity.sdr.sequence import prediction_accuracy, prediction_jaccard
from spiking.plasticity.sdr.threshold import grid_errors, least_threshold, median_error
from spiking.plasticity.sdr.union import (
    union_contains,
    union_density,
    union_match,
    union_match_exact,
    union_sizes,
    union_variance,
)  # fmt: skip

__all__ = [
    "false_match", "false_negative", "grid_errors", "least_threshold", "median_error", "mixed", "overlap_set",
    "prediction_accuracy", "prediction_jaccard", "set_bound", "set_match", "simulate", "transitions", "union_contains",
    "union_density", "union_match", "union_match_exact", "union_sizes", "union_variance", "uniqueness",
]  # fmt: skip
