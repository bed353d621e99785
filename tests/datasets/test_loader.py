"""Loader: order, exact resumption, and the same batches however many processes share them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking.datasets import Augment, Loader
from tests.datasets.strategies import random_store


def seen(batches: Iterator[Any]) -> list[list[int]]:
    """The recordings of each batch, recognised by their labels; one of no steps is none."""
    return [labels[events.lengths > 0].tolist() for events, labels in batches]


def numbered(**arguments: Any) -> Loader:
    """A loader whose labels are the recordings' positions."""
    store = random_store(n=23, classes=23)
    return Loader(store, **arguments)


def test_epochs_differ_and_depend_on_seed_and_epoch_only() -> None:
    loader = numbered(batch_size=5, shuffle=True, seed=3)
    first, second = seen(iter(loader)), seen(iter(loader))
    assert len(loader) == 5 and [len(b) for b in first] == [5, 5, 5, 5, 3]
    assert first != second and sorted(chain(*first)) == sorted(chain(*second)) == list(range(23))
    again = numbered(batch_size=5, shuffle=True, seed=3)
    again.set_epoch(1)
    assert seen(iter(again)) == second
    assert seen(iter(numbered(batch_size=5, shuffle=True, seed=4))) != first
    assert list(chain(*seen(iter(numbered(batch_size=5))))) == list(range(23))
    assert [len(b) for b in seen(iter(numbered(batch_size=5, drop_last=True)))] == [5, 5, 5, 5]


@settings(max_examples=15)
@given(st.integers(1, 9), st.integers(0, 20), st.booleans())
def test_resumption_is_exact(batch_size: int, done: int, augment: bool) -> None:
    arguments: dict[str, Any] = {"batch_size": batch_size, "shuffle": True, "seed": 1, "dt": 10.0, "steps": 10}
    arguments["augment"] = Augment(drop=0.3, jitter=1.0) if augment else None
    loader = numbered(**arguments)
    flow = (batch for _ in range(30) for batch in loader)
    for _ in islice(flow, done):
        pass
    state = pickle.loads(pickle.dumps(loader.state_dict()))
    resumed = numbered(**arguments)
    resumed.load_state_dict(state)
    rest = (batch for _ in range(30) for batch in resumed)
    for (a, y), (b, z) in islice(zip(flow, rest, strict=False), len(loader) + 2):
        assert torch.equal(y, z) and torch.equal(a.to_dense(), b.to_dense())


def test_a_loop_left_early_ends_its_epoch() -> None:
    loader = numbered(batch_size=5, shuffle=True)
    next(iter(loader))
    want = numbered(batch_size=5, shuffle=True)
    want.set_epoch(1)
    assert seen(iter(loader)) == seen(iter(want))


def test_set_epoch_keeps_the_place_in_a_resumed_epoch() -> None:
    loader = numbered(batch_size=5, shuffle=True)
    whole = seen(iter(loader))
    resumed = numbered(batch_size=5, shuffle=True)
    resumed.load_state_dict({"epoch": 0, "position": 2})
    resumed.set_epoch(0)
    assert seen(iter(resumed)) == whole[2:]


@settings(max_examples=40)
@given(st.integers(1, 23), st.integers(1, 4), st.integers(1, 6), st.booleans())
def test_processes_share_every_batch(n: int, world: int, batch: int, drop_last: bool) -> None:
    store = random_store(n=n, classes=n)
    one = Loader(store, batch * world, shuffle=True, drop_last=drop_last)
    shares = [Loader(store, batch, shuffle=True, drop_last=drop_last, rank=rank, world=world) for rank in range(world)]
    together = [seen(iter(share)) for share in shares]
    assert {len(share) for share in together} == {len(one)} == {len(share) for share in shares}
    for whole, parts in zip(seen(iter(one)), zip(*together, strict=True), strict=True):
        assert list(chain(*parts)) == whole


@pytest.mark.parametrize("steps", [None, 7])
@pytest.mark.parametrize("augment", [None, Augment(drop=0.1)])
def test_a_process_without_a_recording_gets_one_of_no_steps(steps: int | None, augment: Augment | None) -> None:
    store = random_store(n=5, classes=5)
    first, second = (
        list(Loader(store, 2, 5.0, steps, augment=augment, rank=rank, world=2))[-1] for rank in range(2)
    )
    assert first[1].tolist() == [4] and first[0].lengths.min() > 0
    events, labels = second
    assert events.shape == (steps or 1, 1, store.channels) and events.sensor == store.sensor and events.dt == 5.0
    assert events.lengths.tolist() == [0] and events.nnz == 0 and labels.tolist() == [0]


def test_the_rank_comes_from_torch_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = numbered(batch_size=5)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert len(loader) == 3 and seen(iter(loader))[0] == [5, 6, 7, 8, 9]


def test_a_recording_is_augmented_alike_in_any_batch() -> None:
    store = random_store(n=20)
    change = Augment(shift=2, drop=0.2, jitter=0.5, time_warp=0.1)
    small = list(store.loader(1, dt=10.0, steps=10, augment=change, seed=5))
    ((large, _),) = store.loader(20, dt=10.0, steps=10, augment=change, seed=5)
    assert torch.equal(torch.cat([events.to_dense() for events, _ in small], 1), large.to_dense())
    plain, _ = store.batch(range(20), dt=10.0, steps=10)
    assert not torch.equal(plain.to_dense(), large.to_dense())


def test_a_store_hands_everything_to_its_loader() -> None:
    store, change = random_store(), Augment(shift=1)
    more = {"shuffle": True, "seed": 5, "augment": change, "binary": True, "drop_last": True, "device": "cpu"}
    assert vars(store.loader(4, 2.0, 7, **more)) == vars(Loader(store, 4, 2.0, 7, **more))


@pytest.mark.parametrize("augment", [None, Augment(drop=0.1)])
def test_batches_are_binary_and_lie_where_asked(augment: Augment | None) -> None:
    store = random_store(events=300)
    for binary in (False, True):
        ((events, _),) = store.loader(20, dt=50.0, augment=augment, binary=binary)
        assert (events.value is None) is binary
    ((events, labels),) = store.loader(20, augment=augment, device="meta")
    assert events.index.is_meta and labels.is_meta


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected"),
        ({"batch_size": 2.5}, "batch_size: expected"),
        ({"batch_size": True}, "batch_size: expected"),
        ({"batch_size": 4, "dt": 0.0}, "dt: expected"),
        ({"batch_size": 4, "rank": 2, "world": 2}, "rank: expected"),
        ({"batch_size": 4, "rank": 1}, "rank: expected"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        numbered(**arguments)


def test_a_store_s_loader_takes_what_loader_takes() -> None:
    store = random_store(n=7)
    options: dict[str, Any] = {
        "shuffle": True, "seed": 3, "augment": Augment(drop=0.1), "binary": True, "drop_last": True, "device": "cpu",
        "rank": 1, "world": 2,
    }  # fmt: skip
    assert vars(store.loader(2, 4.0, 9, **options)) == vars(Loader(store, 2, 4.0, 9, **options))
    with pytest.raises(TypeError, match="suffle"):
        store.loader(2, suffle=True)


def test_a_store_without_recordings_is_refused() -> None:
    with pytest.raises(ValueError, match="store: expected recordings"):
        random_store().select([]).loader(4)
