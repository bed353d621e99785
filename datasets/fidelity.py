"""Whether simulated recordings are like real ones: the same statistics of both, their ratios, and distances.

A statistic is one number for a store, such as the median interval between two events of a pixel. A distance compares
two distributions, 0 where they are equal and 1 where they have nothing in common:

    rate over time   half of sum |r - s| over 10 ms windows and both polarities, r and s the shares of all events
    place            the same over pixels and polarities
    interval         sup |R - S| of the two cumulative distributions of a pixel's intervals (Kolmogorov & Smirnov)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from spiking.datasets.store import EventStore

Array = np.ndarray[Any, Any]

WINDOW = 10_000


@dataclass(frozen=True)
class Fidelity:
    """What `compare` found.

    Attributes:
        real, simulated: the statistics by name.
        distances: by name.
    """

    real: dict[str, float]
    simulated: dict[str, float]
    distances: dict[str, float]

    @property
    def ratios(self) -> dict[str, float]:
        """Simulated over real, by name; infinite where only one of them has what is measured."""
        return {name: _ratio(self.simulated[name], self.real[name]) for name in self.real}

    @property
    def worst(self) -> float:
        """The largest of all distances and of all ratios' differences from 1."""
        return max([*(abs(ratio - 1) for ratio in self.ratios.values()), *self.distances.values()])

    def table(self) -> str:
        """Statistics, ratios and distances as a Markdown table."""
        lines = ["| | real | simulated | ratio |", "|---|---|---|---|"]
        for name, ratio in self.ratios.items():
            lines.append(f"| {name} | {self.real[name]:.4g} | {self.simulated[name]:.4g} | {ratio:.3f} |")
        lines += ["", "| distance | 0 to 1 |", "|---|---|"]
        return "\n".join([*lines, *(f"| {name} | {value:.3f} |" for name, value in self.distances.items())])


def compare(real: EventStore, simulated: EventStore) -> Fidelity:
    """Statistics, ratios and distances of two stores of the same camera.

    Arguments:
        real, simulated: of a camera with two polarities, preferably of the same scenes.

    Raises:
        ValueError: naming the store that has no recordings, or no such camera, or if the cameras differ.
    """
    for name, store in (("real", real), ("simulated", simulated)):
        if store.sensor is None or store.sensor[2] != 2:
            raise ValueError(f"{name}: expected recordings of a camera with two polarities, got sensor {store.sensor}")
        if not len(store) or store.arrays()[2][-1] < 2:
            raise ValueError(f"{name}: expected recordings with events, got {store!r}")
    if real.sensor != simulated.sensor:
        raise ValueError(f"simulated: sensor {simulated.sensor}, the real one is {real.sensor}")
    horizon = int(max(real.duration.max(), simulated.duration.max()))
    windows = -(-horizon // WINDOW)
    shares = [rate(store, windows) / rate(store, windows).sum() for store in (real, simulated)]
    places = [image(store) / image(store).sum() for store in (real, simulated)]
    waits = [intervals(store)[0] for store in (real, simulated)]
    distances = {
        "rate over time": float(np.abs(shares[0] - shares[1]).sum() / 2),
        "place": float(np.abs(places[0] - places[1]).sum() / 2),
        "interval of a pixel": _smirnov(*waits),
    }
    return Fidelity(statistics(real, horizon), statistics(simulated, horizon), distances)


def statistics(store: EventStore, horizon: int) -> dict[str, float]:
    """The statistics of one store, by name with units.

    Arguments:
        store: of a camera with two polarities.
        horizon: microseconds, of which thirds are taken.
    """
    assert store.sensor is not None
    width, height, _ = store.sensor
    index, time, indptr = store.arrays()
    sizes = np.diff(indptr)
    polarity, pixel = np.divmod(index.astype(np.int64), width * height)
    owner = np.repeat(np.arange(len(store)), sizes)
    found = {
        "events of a recording, mean": sizes.mean(),
        "events of a recording, standard deviation": sizes.std(),
        "events of polarity 1 per event of polarity 0": polarity.sum() / max(1, (1 - polarity).sum()),
    }
    curve = rate(store, -(-horizon // WINDOW)).sum(0)
    thirds = np.bincount(time.astype(np.int64) * 3 // horizon, minlength=3) / len(store)
    found["highest rate over 10 ms, events/ms"] = curve.max()
    found |= {f"events in third {k + 1} of the time": thirds[k] for k in range(3)}
    found["time of half of the events, ms"] = np.median(time) / 1000
    wait, before, after = intervals(store)
    for q in (10, 25, 50, 75, 90):
        found[f"interval of a pixel, {q} %, ms"] = _percentile(wait, q) / 1000
    found["interval of a pixel, mean, ms"] = wait.sum() / max(1, len(wait)) / 1000
    for first in (0, 1):
        for then in (0, 1):
            pair = wait[(before == first) & (after == then)]
            found[f"interval from polarity {first} to {then}, median, ms"] = _percentile(pair, 50) / 1000
    found["share of intervals with a change of polarity"] = (before != after).sum() / max(1, len(wait))
    gaps = np.diff(time)[np.diff(owner) == 0]
    found["interval of a recording, mean, us"] = gaps.sum() / max(1, len(gaps))
    found["interval of a recording, median, us"] = _percentile(gaps, 50)
    for name, place in (("x", pixel % width), ("y", pixel // width)):
        mean = np.bincount(owner, place, len(store)) / np.maximum(sizes, 1)
        found[f"spread in {name}, pixels"] = np.sqrt(((place - mean[owner]) ** 2).mean())
    fired = np.bincount(owner * width * height + pixel)
    found["pixels with events"] = (fired > 0).sum() / len(store)
    found["events of such a pixel, median"] = np.median(fired[fired > 0])
    found["events of such a pixel, last decile"] = np.percentile(fired[fired > 0], 90)
    return {name: float(value) for name, value in found.items()}


def rate(store: EventStore, windows: int) -> Array:
    """(2, windows) events of each polarity per ms and recording in windows of 10 ms."""
    index, time, _ = store.arrays()
    polarity = index.astype(np.int64) // (store.channels // 2)
    counts = np.bincount(polarity * windows + time // WINDOW, minlength=2 * windows)
    return counts.reshape(2, windows) / (len(store) * WINDOW / 1000)


def image(store: EventStore) -> Array:
    """(N,) events of each channel per recording."""
    return np.bincount(store.arrays()[0], minlength=store.channels) / len(store)


def intervals(store: EventStore) -> tuple[Array, Array, Array]:
    """Between each two successive events of a pixel: (microseconds, polarity of the first, polarity of the second)."""
    index, time, indptr = store.arrays()
    polarity, pixel = np.divmod(index.astype(np.int64), store.channels // 2)
    owner = np.repeat(np.arange(len(store)), np.diff(indptr)) * (store.channels // 2) + pixel
    order = np.argsort(owner, kind="stable")
    same = np.diff(owner[order]) == 0
    return np.diff(time[order])[same], polarity[order][:-1][same], polarity[order][1:][same]


def _percentile(values: Array, q: float) -> float:
    return float(np.percentile(values, q)) if len(values) else 0.0


def _ratio(simulated: float, real: float) -> float:
    if real:
        return simulated / real
    return np.inf if simulated else 1.0


def _smirnov(a: Array, b: Array) -> float:
    if not len(a) or not len(b):
        return float(len(a) != len(b))
    both = np.sort(np.concatenate([a, b]))
    below = [np.searchsorted(np.sort(part), both, side="right") / len(part) for part in (a, b)]
    return float(np.abs(below[0] - below[1]).max())
