"""Events against the dense tensors they stand for."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking import Events

sizes = st.tuples(st.integers(0, 7), st.integers(0, 5), st.integers(1, 9))


@st.composite
def batches(draw: Any, shape: Any = sizes) -> tuple[Events, Tensor]:
    """Events and their dense form: binary or counts with signs, with or without lengths."""
    T, B, N = draw(shape) if not isinstance(shape, tuple) else shape
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dense = torch.from_numpy(rng.integers(-2, 3, (T, B, N)) * (rng.random((T, B, N)) < draw(st.floats(0, 1)))).float()
    if draw(st.booleans()):
        dense = (dense != 0).float()
    lengths = torch.from_numpy(rng.integers(0, T + 1, B)) if draw(st.booleans()) else None
    x = Events.from_dense(dense, dt=2.5, lengths=lengths, sensor=(1, N, 1))
    if lengths is not None:
        dense = dense * (torch.arange(T)[:, None] < lengths[None]).float()[:, :, None]
    return x, dense


def same(x: Events, dense: Tensor) -> None:
    x._check()
    assert x.shape == tuple(dense.shape) and x.dt == 2.5 and x.sensor == (1, dense.shape[2], 1)
    assert torch.equal(x.to_dense(), dense)


@given(batches())
def test_round_trip(batch: tuple[Events, Tensor]) -> None:
    x, dense = batch
    same(x, dense)
    assert torch.equal(x.to_dense(torch.bool), dense != 0)
    assert x.nnz == int((dense != 0).sum())
    assert (x.value is None) == bool((dense[dense != 0] == 1).all())
    again = Events.from_dense(x.to_dense(), 5.0, x.lengths)
    assert torch.equal(again.indptr, x.indptr) and torch.equal(again.index, x.index)


@given(batches())
def test_counts_and_density(batch: tuple[Events, Tensor]) -> None:
    x, dense = batch
    assert torch.equal(x.counts(), dense.sum(0))
    cells = int(x.lengths.sum()) * x.shape[2]
    assert x.density == (pytest.approx(x.nnz / cells) if cells else 0.0)
    assert int(x.valid().sum()) == int(x.lengths.sum())


@given(batches(), st.data())
def test_slices(batch: tuple[Events, Tensor], data: Any) -> None:
    x, dense = batch
    edge = st.one_of(st.none(), st.integers(-9, 9))
    cut = slice(data.draw(edge), data.draw(edge))
    same(x[cut], dense[cut])
    start, stop, _ = cut.indices(x.shape[0])
    assert torch.equal(x[cut].lengths, (x.lengths - start).clamp(0, max(0, stop - start)))


@given(batches(), st.data())
def test_picking_samples(batch: tuple[Events, Tensor], data: Any) -> None:
    x, dense = batch
    B = x.shape[1]
    chosen = data.draw(st.lists(st.integers(-B, B - 1), max_size=6)) if B else []
    same(x[:, chosen], dense[:, chosen])
    assert torch.equal(x[:, chosen].lengths, x.lengths[chosen])
    mask = torch.tensor([data.draw(st.booleans()) for _ in range(B)], dtype=torch.bool)
    same(x[:, mask], dense[:, mask])
    same(x[:, ::2], dense[:, ::2])


@given(batches(), st.integers(0, 7))
def test_time_joins_what_slicing_cut(batch: tuple[Events, Tensor], cut: int) -> None:
    x, dense = batch
    joined = Events.cat([x[:cut], x[cut:]], dim="time")
    same(joined, dense)
    assert torch.equal(joined.lengths, x.lengths)


@given(st.data())
def test_batches_join(data: Any) -> None:
    N = data.draw(st.integers(1, 6))
    parts = [
        data.draw(batches((data.draw(st.integers(0, 6)), data.draw(st.integers(0, 4)), N)))
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    T = max(dense.shape[0] for _, dense in parts)
    joined = Events.cat([x for x, _ in parts])
    same(joined, torch.cat([torch.cat([d, d.new_zeros(T - d.shape[0], *d.shape[1:])]) for _, d in parts], dim=1))
    assert torch.equal(joined.lengths, torch.cat([x.lengths for x, _ in parts]))


@settings(max_examples=20)
@given(batches())
def test_moving_keeps_everything(batch: tuple[Events, Tensor]) -> None:
    x, dense = batch
    moved = x.to("cpu")
    same(moved, dense)
    assert torch.equal(moved.lengths, x.lengths)
    away = x.to("meta")
    arrays = [away.indptr, away.index, away.lengths, *([] if away.value is None else [away.value])]
    assert all(array.is_meta for array in arrays) and (away.value is None) == (x.value is None)


def test_events_carry_no_gradient() -> None:
    x = Events.from_dense(torch.tensor([[[0.0, 2.0]]], requires_grad=True), 5.0)
    assert x.value is not None and not x.value.requires_grad


def test_events_that_share_a_cell_add_up() -> None:
    x = Events(torch.tensor([0, 3]), torch.tensor([1, 1, 0]), (1, 1, 2), 1.0)
    assert x.to_dense().tolist() == [[[1.0, 2.0]]]
    assert x.to_dense(torch.bool).tolist() == [[[True, True]]]


def test_the_lines_of_the_api() -> None:
    x = Events.from_dense(torch.rand(100, 32, 700) < 0.015, dt=5.0)
    assert x.shape == (100, 32, 700) and x.dt == 5.0 and x.lengths.tolist() == [100] * 32
    assert 0.014 < x.density < 0.016 and x.value is None
    assert x[10:20].shape == (10, 32, 700) and x[:, [0, 5]].shape == (100, 2, 700) and len(x) == 100
    assert "dt=5 ms" in repr(x)


GOOD: dict[str, Any] = {
    "indptr": torch.tensor([0, 1, 2]), "index": torch.tensor([0, 3]), "shape": (2, 1, 4), "dt": 1.0,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indptr": torch.tensor([0, 2])}, r"indptr: expected \(3,\)"),
        ({"indptr": torch.tensor([0, 3, 2])}, "indptr: expected a rising sequence"),
        ({"indptr": torch.tensor([1, 1, 2])}, "indptr: expected a rising sequence"),
        ({"index": torch.tensor([0, 4])}, "index: expected channels 0 to 3, got 0 to 4"),
        ({"index": torch.tensor([-1, 3])}, "index: expected channels 0 to 3, got -1 to 3"),
        ({"index": torch.tensor([[0, 3]])}, "index: expected one dimension"),
        ({"index": torch.tensor([0.0, 3.0])}, "index: expected integers"),
        ({"index": torch.tensor([False, True])}, "index: expected integers, got torch.bool"),
        ({"index": torch.tensor([0, 2**32])}, "index: expected channels 0 to 3, got 0 to 4294967296"),
        ({"index": torch.tensor([0, -(2**63)])}, "index: expected channels 0 to 3, got -9223372036854775808 to 0"),
        ({"index": torch.tensor([0])}, "indptr: expected a rising sequence from 0 to 1 events"),
        ({"indptr": torch.tensor([0.0, 1.0, 2.0])}, "indptr: expected integers, got torch.float32"),
        ({"dt": 0.0}, "dt: expected a step above 0 ms"),
        ({"dt": float("nan")}, "dt: expected a step above 0 ms"),
        ({"dt": float("inf")}, "dt: expected a step above 0 ms, got inf"),
        ({"dt": True}, "dt: expected a step above 0 ms, got True"),
        ({"value": torch.ones(3)}, r"value: expected \(2,\)"),
        ({"value": torch.tensor([1.0, float("nan")])}, "value: expected finite numbers"),
        ({"value": torch.ones(2, dtype=torch.complex64)}, "value: expected real numbers, got torch.complex64"),
        ({"value": torch.ones(2, device="meta")}, "value: expected a tensor on cpu, where indptr lies, got meta"),
        ({"lengths": torch.tensor([2, 2])}, r"lengths: expected \(1,\)"),
        ({"lengths": torch.tensor([3])}, "lengths: expected 0 to 2 steps"),
        ({"lengths": torch.tensor([-1])}, r"lengths: expected 0 to 2 steps, got \[-1\]"),
        ({"lengths": torch.tensor([1])}, "events after the end of a recording"),
        ({"lengths": torch.tensor([2.0])}, "lengths: expected integers"),
        ({"sensor": (2, 1, 1)}, r"sensor: \(W, H, P\) = \(2, 1, 1\) does not make N = 4"),
        ({"sensor": (2, 2)}, r"sensor: expected \(W, H, P\)"),
        ({"shape": (2, -1, 4)}, "without negative sizes"),
        ({"shape": (2, 1)}, r"shape: expected \(T, B, N\)"),
        ({"shape": (2, 1, 2**31)}, r"shape: expected fewer than 2\*\*31 channels"),
    ],
)
def test_bad_arrays_are_named(change: dict[str, Any], message: str) -> None:
    Events(**GOOD)
    with pytest.raises(ValueError, match=message):
        Events(**{**GOOD, **change})


def test_bad_joins_and_keys_are_named() -> None:
    x = Events(**GOOD)
    with pytest.raises(ValueError, match=r"dt: part 0 has 1\.0 ms, part 1 has 2\.0 ms"):
        Events.cat([x, Events(**{**GOOD, "dt": 2.0})])
    with pytest.raises(ValueError, match="part 0 has N=4"):
        Events.cat([x, Events(**{**GOOD, "shape": (2, 1, 5)})])
    with pytest.raises(ValueError, match="at least one"):
        Events.cat([])
    with pytest.raises(ValueError, match="dim"):
        Events.cat([x], dim="channel")
    with pytest.raises(ValueError, match="goes on"):
        short = Events.from_dense(torch.zeros(2, 1, 4), 1.0, torch.tensor([1]))
        Events.cat([short, x], dim="time")
    with pytest.raises(ValueError, match="B=1"):
        Events.cat([x, Events.from_dense(torch.zeros(2, 2, 4), 1.0)], dim="time")
    with pytest.raises(TypeError, match="slice"):
        x[0]
    with pytest.raises(TypeError, match="slice"):
        x[::2]
    with pytest.raises(TypeError, match="integer"):
        x[:, 0]
    with pytest.raises(ValueError, match="part 0 has N=4, sensor=None; part 1 has N=4, sensor="):
        Events.cat([x, Events(**{**GOOD, "sensor": (2, 2, 1)})])
    for dense, lengths, message in (
        (torch.zeros(3, 4), None, r"x: expected \(T, B, N\)"),
        (torch.full((2, 1, 3), torch.nan), None, "x: expected finite numbers"),
        (torch.zeros(2, 1, 3), torch.tensor([2, 2]), r"lengths: expected \(1,\)"),
        (torch.zeros(2, 1, 3), torch.tensor([0.5]), "lengths: expected integers"),
    ):
        with pytest.raises(ValueError, match=message):
            Events.from_dense(dense, 1.0, lengths)


WHOLE = [torch.uint8, torch.int16, torch.int32, torch.int64]
DTYPES = [*WHOLE, torch.bool, torch.float16, torch.float32, torch.float64, torch.complex64]
NUMBERS = st.one_of(st.integers(-3, 9), st.sampled_from([2**31, 2**62, -(2**63), 0.5, float("nan"), float("inf")]))


@st.composite
def arrays(draw: Any) -> Any:
    """What might be given for a tensor: mostly one, of any type and content, seldom something else."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.sampled_from([None, [0, 1], 3, "index", np.arange(3)]))
    if kind == 1:
        return torch.zeros(draw(st.integers(0, 4)), dtype=draw(st.sampled_from(DTYPES)), device="meta")
    numbers = draw(st.lists(NUMBERS, max_size=6))
    if all(isinstance(n, int) for n in numbers) and draw(st.booleans()):
        x = torch.tensor(numbers, dtype=torch.int64).to(draw(st.sampled_from(WHOLE)))
    else:
        x = torch.tensor(numbers, dtype=torch.float64).to(draw(st.sampled_from([torch.float32, torch.complex64])))
    return x[None] if kind == 2 else x


