"""EventStore: what goes in is checked, what comes out is what went in, and files are whole or absent."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking.datasets import DataError, EventStore
from tests.datasets.strategies import random_store, stores


def same(a: EventStore, b: EventStore) -> bool:
    arrays = all(np.array_equal(x, y) for x, y in zip(a.arrays(), b.arrays(), strict=True))
    facts = (a.sensor, a.channels, a.classes) == (b.sensor, b.channels, b.classes)
    columns = a.metadata.keys() == b.metadata.keys()
    columns = columns and all(np.array_equal(a.metadata[k], b.metadata[k]) for k in a.metadata)
    return arrays and facts and columns and torch.equal(a.labels, b.labels) and np.array_equal(a.duration, b.duration)


@settings(max_examples=25)
@given(store=stores())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, store: EventStore) -> None:
    folder = tmp_path_factory.mktemp("store")
    store.save(folder / "s.h5")
    opened = EventStore.open(folder / "s.h5", verify=True)
    assert same(store, opened)
    assert os.listdir(folder) == ["s.h5"]


def test_a_view_is_saved_as_a_store_of_its_own(tmp_path: Path) -> None:
    store = random_store(sensor=(3, 2, 2), name=[f"größe {i}" for i in range(20)])
    view = store.select([7, 3, 11])
    view.save(tmp_path / "v.h5")
    opened = EventStore.open(tmp_path / "v.h5", verify=True)
    assert same(view, opened) and opened.name(1) == "recording 'größe 3'"
    assert opened.sensor == (3, 2, 2) and opened.batch([1])[0].sensor == (3, 2, 2)


def test_open_maps_memory_and_the_file_stays_as_it_is(tmp_path: Path) -> None:
    random_store().save(tmp_path / "s.h5")
    opened = EventStore.open(tmp_path / "s.h5")
    assert isinstance(opened._time.base, np.memmap)
    opened._time[:] = 0
    EventStore.open(tmp_path / "s.h5", verify=True)


def test_views_share_memory() -> None:
    store = random_store()
    rest, held = store.split(by="speaker", hold_out=[3])
    assert np.shares_memory(held._index, store._index)
    assert set(held.metadata["speaker"]) == {3} and 3 not in rest.metadata["speaker"]
    assert torch.equal(held.labels, store.labels[held.ids])
    again = held.select([1])
    assert again.ids.tolist() == [held.ids[1]]
    want, _ = store.batch([int(again.ids[0])])
    assert torch.equal(again.batch([0])[0].to_dense(), want.to_dense())


@given(stores(), st.data())
def test_a_view_is_its_recordings(store: EventStore, data: Any) -> None:
    at = data.draw(st.lists(st.integers(0, len(store) - 1), max_size=5))
    view = store.select(at)
    index, time, indptr = view.arrays()
    assert len(view) == len(at) and indptr[0] == 0 and indptr[-1] == len(index) == len(time)
    for k, i in enumerate(at):
        one = store.select([i]).arrays()
        whole = slice(indptr[k], indptr[k + 1])
        assert index[whole].tolist() == one[0].tolist() and time[whole].tolist() == one[1].tolist()
        assert view.name(k) == store.name(i) == f"recording 'r{i}'" and view.duration[k] == store.duration[i]
    edge = st.one_of(st.none(), st.integers(-7, 7))
    cut = slice(data.draw(edge), data.draw(edge), data.draw(st.sampled_from([None, 1, 2, -1])))
    assert store.select(cut).ids.tolist() == list(range(len(store)))[cut]


def test_a_view_speaks_of_its_own_recordings() -> None:
    store = EventStore.from_arrays([0, 0, 0], [1, 1, 1], [0, 1, 3], [0, 1], channels=2)
    assert repr(store.select([1])) == "EventStore(1 recordings, 2 classes, 2 channels, 2 events)"
    assert store.select([1]).name(0) == "recording 1"


@pytest.mark.parametrize("name", ["index", "time", "indptr", "label", "duration", "classes", "metadata/speaker"])
def test_a_flipped_byte_is_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / "s.h5"
    random_store().save(path)
    with h5py.File(path) as file:
        at = file[name].id.get_offset()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="does not match its checksum"):
        EventStore.open(path, verify=True)


def test_files_that_are_no_stores(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    with pytest.raises(DataError, match="no such file"):
        EventStore.open(path)
    path.write_text("no HDF5")
    with pytest.raises(DataError, match="not a readable event store"):
        EventStore.open(path)
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(DataError, match="not an event store"):
        EventStore.open(path)
    random_store().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a readable event store"):
        EventStore.open(path)
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        file.attrs["version"] = 99
    with pytest.raises(DataError, match="format version 99"):
        EventStore.open(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("indptr", lambda a: a[:-1]),
        ("indptr", lambda a: a + 1),
        ("indptr", lambda a: np.where(np.arange(len(a)) == 3, 10**6, a)),
        ("index", lambda a: a[:-1]),
        ("index", lambda a: a.astype(np.float32)),
        ("time", lambda a: a[:-1]),
        ("label", lambda a: a - 1),
        ("label", lambda a: a + 1),
        ("duration", lambda a: a[:-1]),
        ("duration", lambda a: a * 0),
        ("metadata/speaker", lambda a: a[:-1]),
    ],
)
def test_arrays_that_do_not_fit_together(tmp_path: Path, name: str, change: Callable[[Any], Any]) -> None:
    path = tmp_path / "s.h5"
    random_store().save(path)
    with h5py.File(path, "a") as file:
        array = change(file[name][...])
        del file[name]
        file[name] = array
    with pytest.raises(DataError, match=r"s.h5: its (arrays|numbers) do not fit together; build it again"):
        EventStore.open(path)


def die(arrays: Any) -> str:
    """End this process at once, in place of the checksum: all arrays are written by then."""
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 warns of a fork beside threads
def test_a_killed_writer_leaves_no_store_and_its_rest_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.h5"
    with monkeypatch.context() as patch:
        patch.setattr("spiking.datasets.storage.checksum", die)
        writer = multiprocessing.get_context("fork").Process(target=random_store().save, args=(path,))
        writer.start()
        writer.join()
    assert writer.exitcode == -signal.SIGKILL
    assert not path.exists() and len(os.listdir(tmp_path)) == 1
    random_store().save(path)
    assert os.listdir(tmp_path) == ["s.h5"]
    EventStore.open(path, verify=True)


def test_an_interrupted_writer_leaves_the_old_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.h5"
    random_store(seed=1).save(path)

    def interrupt(arrays: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("spiking.datasets.storage.checksum", interrupt)
        with pytest.raises(KeyboardInterrupt):
            random_store(seed=2).save(path)
    assert os.listdir(tmp_path) == ["s.h5"] and same(EventStore.open(path, verify=True), random_store(seed=1))


def test_a_full_disk_and_an_unwritable_folder_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="can't write here"):
        random_store().save(tmp_path / "file" / "s.h5")
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    with pytest.raises(DataError, match="are needed, 0 MB are free"):
        random_store().save(tmp_path / "s.h5")
    assert os.listdir(tmp_path) == ["file"]


GOOD: dict[str, Any] = {
    "index": [0, 5, 2], "time_us": [10, 20, 5], "indptr": [0, 2, 3], "labels": [0, 1],
    "sensor": (3, 2, 1), "name": ["one", "two"],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": [0, 5, 6]}, r"recording 'two': channel 6 is outside the sensor \(3, 2, 1\)"),
        ({"index": [-1, 5, 2]}, "recording 'one': channel -1 is below 0"),
        ({"index": [0.0, float("nan"), 2.0]}, "recording 'one': index contains nan"),
        ({"index": [0, 5, 2.5]}, "recording 'two': index is 2.5, not a whole number"),
        ({"index": [0, 5]}, "indptr: speaks of 3 events, index has 2, time_us 3"),
        ({"index": ["a", "b", "c"]}, "index: expected whole numbers"),
        ({"index": [[0, 5, 2]]}, "index: expected one dimension"),
        ({"index": [[0], 5, 2]}, "index: expected an array"),
        ({"index": np.array([0, 5, 2**63], np.uint64)}, "recording 'two': index is 9223372036854775808, beyond 9e"),
        ({"time_us": [10, 1e300, 5]}, r"recording 'one': time_us is 1e\+300, beyond 9e"),
        ({"indptr": [0, 0.5, 3]}, "indptr: entry 1 is 0.5, not a whole number"),
        ({"time_us": [20, 10, 5]}, "recording 'one': times run backwards, 20 us and then 10 us"),
        ({"time_us": [10, 20, -1]}, "recording 'two': time -1 us is below 0"),
        ({"time_us": [10, 20, float("nan")]}, "recording 'two': time_us contains nan"),
        ({"time_us": [10, 20, float("inf")]}, "recording 'two': time_us contains inf"),
        ({"indptr": [0, 3, 3], "time_us": [1, 2, 3]}, "recording 'two': no events"),
        ({"indptr": [0, 3, 2]}, "indptr: expected a rising sequence"),
        ({"indptr": [1, 2, 3]}, "indptr: expected a rising sequence"),
        ({"indptr": []}, "indptr: expected a rising sequence"),
        ({"labels": [0]}, r"labels: expected \(2,\)"),
        ({"labels": [0, 0.5]}, "recording 'two': labels is 0.5, not a whole number"),
        ({"labels": [0, 1 << 16]}, "recording 'two': label 65536, more than 65536 classes"),
        ({"classes": 2}, "classes: expected a list of names, got 2"),
        ({"labels": [0, -1]}, "recording 'two': label -1 is below 0"),
        ({"labels": [0, 2], "classes": ["a", "b"]}, "recording 'two': label 2, but there are 2 classes"),
        ({"labels": ["a", "c"], "classes": ["a", "b"]}, "recording 'two': label 'c' is not among the classes"),
        ({"sensor": (3, 2)}, "sensor: expected"),
        ({"sensor": (3, 2, 1.5)}, "sensor: expected"),
        ({"sensor": 6}, "sensor: expected"),
        ({"channels": 7}, r"channels: sensor \(3, 2, 1\) has 6, got 7"),
        ({"sensor": None, "channels": 6.5}, "channels: expected a whole number"),
        ({"sensor": None, "channels": float("nan")}, "channels: expected a whole number"),
        ({"sensor": None, "channels": 1 << 31}, "channels: expected a whole number"),
        ({"sensor": None, "channels": 5}, "recording 'one': channel 5 is outside 0 to 4"),
        ({"duration": 20}, "recording 'one': an event at 20 us, a duration of 20 us"),
        ({"duration": [21, float("nan")]}, "duration: contains NaN"),
        ({"duration": [21, 1e300]}, "duration: expected numbers up to 9e"),
        ({"duration": ["21", "21"]}, "duration: expected numbers"),
        ({"duration": [30, 30, 30]}, r"duration: expected one number or \(2,\)"),
        ({"speaker": [1]}, "speaker: expected a column of 2"),
        ({"speaker": [1j, 2j]}, "speaker: expected numbers or text"),
    ],
)
def test_bad_arrays_are_named(change: dict[str, Any], message: str) -> None:
    EventStore.from_arrays(**GOOD)
    with pytest.raises(DataError, match=message):
        EventStore.from_arrays(**(GOOD | change))


def test_a_duration_holds_its_events_and_lasts() -> None:
    assert EventStore.from_arrays(**GOOD, duration=20.5).duration.tolist() == [21, 21]  # the event at 20 us lies in it
    with pytest.raises(DataError, match="recording 1: a duration of 0 us"):
        EventStore.from_arrays([1], [4], [0, 1, 1], [0, 1], duration=[5, 0])


def test_types_hold_what_they_must() -> None:
    """Channels take 16 bits as long as they fit, and times 32."""
    for channels, kind in ((1 << 15, np.int16), ((1 << 15) + 1, np.int32)):
        index, _, _ = EventStore.from_arrays([channels - 1], [0], [0, 1], [0]).arrays()
        assert index.dtype == kind and index.tolist() == [channels - 1]
    for last, kind in (((1 << 31) - 2, np.int32), ((1 << 31) - 1, np.int64)):
        _, time, _ = EventStore.from_arrays([0], [last], [0, 1], [0]).arrays()
        assert time.dtype == kind and time.tolist() == [last]


def test_columns_of_objects_become_text() -> None:
    labels, words = np.array(["no", "yes"], object), np.array(["a", 1], object)
    store = EventStore.from_arrays([0, 0], [1, 1], [0, 1, 2], labels, word=words)
    assert store.classes == ("no", "yes") and store.metadata["word"].tolist() == ["a", "1"]


def test_a_recording_without_events_is_fine_when_its_duration_is_known() -> None:
    store = EventStore.from_arrays([1], [4], [0, 0, 1], [0, 1], channels=2, duration=2000)
    events, _ = store.batch([0, 1], dt=1.0)
    assert events.lengths.tolist() == [2, 2] and events.to_dense()[:, 0].sum() == 0


def test_the_rate_is_events_per_second_and_channel() -> None:
    store = EventStore.from_arrays([0, 1, 1], [4, 5, 6], [0, 3, 3], [0, 1], channels=3, duration=[1_500_000, 500_000])
    assert store.rate == pytest.approx(3 / (2.0 * 3)) and isinstance(store.rate, float)
    assert store.select([0]).rate == pytest.approx(3 / (1.5 * 3))
    assert store.select([1]).rate == store.select([]).rate == 0.0


def test_text_labels_become_classes() -> None:
    store = EventStore.from_arrays([0, 0], [1, 1], [0, 1, 2], ["no", "yes"], channels=1)
    assert store.classes == ("no", "yes") and store.labels.tolist() == [0, 1]


@pytest.mark.parametrize("indices", [[20], [-1], [0.5], [[0]], [True] * 3])
def test_positions_outside_the_store(indices: Any) -> None:
    with pytest.raises(IndexError, match="indices: expected"):
        random_store(n=20).select(indices)


@settings(max_examples=40)
@given(st.integers(4, 60), st.integers(2, 4), st.integers(0, 5))
def test_folds_are_disjoint_and_stratified(n: int, k: int, seed: int) -> None:
    store = random_store(n=n, events=3)
    folds = store.folds(k, seed)
    tests = np.concatenate([test.ids for _, test in folds])
    assert sorted(tests) == list(range(n))
    for train, test in folds:
        assert not set(train.ids) & set(test.ids) and len(train) + len(test) == n
    per_class = np.array([np.bincount(test.labels.numpy(), minlength=4) for _, test in folds])
    assert (per_class.max(0) - per_class.min(0)).max() <= 1
    assert all(np.array_equal(a[1].ids, b[1].ids) for a, b in zip(folds, store.folds(k, seed), strict=True))


def test_the_seed_draws_what_is_held_out() -> None:
    store = random_store(n=40)
    assert len({tuple(store.folds(4, seed)[0][1].ids) for seed in range(5)}) > 1
    held = [store.split(by="speaker", hold_out=2, seed=seed)[1].metadata["speaker"] for seed in range(9)]
    assert len({tuple(np.unique(speakers)) for speakers in held}) > 1


def test_a_share_is_rounded_and_leaves_none_empty() -> None:
    store = random_store(n=20)
    assert [len(store.split(hold_out=share)[1]) for share in (0.33, 0.38, 0.001, 0.999)] == [7, 8, 1, 19]


@settings(max_examples=40)
@given(st.one_of(st.integers(1, 4), st.floats(0.05, 0.95), st.lists(st.integers(0, 4), min_size=1, max_size=4)))
def test_a_column_is_never_divided(hold_out: Any) -> None:
    rest, held = random_store(n=20).split(by="speaker", hold_out=hold_out, seed=1)
    speakers, others = set(held.metadata["speaker"]), set(rest.metadata["speaker"])
    assert speakers and others and not speakers & others and len(rest) + len(held) == 20
    if isinstance(hold_out, int):
        assert len(speakers) == hold_out
    if isinstance(hold_out, list):
        assert speakers == set(hold_out)


def test_split_by_recording_is_stratified() -> None:
    store = random_store(n=40)
    rest, held = store.split(hold_out=0.25)
    assert len(held) == 10
    assert np.ptp(np.bincount(held.labels)) <= 1 and sorted([*rest.ids, *held.ids]) == list(range(40))
    assert store.split(hold_out=0.25, seed=1)[1].ids.tolist() != held.ids.tolist()
    assert len(store.split(hold_out=7)[1]) == 7
    assert store.split(hold_out=[1, 5])[1].ids.tolist() == [1, 5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "writer"}, r"by: expected None or one of the columns \['speaker'\], got 'writer'"),
        ({"by": "speaker", "hold_out": 5}, "hold_out: expected 1 to 4 of 5 distinct values"),
        ({"by": "speaker", "hold_out": [9]}, "hold_out: expected values of column 'speaker'"),
        ({"by": "speaker", "hold_out": [0, 1, 2, 3, 4]}, "nothing is left to train on"),
        ({"by": "speaker", "hold_out": 1.5}, "hold_out: expected a share"),
        ({"hold_out": 0}, "hold_out: expected 1 to 19"),
        ({"hold_out": [25]}, "hold_out: expected positions 0 to 19"),
        ({"hold_out": [0.5]}, "hold_out: expected positions 0 to 19"),
        ({"hold_out": []}, "hold_out: expected positions 0 to 19"),
        ({"hold_out": list(range(-9, 0))}, r"got -9, -8, -7, -6, -5, -4, -3, \.\.\. \(9\)"),
        ({"by": "speaker", "hold_out": []}, "hold_out: expected values of column 'speaker'"),
        ({"hold_out": "all"}, "hold_out: expected a number"),
        ({"hold_out": True}, "hold_out: expected a number"),
    ],
)
def test_splits_that_cannot_be(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        random_store(n=20).split(**arguments)


@pytest.mark.parametrize("k", [1, 21, 2.5, True])
def test_folds_that_cannot_be(k: int) -> None:
    with pytest.raises(ValueError, match="k: expected 2 to 20 folds"):
        random_store(n=20).folds(k)
