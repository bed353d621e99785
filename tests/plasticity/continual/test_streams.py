"""Streams: what the tasks hold, drawn as published, and what can't be one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spiking.datasets import DataError, EventStore, images
from spiking.plasticity.continual import Stream, streams
from spiking.plasticity.continual.examples import Batches, Mixed, Rotate, turned_channels
from tests.datasets.mnist import TEST, TRAIN, idx_files

Array = np.ndarray[Any, Any]


def squares(n: int = 40, classes: int = 4) -> tuple[Array, Array]:
    """Bytes (n, 4, 4) whose class is told by a bright row; labels go round."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    data = rng.integers(0, 60, (n, 4, 4)).astype(np.uint8)
    data[np.arange(n), labels % 4] += 120
    data[labels >= 4] += 60
    return data, labels


def narrow() -> tuple[Array, Array]:
    """The same with half of the pixels."""
    data, labels = squares()
    return data[:, :2], labels


def recordings(n: int = 24, classes: int = 4) -> EventStore:
    """A camera of 4x4 pixels; events of class c lie in row c."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    index = (labels[:, None] * 4 + rng.integers(0, 4, (n, 10))).ravel()
    time = np.sort(rng.integers(0, 20_000, (n, 10)), 1).ravel()
    return EventStore.from_arrays(index, time, np.arange(n + 1) * 10, labels, sensor=(4, 4, 1), duration=20_000)


def test_permutations_are_the_published_ones(tmp_path: Path) -> None:
    root = idx_files(tmp_path / "mnist")
    stream = streams.permuted("mnist", root=root, tasks=2, run=3)
    seen, labels = images("mnist", "train", root)
    assert (stream.inputs, stream.outputs, stream.setting) == (784, 10, "domain")
    for i, task in enumerate(stream.tasks):
        order = np.arange(784)
        np.random.RandomState(300 + i).shuffle(order)
        expected = (seen.reshape(TRAIN, 784)[:, order] / 255 - 0.1307) / 0.3081
        np.testing.assert_allclose(task.train.batch(np.arange(TRAIN)), expected, atol=1e-5)
        assert task.train.labels.tolist() == labels.tolist() and len(task.test.labels) == TEST
    # what RandomState(300) makes of 0..783 must not change with NumPy
    assert np.random.RandomState(300).permutation(784)[:4].tolist() == stream.tasks[0].train.change.order[:4].tolist()


def test_own_seed_and_order() -> None:
    a, b = (streams.permuted(squares(), tasks=3, **how) for how in ({"run": 2}, {"seed": 200}))
    for one, other in zip(a.tasks, b.tasks, strict=True):
        assert torch.equal(one.train.batch(np.arange(5)), other.train.batch(np.arange(5)))
    mixed = a.ordered(2)
    assert mixed.tasks != a.tasks and sorted(t.name for t in mixed.tasks) == sorted(t.name for t in a.tasks)
    assert mixed.describe() != a.describe() and a.describe() == streams.permuted(squares(), tasks=3, run=2).describe()


def test_outputs_that_count_go_with_their_task_in_any_order() -> None:
    """Classes of no task never count, and a task's own outputs are found at its new place."""
    stream = streams.split(squares(60, 6), classes=[[2, 3], [4, 5]], setting="task", test=squares(30, 6))
    assert stream.group is not None and stream.group.tolist() == [-1, -1, 0, 0, 1, 1]
    for seed in range(4):
        ordered = stream.ordered(seed)
        assert ordered.group is not None and ordered.group.tolist()[:2] == [-1, -1]
        for k, task in enumerate(ordered.tasks):
            assert set(ordered.group[task.train.labels].tolist()) == {k}
            allowed = ordered.allowed(task.train.labels)
            assert allowed is not None and set(allowed.sum(1).tolist()) == {2}


@pytest.mark.parametrize("valid", [0.0, 0.25])
def test_validation_is_held_out_of_training(valid: float) -> None:
    data, labels = squares()
    for stream in (streams.permuted((data, labels), tasks=2, valid=valid), streams.split((data, labels), valid=valid)):
        for task in stream.tasks:
            parts = [task.train, task.test] + ([task.valid] if task.valid is not None else [])
            assert len(parts) == (3 if valid else 2)
            seen = [{row.numpy().tobytes() for row in p.batch(np.arange(len(p.labels)))} for p in parts]
            assert all(not a & b for k, a in enumerate(seen) for b in seen[k + 1 :])


@given(st.sampled_from([2, 3]), st.sampled_from(streams.SETTINGS))
def test_split_gives_every_example_once(classes: int, setting: str) -> None:
    data, labels = squares(36, 6)
    stream = streams.split((data, labels), classes, setting, test=(data, labels))
    assert len(stream.tasks) == 6 // classes and stream.outputs == (classes if setting == "domain" else 6)
    for k, task in enumerate(stream.tasks):
        assert len(task.train.labels) == 36 // (6 // classes)
        shown = task.train.batch(np.arange(len(task.train.labels))).reshape(-1, 4, 4).numpy() * 255
        own = np.arange(k * classes, (k + 1) * classes)
        place = np.searchsorted(own, [labels[(data == picture.round()).all((1, 2))][0] for picture in shown])
        expected = place if setting == "domain" else own[place]
        assert task.train.labels.tolist() == expected.tolist()
        allowed = stream.allowed(task.train.labels)
        assert (allowed is None) == (setting != "task")
        if allowed is not None:
            assert allowed.all(0).nonzero()[:, 0].tolist() == own.tolist()
            assert allowed.sum() == allowed.shape[0] * classes


