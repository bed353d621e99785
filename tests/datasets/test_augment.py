"""Augmentation: what is asked for happens, events stay on the sensor and in time, everything else stays."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking.datasets import Augment, EventStore
from spiking.datasets.augment import Recordings
from spiking.datasets.rng import normal_table
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
        ({"blend": 1.5}, "blend: expected a probability of at most 1"),
        ({"noise": -1.0}, "noise: expected a number of at least 0"),
        ({"channel_jitter": float("inf")}, "channel_jitter: expected a number"),
    ],
)
def test_bad_strengths_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augment(**arguments)


@pytest.mark.parametrize("change", [Augment(rotate=5), Augment(scale=0.1), Augment(shear=0.1)])
def test_turning_needs_a_sensor(change: Augment) -> None:
    with pytest.raises(ValueError, match="these need recordings with a sensor"):
        change(Recordings.of(random_store()), 0, 0)


def bands(sizes: list[int], labels: list[int], seed: int = 0) -> EventStore:
    """Recordings of 700 channels and 100 ms; recording i has its events around channel 100 + 50 i and 20 + 5 i ms."""
    rng = np.random.default_rng(seed)
    index = np.concatenate([100 + 50 * i + rng.integers(-5, 6, n) for i, n in enumerate(sizes)])
    time = np.concatenate([np.sort(20_000 + 5000 * i + rng.integers(-2000, 2001, n)) for i, n in enumerate(sizes)])
    pointer = np.concatenate([[0], np.cumsum(sizes)])
    return EventStore.from_arrays(index, time, pointer, labels, channels=700, duration=100_000)


def one(recordings: Recordings, b: int) -> tuple[Any, Any]:
    """(index, time) of a recording."""
    own = slice(recordings.start[b], recordings.stop[b])
    return recordings.index[own].astype(int), recordings.time[own].astype(int)


def test_channel_jitter_has_its_strength_and_keeps_polarity() -> None:
    x, y, p, time = events(Augment(channel_jitter=2.0)(Recordings.of(dots(4000, (16, 17, 1))), 0, 0))
    assert abs(x.std() / 2 - 1) < 0.05 and abs(y.std() / 2 - 1) < 0.05 and abs(np.corrcoef(x, y)[0, 1]) < 0.05
    assert abs(x.mean() - 16) < 0.15 and abs(y.mean() - 17) < 0.15 and set(p) == {1} and set(time) == {50_000}
    x, _, _, _ = events(Augment(channel_jitter=3.0)(Recordings.of(dots(4000, (0, 17, 0))), 0, 0))
    assert x.min() == 0 and abs(len(x) / 4000 - 0.566) < 0.03  # those jittered off the sensor are gone
    store = EventStore.from_arrays([350] * 4000, [5] * 4000, [0, 4000], [0], channels=700)
    index, _ = one(Augment(channel_jitter=5.0)(Recordings.of(store), 0, 0), 0)
    assert abs(index.std() / 5 - 1) < 0.05 and abs(index.mean() - 350) < 0.3


def test_a_blend_is_half_of_each_with_their_middles_together() -> None:
    out = Augment(blend=1.0)(Recordings.of(bands([4000, 4000, 4000], [0, 1, 0])), 0, 0)
    for b in (0, 2):
        index, time = one(out, b)
        # 0 and 2 lie 100 channels and 10 ms apart, both come to lie halfway
        assert abs(len(index) - 4000) < 200 and index.min() >= 143 and index.max() <= 157
        assert abs(index.mean() - 150) < 1 and abs(time.mean() - 25_000) < 200 and np.ptp(time) < 5000
    index, time = one(out, 1)  # alone in its class
    assert len(index) == 4000 and index.min() == 145


def test_blends_are_as_frequent_as_asked_and_of_any_other_of_the_class() -> None:
    store = bands([40] * 12, [i % 2 for i in range(12)])
    whole, middles = Recordings.of(store), set()
    changed = 0
    for epoch in range(100):
        out = Augment(blend=0.25)(whole, 0, epoch)
        mean = np.array([one(out, b)[0].mean() for b in range(12)])
        moved = np.abs(mean - 100 - 50 * np.arange(12)) > 10
        changed += int(moved.sum())
        middles |= {round((m - 100) / 50) for m in mean[0:1][moved[0:1]]}
    assert abs(changed / 1200 - 0.25) < 0.05
    assert middles == {1, 2, 3, 4, 5}  # recording 0 with 2, 4, 6, 8, 10, halfway


def test_noise_comes_at_its_rate_everywhere() -> None:
    store = EventStore.from_arrays([0], [0], [0, 1], [0], channels=50, duration=2_000_000)
    index, time = one(Augment(noise=100.0)(Recordings.of(store), 0, 0), 0)
    assert abs(len(index) - 10_001) < 500 and time.max() < 2_000_000
    assert np.ptp(np.bincount(index, minlength=50)) < 110 and abs(np.histogram(time, 4)[0] / 2500 - 1).max() < 0.1
    gaps = np.diff(time[1:])
    assert abs(gaps.std() / gaps.mean() - 1) < 0.05


@settings(max_examples=40)
@given(
    st.integers(0, 6), st.floats(0, 30), st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0, 3), st.floats(0, 1),
    st.floats(0, 20), st.booleans(), st.sampled_from([0.7, 5.0]), st.booleans(), st.integers(0, 2**32),
)  # fmt: skip
def test_binned_at_once_is_binned_afterwards(
    shift: int, jitter: float, drop: float, warp: float, spread: float, blend: float, noise: float, camera: bool,
    dt: float, binary: bool, seed: int,
) -> None:  # fmt: skip
    store = random_store(n=19, events=90, channels=40, **({"sensor": (5, 4, 2)} if camera else {}))
    change = Augment(shift, 9.0 * camera, 0.1 * camera, jitter, drop, warp, 0.0, spread, blend, noise)
    whole = Recordings.of(store)
    now, later = change.bin(whole, seed, 1, dt, 12, binary), change(whole, seed, 1).bin(dt, 12, binary)
    now._check()
    assert now.shape == later.shape and now.indptr.tolist() == later.indptr.tolist()
    assert now.index.tolist() == later.index.tolist() and now.lengths.tolist() == later.lengths.tolist()
    assert (now.value is None) == (later.value is None)
    assert now.value is None or later.value is None or now.value.tolist() == later.value.tolist()


ALL = Augment(shift=3, jitter=2.0, drop=0.2, time_warp=0.1, channel_jitter=1.0, blend=0.5, noise=5.0)


def test_neither_batch_nor_threads_matter() -> None:
    store = random_store(n=30, events=200, channels=40)
    threads, batches = torch.get_num_threads(), {}
    try:
        for size, count in ((30, 1), (30, 2), (7, 2), (1, 1)):
            torch.set_num_threads(count)
            loader = store.loader(size, dt=5.0, steps=20, augment=ALL, seed=4)
            batches[size, count] = torch.cat([events.to_dense() for events, _ in loader], dim=1)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(dense, batches[30, 1]) for dense in batches.values())


def test_a_part_is_blended_within_itself() -> None:
    store = bands([50] * 8, [0] * 8)
    part = store.select([0, 1])
    for events, _ in part.loader(2, dt=5.0, steps=20, augment=Augment(blend=1.0)):
        channels = events.to_dense().sum((0, 1)).nonzero()
        assert channels.min() >= 115 and channels.max() <= 135


def test_changes_of_one_s_own() -> None:
    def backwards(recordings: Recordings, seed: int, epoch: int) -> Recordings:
        return replace(recordings, index=recordings.channels - 1 - recordings.index)

    store = random_store(n=9, channels=12)
    loader = store.loader(4, dt=5.0, steps=20, augment=backwards)
    dense = torch.cat([events.to_dense() for events, _ in loader], dim=1)
    assert torch.equal(dense.flip(2), store.batch(range(9), dt=5.0, steps=20)[0].to_dense())
    twice = ALL(ALL(Recordings.of(store), 0, 0), 0, 1)  # on what it returned itself
    twice.bin(5.0)._check()


def test_damaged_recordings_are_named() -> None:
    whole = Recordings.of(random_store(n=3))
    for wrong in (replace(whole, index=whole.index + 12), replace(whole, time=whole.time - 200_000)):
        for change in (Augment(shift=1), Augment(drop=0.5)):
            with pytest.raises(ValueError, match="recording 0 of the batch has channels outside 0 to 11 or"):
                change(wrong, 0, 0)
            with pytest.raises(ValueError, match="the file was damaged"):
                change.bin(wrong, 0, 0, 5.0)
    partner = replace(whole.pool, source=(whole.pool.source[0] + 12, *whole.pool.source[1:]), order=np.arange(3))
    partner = replace(partner, first=np.array([0, 3, 3, 3, 3]))
    with pytest.raises(ValueError, match="the file was damaged"):
        Augment(blend=1.0)(replace(whole, pool=partner, labels=np.zeros(3, np.int64)), 0, 0)


def test_the_table_of_normal_numbers() -> None:
    table = normal_table(4096)
    assert abs(float(table.mean())) < 1e-6 and abs(float(table.std()) - 1) < 1e-6 and (np.diff(table) > 0).all()
    for at, share in ((-1.0, 0.1587), (0.5, 0.6915), (2.0, 0.9772)):
        assert abs((table < at).mean() - share) < 5e-4
