"""Augmentation: what is asked for happens, events stay on the sensor and in time, everything else stays."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking.datasets import Augment, EventStore
from spiking.datasets.augment import Recordings
from tests.datasets.strategies import random_store


def dots(n: int = 200, place: tuple[int, int, int] = (16, 9, 1)) -> EventStore:
    """n recordings of a 34x34x2 camera with one event at 50 of 100 ms."""
    x, y, p = place
    index = np.full(n, (p * 34 + y) * 34 + x)
    return EventStore.from_arrays(
        index, np.full(n, 50_000), np.arange(n + 1), np.zeros(n, int), sensor=(34, 34, 2), duration=100_000
    )


def events(recordings: Recordings) -> tuple[Any, Any, Any, Any]:
    """x, y, p and time of all events that are left."""
    keep = np.concatenate([np.arange(a, b) for a, b in zip(recordings.start, recordings.stop, strict=True)])
    index = recordings.index[keep].astype(int)
    return index % 34, index // 34 % 34, index // 1156, recordings.time[keep]


@settings(max_examples=30)
@given(
    st.integers(0, 40), st.floats(0, 180), st.floats(0, 0.9), st.floats(0, 50), st.floats(0, 0.9), st.floats(0, 0.9),
    st.integers(0, 2**63 - 1),
)
def test_events_stay_inside(
    shift: int, rotate: float, scale: float, jitter: float, drop: float, warp: float, seed: int
) -> None:
    store = random_store(n=8, events=40, channels=40, sensor=(5, 4, 2))
    change = Augment(shift, rotate, scale, jitter, drop, warp)
    out = change(Recordings.of(store), seed, 3)
    assert (out.stop >= out.start).all()
    left = np.concatenate([np.arange(a, b) for a, b in zip(out.start, out.stop, strict=True)])
    assert ((out.index[left] >= 0) & (out.index[left] < 40)).all()
    assert ((out.time[left] >= 0) & (out.time[left] < 100_000)).all()
    binned = out.bin(5.0)
    binned._check()
    assert binned.sensor == (5, 4, 2)


def test_nothing_asked_changes_nothing() -> None:
    store = random_store()
    given_ = Recordings.of(store)
    out = Augment()(given_, 0, 0)
    assert np.array_equal(out.index, given_.index) and np.array_equal(out.time, given_.time)
    assert np.array_equal(out.stop, given_.stop)


def test_shift_moves_within_its_reach_and_keeps_polarity() -> None:
    x, y, p, time = events(Augment(shift=2)(Recordings.of(dots()), 0, 0))
    assert set(x) == {14, 15, 16, 17, 18} and set(y) == {7, 8, 9, 10, 11}
    assert set(p) == {1} and set(time) == {50_000}


def test_shift_moves_channels_where_there_is_no_sensor() -> None:
    store = EventStore.from_arrays([350] * 100, [5] * 100, np.arange(101), [0] * 100, channels=700)
    out = Augment(shift=3)(Recordings.of(store), 0, 0)
    assert set(out.index) == {347, 348, 349, 350, 351, 352, 353} and (out.stop - out.start == 1).all()


def test_rotation_keeps_the_distance_to_the_middle() -> None:
    x, y, _, _ = events(Augment(rotate=30)(Recordings.of(dots()), 0, 0))
    distance = np.hypot(x - 16.5, y - 16.5)
    assert np.abs(distance - np.hypot(0.5, 7.5)).max() < 0.8
    assert x.min() < 14 and x.max() > 19


def test_scale_and_shear_move_along_their_axes() -> None:
    x, y, _, _ = events(Augment(scale=0.2)(Recordings.of(dots(place=(26, 16, 0))), 0, 0))
    assert x.min() == 24 and x.max() == 28 and set(y) == {16}
    x, y, _, _ = events(Augment(shear=0.5)(Recordings.of(dots()), 0, 0))
    assert set(y) == {9} and x.min() < 14 and x.max() > 18


def test_turning_and_slanting_keep_areas_and_the_middle() -> None:
    """The images of the middle and of two points beside it give the matrix; scale = 0, so its determinant is 1."""
    n, size, reach = 100, 201, 90
    points = np.array([[100, 100], [100 + reach, 100], [100, 100 + reach]])
    index = np.tile(points @ [1, size], n)
    store = EventStore.from_arrays(
        index, np.tile([1, 2, 3], n), np.arange(n + 1) * 3, np.zeros(n, int), sensor=(size, size, 1), duration=9
    )
    out = Augment(rotate=180, shear=0.3)(Recordings.of(store), 0, 0)
    whole = out.stop - out.start == 3
    assert whole.sum() > 10  # others may have lost points over the edge
    at = out.index.reshape(n, 3)[whole]
    x, y = at % size, at // size
    assert (x[:, 0] == 100).all() and (y[:, 0] == 100).all()
    u, v = (x - 100)[:, 1:] / reach, (y - 100)[:, 1:] / reach
    assert np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0] - 1).max() < 0.03
    assert u[:, 0].min() < -0.8 and u[:, 0].max() > 0.8 and np.abs(v[:, 0]).max() > 0.8


def test_what_is_given_stays_as_it_is() -> None:
    """Also where the arrays have the very types that augmentation works on."""
    late = 1 << 31
    store = EventStore.from_arrays([40_000] * 50, np.arange(50) + late, [0, 50], [0], duration=late + 99)
    index, time, _ = store.arrays()
    assert index.dtype == np.int32 and time.dtype == np.int64
    Augment(shift=5, jitter=1.0, drop=0.5)(Recordings.of(store), 0, 0)
    assert (index == 40_000).all() and (time == np.arange(50) + late).all()


def test_drop_jitter_and_warp_have_their_strength() -> None:
    store = dots(4000)
    out = Augment(drop=0.25)(Recordings.of(store), 0, 0)
    assert abs((out.stop - out.start).mean() - 0.75) < 0.03
    _, _, _, time = events(Augment(jitter=2.0)(Recordings.of(store), 0, 0))
    assert abs(time.std() / 2000 - 1) < 0.05 and abs(time.mean() - 50_000) < 150
    _, _, _, time = events(Augment(time_warp=0.1)(Recordings.of(store), 0, 0))
    assert 45_000 <= time.min() < 45_200 and 54_800 < time.max() <= 55_000


def test_seed_epoch_and_recording_decide() -> None:
    whole = Recordings.of(dots())
    change = pickle.loads(pickle.dumps(Augment(shift=5, rotate=20, jitter=1.0)))
    first, again = change(whole, 1, 2), change(whole, 1, 2)
    assert np.array_equal(first.index, again.index) and np.array_equal(first.time, again.time)
    assert not np.array_equal(first.index, change(whole, 1, 3).index)
    assert not np.array_equal(first.index, change(whole, 2, 2).index)
    part = Recordings.of(dots().select([150, 7]))
    assert change(part, 1, 2).time.tolist() == first.time[[150, 7]].tolist()
    other = change(replace(whole, ids=whole.ids + 1), 1, 2)
    assert np.array_equal(other.index[:-1], first.index[1:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shift": -1}, "shift: expected a number of at least 0"),
        ({"shift": 1.5}, "shift: expected whole pixels"),
        ({"drop": 1.0}, "drop: expected less than 1"),
        ({"scale": float("nan")}, "scale: expected a number"),
        ({"scale": 1.0}, "scale: expected less than 1"),
        ({"shift": True}, "shift: expected a number of at least 0, got True"),
        ({"jitter": float("inf")}, "jitter: expected a number"),
        ({"jitter": "much"}, "jitter: expected a number"),
        ({"time_warp": 2}, "time_warp: expected less than 1"),
    ],
)
def test_bad_strengths_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augment(**arguments)


@pytest.mark.parametrize("change", [Augment(rotate=5), Augment(scale=0.1), Augment(shear=0.1)])
def test_turning_needs_a_sensor(change: Augment) -> None:
    with pytest.raises(ValueError, match="these need recordings with a sensor"):
        change(Recordings.of(random_store()), 0, 0)
