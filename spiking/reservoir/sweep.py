"""The gain sweep: what a liquid does, and what a readout makes of it, at each strength of its synapses.

Kernel quality is the effective rank of the states of different recordings; the generalisation rank that of variants of
one recording, whose events are jittered in time, the mean over a few recordings. Both are of some of the neurons, and
of more recordings than these.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from spiking.datasets import EventStore
from spiking.datasets.augment import Augment
from spiking.reservoir.calibrate import activity
from spiking.reservoir.lsm import LSM, Silence
from spiking.reservoir.metrics import SUBSET, Rank, class_separation, rank, some
from spiking.reservoir.readouts import score

SCALES = ("gain", "input_gain", "both")


class Quality(NamedTuple):
    """Kernel quality and generalisation rank.

    Attributes:
        kernel: of the states of different recordings.
        generalisation: of the states of variants of each of a few recordings.
    """

    kernel: Rank
    generalisation: list[Rank]

    @property
    def difference(self) -> float:
        """KQ - GR in effective ranks."""
        return self.kernel.effective - self.spread

    @property
    def spread(self) -> float:
        """The mean generalisation rank."""
        return float(np.mean([each.effective for each in self.generalisation]))


def quality(
    lsm: LSM, store: EventStore, neurons: int = SUBSET, same: int = 2, jitter: float = 10.0, seed: int = 0
) -> Quality:
    """Kernel quality and generalisation rank of a liquid on recordings.

    Arguments:
        lsm: the liquid.
        store: recordings, at least 2 `neurons` of them.
        neurons: how many are looked at, with twice as many recordings or variants.
        same: of how many recordings variants are made.
        jitter: standard deviation of the time of events, ms.
        seed: of what is drawn.

    Raises:
        ValueError: if there are too few recordings.
    """
    samples = 2 * min(neurons, lsm.size)
    if len(store) < samples:
        raise ValueError(f"store: expected at least {samples} recordings for {samples // 2} neurons, got {len(store)}")
    order = np.random.default_rng(seed).permutation(len(store))
    kernel = rank(some(lsm.features(store.select(order[:samples]), bins=1), neurons, seed))
    variants = []
    for at in order[:same]:
        copies = store.select(np.full(samples, at))
        copies.ids = np.arange(samples)  # a stream of random numbers for each
        loader = copies.loader(samples, lsm.step, lsm.steps, augment=Augment(jitter=jitter), seed=seed)
        events, _ = next(iter(loader))
        variants.append(rank(some(lsm.features(events, bins=1), neurons, seed)))
    return Quality(kernel, variants)


def gain_sweep(
    lsm: LSM, train: EventStore, valid: EventStore, gains: Sequence[float], scale: str = "gain",
    readout: str = "ridge", neurons: int = SUBSET, report: Callable[[dict[str, float]], None] | None = None,
) -> list[dict[str, float]]:  # fmt: skip
    """Measure a liquid at several gains; it is left as it was.

    Arguments:
        lsm: the liquid.
        train: what the readout learns.
        valid: what it is measured on; a part of the training data if a gain is to be chosen by it.
        gains: factors.
        scale: "gain" sets that of recurrent synapses, "input_gain" that of input synapses, "both" multiplies the
            liquid's own input gain by the factor as well, which is the published sweep of all strengths (NALSM).
        readout: as `readouts.readout`.
        neurons: how many the ranks are taken of.
        report: called with each row as it comes.

    Returns:
        of each gain `gain`, `accuracy`, `branching`, `rate_hz`, `kernel_quality`, `generalisation_rank`, `separation`,
        and `silent`, the share of the training recordings in which no neuron spikes.

    Raises:
        ValueError: if there is no such scale.
    """
    if scale not in SCALES:
        raise ValueError(f"scale: expected one of {', '.join(SCALES)}, got {scale!r}")
    before = lsm.gain, lsm.input_gain
    events = lsm.look(train)
    rows = []
    try:
        for gain in gains:
            lsm.gain = float(gain) if scale != "input_gain" else before[0]
            lsm.input_gain = {"gain": before[1], "input_gain": float(gain), "both": float(gain) * before[1]}[scale]
            found = activity(lsm, events)
            y = train.labels.numpy(), valid.labels.numpy()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Silence)  # a row of the table says it
                counts = lsm.features(train), lsm.features(valid)
                ranks = quality(lsm, train, neurons)
            row = {
                "gain": float(gain), "accuracy": score(readout, (counts[0], y[0]), (counts[1], y[1])),
                "branching": found.branching, "rate_hz": found.rate,
                "kernel_quality": ranks.kernel.effective, "generalisation_rank": ranks.spread,
                "separation": class_separation(counts[0], y[0]), "silent": float((~counts[0].any(1)).mean()),
            }  # fmt: skip
            rows.append(row)
            if report is not None:
                report(row)
    finally:
        lsm.gain, lsm.input_gain = before
    return rows
