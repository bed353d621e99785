"""The fidelity report: what it says of equal and of unequal stores, and of the simulated N-MNIST camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spiking import plots
from spiking.datasets import EventStore, load
from spiking.datasets.fidelity import compare, intervals, rate, statistics
from spiking.datasets.nmnist_camera import NMNIST
from spiking.datasets.sources import saccades
from tests.datasets.mnist import images


def tiny(index: list[int], time: list[int], **more: Any) -> EventStore:
    """One recording of a camera of 2 x 1 pixels."""
    return EventStore.from_arrays(index, time, [0, len(index)], [0], sensor=(2, 1, 2), duration=30_000, **more)


def test_statistics_of_five_events() -> None:
    # pixel 0: off at 1 ms, on at 4 ms, on at 25 ms; pixel 1: on at 2 ms, on at 12 ms
    store = tiny([0, 3, 2, 3, 2], [1000, 2000, 4000, 12_000, 25_000])
    found = statistics(store, 30_000)
    assert found["events of a recording, mean"] == 5 and found["events of a recording, standard deviation"] == 0
    assert found["events of polarity 1 per event of polarity 0"] == 4
    assert [found[f"events in third {k} of the time"] for k in (1, 2, 3)] == [3, 1, 1]
    assert (
        found["highest rate over 10 ms, events/ms"] == pytest.approx(0.3)
        and found["time of half of the events, ms"] == 4
    )
    assert sorted(intervals(store)[0].tolist()) == [3000, 10_000, 21_000]
    assert found["interval of a pixel, 50 %, ms"] == 10
    assert found["interval from polarity 0 to 1, median, ms"] == 3
    assert found["interval from polarity 1 to 1, median, ms"] == 15.5
    assert found["share of intervals with a change of polarity"] == pytest.approx(1 / 3)
    assert found["interval of a recording, mean, us"] == 6000 and found["interval of a recording, median, us"] == 5000
    assert found["spread in x, pixels"] == pytest.approx(np.sqrt(0.24)) and found["spread in y, pixels"] == 0
    assert found["pixels with events"] == 2 and found["events of such a pixel, median"] == 2.5
    assert rate(store, 3).tolist() == [[0.1, 0, 0], [0.2, 0.1, 0.1]]


def test_equal_stores_have_ratios_of_one_and_half_the_events_half() -> None:
    film = NMNIST.record(images(6, 0))
    store = film.store(np.zeros(6, int))
    same = compare(store, store)
    assert set(same.ratios.values()) == {1.0} and same.worst == 0
    kept = np.arange(len(film.index)) % 2 == 0
    indptr = np.concatenate([[0], np.cumsum(kept)])[film.indptr]
    thinned = EventStore.from_arrays(
        film.index[kept], film.time_us[kept], indptr, np.zeros(6, int), film.sensor, duration=film.duration
    )
    half = compare(store, thinned)
    assert half.ratios["events of a recording, mean"] == pytest.approx(0.5, abs=1e-3)
    assert half.ratios["interval of a recording, mean, us"] == pytest.approx(2, rel=0.01)
    assert half.worst >= 1 and half.distances["rate over time"] < 0.02
    assert "| events of a recording, mean |" in half.table() and "| rate over time |" in half.table()


def test_distances_see_what_means_do_not() -> None:
    early, late = tiny([0, 1, 2], [1000, 2000, 3000]), tiny([0, 1, 2], [21_000, 22_000, 23_000])
    assert compare(early, late).distances == pytest.approx({"rate over time": 1, "place": 0, "interval of a pixel": 0})
    other = compare(early, tiny([0, 0, 3], [1000, 2000, 4000]))
    assert other.distances["place"] == pytest.approx(2 / 3) and other.distances["interval of a pixel"] == 1
    # one has intervals from polarity 0 to 1 and the other one has not
    assert other.ratios["interval from polarity 0 to 1, median, ms"] == 0
    assert other.ratios["interval from polarity 0 to 0, median, ms"] == np.inf == other.worst
    apart = compare(tiny([0, 1], [1, 2]), tiny([0, 0], [1, 2]))
    assert apart.distances["interval of a pixel"] == 1


def test_stores_that_cannot_be_compared_are_named() -> None:
    store = tiny([0, 1, 2], [1, 2, 3])
    ear = EventStore.from_arrays([0, 1], [1, 2], [0, 2], [0], channels=4)
    with pytest.raises(ValueError, match="simulated: expected recordings of a camera"):
        compare(store, ear)
    with pytest.raises(ValueError, match="real: expected recordings with events"):
        compare(store.select([]), store)
    other = EventStore.from_arrays([0, 1], [1, 2], [0, 2], [0], sensor=(1, 2, 2))
    with pytest.raises(ValueError, match=r"simulated: sensor \(1, 2, 2\), the real one is \(2, 1, 2\)"):
        compare(store, other)


def test_the_picture_needs_no_equal_numbers() -> None:
    store = NMNIST.record(images(3, 0)).store([0, 1, 2])
    assert len(plots.fidelity(store, store.select([0, 1])).axes) == 11


def test_simulated_recordings_are_like_real_ones(real_data: Path, tmp_path: Path) -> None:
    for folder in ("nmnist_small", "mnist"):
        if not (real_data / folder).is_dir():
            pytest.skip(f"no {folder} at {real_data}")
    real = load("nmnist", "all", root=real_data / "nmnist_small", cache=tmp_path)
    number = np.array([int(Path(name).stem) - 1 for name in real.metadata["name"]])
    pictures, labels = saccades.read(saccades.MNIST, real_data / "mnist", "train")
    assert np.array_equal(labels[number], real.labels.numpy())
    held = np.flatnonzero(number >= 500)
    simulated = NMNIST.record(pictures[number[held]]).store(labels[number[held]])
    result = compare(real.select(held), simulated)
    assert result.worst < 0.15, result.table()
