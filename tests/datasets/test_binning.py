"""Binning: no event lost, invented or on the wrong side of an edge."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking.datasets import EventStore
from tests.datasets.strategies import random_store, stores


def single(times: list[int], duration: int | None = None) -> EventStore:
    return EventStore.from_arrays([0] * len(times), times, [0, len(times)], [0], channels=2, duration=duration)


@settings(max_examples=60)
@given(stores(), st.sampled_from([0.1, 0.25, 0.3, 1 / 3, 1.0, 30 / 7]), st.one_of(st.none(), st.integers(1, 40)))
def test_every_event_lies_in_its_step(store: EventStore, dt: float, steps: int | None) -> None:
    step = Fraction(dt).limit_denominator(1_000_000) * 1000
    events, labels = store.batch(range(len(store)), dt=dt, steps=steps)
    events._check()
    needed = [-(-int(d) // step) for d in store.duration]
    T = max(needed) if steps is None else steps
    assert events.shape == (T, len(store), store.channels) and events.dt == dt
    assert events.lengths.tolist() == [min(T, n) for n in needed]
    want = torch.zeros(events.shape)
    index, time, indptr = store.arrays()
    for b in range(len(store)):
        for i in range(indptr[b], indptr[b + 1]):
            if int(time[i]) // step < T:
                want[int(time[i]) // step, b, int(index[i])] += 1
    assert torch.equal(events.to_dense(), want)
    assert (events.value is None) == bool((want <= 1).all())
    assert torch.equal(labels, store.labels)
    channels = [row.tolist() for row in torch.tensor_split(events.index, events.indptr[1:-1])]
    assert all(row == sorted(set(row)) for row in channels)
    binary, _ = store.batch(range(len(store)), dt=dt, steps=steps, binary=True)
    assert binary.value is None and torch.equal(binary.to_dense(), (want > 0).float())


def test_nothing_lost_when_the_horizon_covers_the_recordings() -> None:
    store = random_store(n=30, events=300)
    for dt in (0.1, 0.7, 5.0):
        events, _ = store.batch(range(30), dt=dt)
        value = events.nnz if events.value is None else int(events.value.sum())
        assert value == len(store.arrays()[0])


@pytest.mark.parametrize(
    ("dt", "time", "step"),
    [
        (0.3, 899, 2),
        (0.3, 900, 3),  # 900 / 300.00000000000006
        (0.049, 49, 1),  # 49 * (1 / 49) is below 1
        (695198531.826087, 15989566232000, 22),  # the product is 23, edge 23 lies 0.001 us later
    ],
)
def test_edges_are_exact_where_floating_numbers_are_not(dt: float, time: int, step: int) -> None:
    events, _ = single([time]).batch([0], dt=dt)
    assert events.rows().tolist() == [step]


@pytest.mark.parametrize("dt", [0.1, 0.049, 0.3, 1 / 3, 1.0, 30 / 7])
def test_events_beside_an_edge_lie_on_their_side(dt: float) -> None:
    step = Fraction(dt).limit_denominator(1_000_000) * 1000
    first = [math.ceil(k * step) for k in range(1, 60)]
    times = sorted({*first, *(t - 1 for t in first)})
    events, _ = single(times).batch([0], dt=dt)
    assert events.to_dense()[:, 0, 0].tolist() == np.bincount([int(t // step) for t in times]).tolist()


def test_the_event_at_zero_and_the_one_at_the_horizon() -> None:
    events, _ = single([0, 999, 1000, 4999, 5000], duration=10_000).batch([0], dt=1.0, steps=5)
    assert events.to_dense()[:, 0, 0].tolist() == [2, 1, 0, 0, 1]
    assert events.lengths.tolist() == [5]


def test_times_beyond_32_bits() -> None:
    late = 5_000_000_000
    store = single([10, late], duration=late + 1)
    events, _ = store.batch([0], dt=1_000_000.0)
    assert events.rows().tolist() == [0, 5]


def test_threads_do_not_matter() -> None:
    store = random_store(n=50, events=500)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one, _ = store.batch(range(50), dt=3.0)
        torch.set_num_threads(2)
        two, _ = store.batch(range(50), dt=3.0)
    finally:
        torch.set_num_threads(threads)
    assert one.value is not None and two.value is not None
    assert torch.equal(one.index, two.index) and torch.equal(one.indptr, two.indptr)
    assert torch.equal(one.value, two.value)


def test_counts_are_the_batch_summed() -> None:
    store = random_store(n=9)
    events, _ = store.batch(range(9), dt=20.0, steps=5)
    dense = events.to_dense().permute(1, 0, 2).reshape(9, -1).numpy()
    assert np.array_equal(store.counts(bins=5), dense)
    assert np.array_equal(store.counts(), events.counts().numpy())


@settings(max_examples=40)
@given(stores(), st.integers(1, 4), st.sampled_from([None, 0.5, 1.0, 1.003]))
def test_counts_lie_in_equal_parts(store: EventStore, bins: int, horizon: float | None) -> None:
    end = int(store.duration.max()) if horizon is None else round(horizon * 1000)
    index, time, indptr = store.arrays()
    want = np.zeros((len(store), bins, store.channels))
    for b in range(len(store)):
        for i in range(indptr[b], indptr[b + 1]):
            part = int(time[i]) * bins // end
            if part < bins:
                want[b, part, index[i]] += 1
    want = want.reshape(len(store), -1)
    assert np.array_equal(store.counts(bins, horizon), want)
    # a view has the parts of the whole store, however long its own recordings are
    assert np.array_equal(store.select(slice(None, None, 2)).counts(bins, horizon), want[::2])


def test_a_store_without_recordings_has_no_counts() -> None:
    assert EventStore.from_arrays([], [], [0], [], channels=3).counts(2).shape == (0, 6)


@pytest.mark.parametrize(("array", "content"), [("index", 12), ("index", -1), ("time", -1)])
def test_damaged_recordings_are_refused(array: str, content: int) -> None:
    """Content that changed after it was checked, as on a failing disk, is no place to write to."""
    store = random_store(n=9)
    getattr(store, f"_{array}")[-1] = content
    with pytest.raises(ValueError, match="index, time: recording 8 of the batch has channels outside 0 to 11 or times"):
        store.batch(range(9))
    with pytest.raises(ValueError, match="index, time: recording 1 of the batch has channels outside 0 to 11 or times"):
        store.select([0, 8]).counts()
    store.batch(range(8))


def test_no_recordings_make_an_empty_batch() -> None:
    events, labels = random_store().batch([], dt=5.0, steps=4)
    assert events.shape == (4, 0, 12) and not len(labels)


@pytest.mark.parametrize("dt", [0, -1.0, float("nan"), float("inf"), "5", None, True])
def test_dt_must_be_a_step(dt: float) -> None:
    with pytest.raises(ValueError, match="dt: expected"):
        random_store().batch([0], dt=dt)


@pytest.mark.parametrize("steps", [0, -3, 2.5, True])
def test_steps_must_be_a_number_of_steps(steps: int) -> None:
    with pytest.raises(ValueError, match="steps: expected"):
        random_store().batch([0], steps=steps)


@pytest.mark.parametrize("bins", [0, 2.5, True])
def test_counts_need_bins(bins: int) -> None:
    with pytest.raises(ValueError, match="bins: expected"):
        random_store().counts(bins=bins)


@pytest.mark.parametrize("horizon", [-1.0, 0.0, 1e-9, float("nan"), float("inf")])
def test_counts_need_a_horizon(horizon: float) -> None:
    with pytest.raises(ValueError, match="horizon: expected"):
        random_store().counts(horizon=horizon)