WRONG: dict[str, Any] = {
    "indptr": arrays(),
    "index": arrays(),
    "value": arrays(),
    "lengths": arrays(),
    "shape": st.one_of(st.tuples(*[NUMBERS] * 3), st.sampled_from([None, 4, (2, 1), (2, 1, 4, 1), ("a", 1, 4)])),
    "dt": st.one_of(st.floats(), st.sampled_from([None, "1", True, torch.tensor(1.0), 1j])),
    "sensor": st.one_of(st.tuples(*[NUMBERS] * 3), st.sampled_from([4, (2, 2), "abc"])),
}


@settings(max_examples=400)
@given(st.fixed_dictionaries({}, optional=WRONG))
def test_malformed_arrays_are_named_or_work(change: dict[str, Any]) -> None:
    """Nothing gets through that a use then trips over, and what does not get through is named."""
    try:
        x = Events(**{**GOOD, **change})
    except (TypeError, ValueError) as error:
        assert str(error).split(":")[0] in {*GOOD, *WRONG}, error
        return
    dense = x.to_dense(torch.float64)
    assert dense.shape == x.shape and torch.isfinite(dense).all()
    assert torch.equal(x[:1].to_dense(torch.float64), dense[:1]) and torch.equal(x[:, [0]].counts(), x.counts())
    assert torch.equal(Events.cat([x[:1], x[1:]], "time").to_dense(torch.float64), dense)