def test_rotation_turns_pictures_and_events_alike() -> None:
    picture = torch.zeros(1, 8, 8)
    picture[0, 1, 2:5] = 1.0  # above the middle
    turned = Rotate(90.0, 8, 8)(picture.view(1, -1)).view(8, 8)
    assert torch.allclose(turned, torch.rot90(picture[0]), atol=1e-5)
    channel = turned_channels((8, 8, 2), 90.0)
    at = picture[0].flatten().nonzero()[:, 0]
    assert sorted(channel[at].tolist()) == turned.flatten().round().nonzero()[:, 0].tolist()
    assert torch.equal(channel[64:], channel[:64] + 64)
    assert torch.equal(turned_channels((5, 7, 1), 0.0), torch.arange(35))
    assert (turned_channels((5, 7, 1), 45.0) < 0).any()
    stream = streams.rotated(squares(), tasks=4)
    assert [task.name for task in stream.tasks] == ["0 degrees", "45 degrees", "90 degrees", "135 degrees"]


def test_event_recordings() -> None:
    store = recordings()
    stream = streams.permuted(store, tasks=2, dt=5.0)
    order = np.arange(16)
    np.random.RandomState(1).shuffle(order)
    train, _ = store.split(hold_out=0.2)
    plain, _ = train.batch(range(4), 5.0)
    moved = stream.tasks[1].train.batch(np.arange(4))
    assert torch.equal(moved.to_dense()[:, :, torch.from_numpy(order)], plain.to_dense())
    half = streams.rotated(store, tasks=2, most=90.0).tasks[1].train.batch(np.arange(4))
    half._check()
    assert 0 < half.nnz < plain.nnz or half.nnz == plain.nnz
    split = streams.split(store, setting="class", dt=5.0)
    assert split.events and split.inputs == 16 and split.tasks[1].train.labels.unique().tolist() == [2, 3]
    mixed = Mixed(tuple(task.train for task in split.tasks))
    inputs, labels = next(iter(Batches(mixed, 8, (0, 1))))
    rows = inputs.counts().view(8, 4, 4).sum(2)
    assert rows.argmax(1).tolist() == labels.tolist() and len(labels.unique()) > 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: streams.split(squares(), 1), r"classes: task 0 has one class, \[0\]"),
        (lambda: streams.split(squares(), 3), r"classes: task 1 has one class, \[3\], of 4"),
        (lambda: streams.split(squares(), [[0, 1], [1, 2]]), "classes: expected different classes of 0 to 3"),
        (lambda: streams.split(squares(), setting="tasks"), "setting: expected one of task, domain, class, got"),
        (lambda: streams.split((squares()[0], squares()[1] * 2), [[0, 2], [3, 5]]), "task 1 .* has no sample"),
        (lambda: streams.permuted((squares()[0], squares()[1] * 0)), "task 0 .permutation 0. has one class, 0"),
        (lambda: streams.permuted(squares(), tasks=0), "tasks: expected a whole number of at least 1, got 0"),
        (lambda: streams.permuted(squares(), valid=1.0), "valid: expected a share"),
        (lambda: streams.permuted(squares(), run=-1), "run: expected a whole number, 0 to .*, got -1"),
        (lambda: streams.permuted(squares(), seed=2**32), "seed: expected a whole number, 0 to .*, got 4294967296"),
        (lambda: streams.rotated(squares(), most=math.nan), "most: expected a finite number, got nan"),
        (lambda: streams.split(squares(), 2.0), "classes: expected a whole number of at least 1, got 2.0"),
        (
            lambda: streams.permuted(squares(), test=(squares()[0], squares()[1] + 2)),
            "outputs: task 0 .permutation 0. has the label 5 in test, a head of 4 is too small",
        ),
        (lambda: Stream("none", (), 4), "tasks: expected at least one, got none"),
        (lambda: replace(streams.permuted(squares()), setting="tasks"), "setting: expected one of task, domain, class"),
        (lambda: replace(streams.permuted(squares()), setting="task"), "group: expected the task of each output for"),
        (
            lambda: Stream("two", (streams.permuted(squares()).tasks[0], streams.permuted(narrow()).tasks[0]), 4),
            "tasks: task 1 .permutation 0. has 8 inputs in train, the first task 16",
        ),
        (lambda: streams.permuted((squares()[0], [0])), r"source: expected images .* got \(40, 4, 4\) and \(1,\)"),
        (lambda: streams.permuted(3), "source: expected a name, an EventStore or .images, labels., got int"),
        (lambda: streams.permuted("emnist"), "there is no data set 'emnist'; there are digits"),
        (lambda: streams.rotated((squares()[0].reshape(40, 16), squares()[1])), "source: to be turned"),
        (lambda: streams.permuted((squares()[0], squares()[1] / 2)), "labels that are whole numbers"),
    ],
)  # fmt: skip
def test_what_is_no_stream(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        streams.permuted("fashion", root=tmp_path)
