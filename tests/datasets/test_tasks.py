"""Tasks: what is drawn is what was asked for, again and again; what is recorded lies where it was."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spiking.datasets import DataError
from spiking.datasets.formats import neuronio
from spiking.datasets.formats import simulation as npz
from spiking.datasets.tasks import AddingProblem, DelayedMatch, Pixels, TaskLoader, Windows, read_simulations
from spiking.datasets.tasks.adding import CHANCE
from spiking.datasets.tasks.l5pc import voltage


def written(root: Path, name: str, steps: int = 60, seed: int = 0, **change: Any) -> Path:
    """A simulation whose voltage is the ms of its step, so that one sees where a window begins."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    content = {
        "t": np.sort(rng.integers(0, steps, 8 * steps)).astype(np.uint16),
        "channel": rng.integers(0, npz.SYNAPSES, 8 * steps).astype(np.uint16),
        "soma": -100 + np.arange(steps, dtype=np.float32), "spikes": np.array([7.9, 33.2], np.float32), **change,
    }  # fmt: skip
    np.savez(root / f"{name}.npz", **{key: value for key, value in content.items() if value is not None})
    return root / f"{name}.npz"


@given(st.integers(2, 40), st.integers(0, 3), st.integers(0, 500))
def test_the_adding_problem_asks_for_the_marked_numbers(steps: int, seed: int, k: int) -> None:
    task = AddingProblem(steps, samples=501, seed=seed)
    events, target = task.batch([k, 500])
    x = events.to_dense()
    marked = x[:, 0, 1] == 1
    assert marked[: steps // 2].sum() == 1 and marked[steps // 2 :].sum() == 1
    assert float(target[0]) == pytest.approx(float(x[marked, 0, 0].sum()), abs=1e-6)
    again, same = task.batch([500, 3, k])
    assert torch.equal(again.to_dense()[:, 2], x[:, 0]) and target[0] == same[2]


def test_who_always_says_one_has_the_error_of_chance() -> None:
    _, target = AddingProblem(20, samples=4000, seed=1).batch(range(4000))
    assert float((target - 1).square().mean()) == pytest.approx(CHANCE, rel=0.05)
    assert not torch.equal(target[:50], AddingProblem(20, samples=4000, seed=2).batch(range(50))[1])


@given(st.integers(2, 5), st.integers(1, 4), st.integers(8, 30), st.sampled_from([0.0, 0.3]))
def test_a_match_is_a_match(symbols: int, cue: int, steps: int, noise: float) -> None:
    task = DelayedMatch(steps, symbols, cue, noise, samples=60)
    events, label = task.batch(range(60))
    x = events.to_dense()
    first, last = x[:cue], x[steps - cue :]
    assert (first.sum(2) == 1).all() and (last.sum(2) == 1).all()
    assert torch.equal((first[0] == last[0]).all(1), label == 1)
    assert 10 < int(label.sum()) < 50
    assert bool(x[cue : steps - cue].any()) == (noise > 0 and steps > 2 * cue)


def test_sequences_may_have_lengths_of_their_own() -> None:
    for task in (AddingProblem(12, samples=200, shortest=9), DelayedMatch(12, 2, 4, samples=200, shortest=9)):
        events, target = task.batch(range(200))
        assert set(events.lengths.tolist()) == {9, 10, 11, 12}
        again, _ = task.batch([7, 3])
        assert again.lengths.tolist() == events.lengths[[7, 3]].tolist()
        x = events.to_dense()
        for b, T in enumerate(events.lengths.tolist()):
            assert not x[T:, b].any()
            if isinstance(task, AddingProblem):
                marked = x[:, b, 1] == 1
                assert marked[: T // 2].sum() == 1 == marked[T // 2 : T].sum()
                assert float(target[b]) == pytest.approx(float(x[marked, b, 0].sum()), abs=1e-6)
            else:
                assert x[:4, b].sum() == 4 == x[T - 4 : T, b].sum() and not x[4 : T - 4, b].any()
                assert bool((x[0, b] == x[T - 1, b]).all()) == bool(target[b])
    with pytest.raises(ValueError, match="shortest: expected 20, room for two cues, to 4096 steps, got 19"):
        DelayedMatch(shortest=19)
    with pytest.raises(ValueError, match="shortest: expected 2 to 4096 steps, got 4097"):
        AddingProblem(shortest=4097)


def test_pixels_come_row_after_row_or_in_one_order_for_all() -> None:
    images = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    events, labels = Pixels(images, [3, 9]).batch([1, 0])
    assert labels.tolist() == [9, 3]
    assert torch.allclose(events.to_dense()[:, :, 0].T * 255, torch.from_numpy(images[[1, 0]].reshape(2, 12)).float())
    shuffled = Pixels(images, [3, 9], permute=4).batch([0, 1])[0].to_dense()[:, :, 0] * 255
    assert sorted(shuffled[:, 0].round().tolist()) == list(range(12)) != shuffled[:, 0].round().tolist()
    assert torch.allclose(shuffled[:, 1] - shuffled[:, 0], torch.full((12,), 12.0))


def test_a_window_holds_what_lies_in_it(tmp_path: Path) -> None:
    written(tmp_path, "train_1")
    written(tmp_path, "train_2", seed=1, soma=-60 + np.arange(60, dtype=np.float32))
    task = Windows(read_simulations(tmp_path, "train"), steps=20, first=10, stride=5)
    assert len(task) == 2 * 7
    events, target = task.batch([4, 8])  # the first simulation from 30 ms on, the second from 15
    assert voltage(target[:, 0, 1]).tolist() == pytest.approx([min(-100 + t, -55) for t in range(30, 50)], abs=1e-4)
    assert voltage(target[:, 1, 1]).tolist() == pytest.approx([min(-60 + t, -55) for t in range(15, 35)], abs=1e-4)
    assert target[:, :, 0].nonzero().tolist() == [[3, 0], [18, 1]]
    dense = events.to_dense()
    with np.load(tmp_path / "train_1.npz") as file:
        wanted = np.zeros((60, npz.SYNAPSES), np.float32)
        wanted[file["t"], file["channel"]] = np.where(file["channel"] < 639, 1, -1)
    assert np.array_equal(dense[:, 0].numpy(), wanted[30:50])
    events._check()
    assert task.spike_rate == 4 / 120


def pickled(path: Path, **change: Any) -> Path:
    """A file as NeuronIO's, of two simulations of three segments."""
    run = {
        "exInputSpikeTimes": {0: [3, 5], 2: [5]}, "inhInputSpikeTimes": {1: np.array([0, 9])},
        "outputSpikeTimes": np.array([4.4, 7.6]), "somaVoltageLowRes": np.linspace(-80, -50, 10).astype(np.float16),
    } | change  # fmt: skip
    content = {
        "Params": {"allSegmentsType": ["soma", "basal", "apical"], "totalSimDurationInSec": 0.01},
        "Results": {"listOfSingleSimulationDicts": [run, run]},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def test_neuronio_s_files_are_read_and_run_nothing(tmp_path: Path) -> None:
    path = pickled(tmp_path / "test" / "sim__1.p")
    first, second = read_simulations(tmp_path, "test")
    assert first.channels == 6 and first.spikes.tolist() == [3, 7] and second.name.endswith("simulation 1")
    assert first.time.tolist() == [0, 3, 5, 5, 9] and first.channel.tolist() == [4, 0, 0, 2, 4]
    events, target = Windows([first, second], steps=10, first=0, stride=10).batch([0, 1])
    assert events.to_dense()[0, 1].tolist() == [0, 0, 0, 0, -1, 0] and target[3, 0, 0] == 1
    path.write_bytes(pickle.dumps(Path(tmp_path)))
    with pytest.raises(DataError, match=r"sim__1\.p: can't be read as a file of NeuronIO \(it asks for pathlib"):
        neuronio.read(path)
    path.write_bytes(pickle.dumps({"Params": {}}))
    with pytest.raises(DataError, match=r"not laid out as a file of NeuronIO, no 'allSegmentsType'"):
        neuronio.read(path)
    pickled(path, inhInputSpikeTimes={7: [1]})
    with pytest.raises(DataError, match=r"simulation 0: channel: expected 0 to below 6, got 0 to 10"):
        neuronio.read(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"soma": None}, "no soma in it"),
        ({"t": np.zeros(0, int), "channel": np.zeros(0, int)}, "an empty recording, 60 ms of voltage and 0 input"),
        ({"soma": np.zeros(0)}, "an empty recording, 0 ms of voltage"),
        ({"soma": np.full(60, np.nan)}, "soma: expected finite numbers"),
        ({"channel": np.full(480, 1278)}, "channel: expected 0 to below 1278, got 1278 to 1278"),
        ({"t": np.full(480, 60)}, "t: expected 0 to below 60"),
        ({"spikes": np.array([60.5])}, "spikes: expected 0 to below 60"),
        ({"channel": np.zeros(3, int)}, "480 times of input spikes, 3 channels"),
        ({"soma": np.zeros((60, 2))}, "soma: expected a row of numbers"),
    ],
)
def test_a_broken_simulation_is_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    written(tmp_path, "valid_5", **change)
    with pytest.raises(DataError, match=rf"valid_5\.npz: .*{said}"):
        read_simulations(tmp_path, "valid")


def test_sequences_may_grow_from_epoch_to_epoch() -> None:
    tasks = [AddingProblem(steps, samples=30) for steps in (4, 8)]
    loader = TaskLoader(tasks, 8, draws=16)
    assert [events.shape[0] for _ in range(3) for events, _ in loader] == [4, 4, 8, 8, 8, 8]
    with pytest.raises(ValueError, match=r"task: expected at least one task, all of one size, got sizes \[3, 30\]"):
        TaskLoader([AddingProblem(4, samples=3), tasks[0]], 8)


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no simulations to test; put train"):
        read_simulations(tmp_path, "test")
    (tmp_path / "test_1.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"test_1\.npz: can't be read as \.npz"):
        read_simulations(tmp_path, "test")
    short = npz.read(written(tmp_path, "short", steps=40))
    with pytest.raises(DataError, match=r"short\.npz: 40 ms are too short for 30 ms that begin at 20"):
        Windows([short], steps=30, first=20)
    with pytest.raises(DataError, match="simulations: expected at least one"):
        Windows([])
    with pytest.raises(ValueError, match="stride: expected at least 1 ms"):
        Windows([short], steps=10, first=0, stride=0)
    with pytest.raises(ValueError, match="steps: expected at least 2, one for each mark"):
        AddingProblem(1)
    with pytest.raises(ValueError, match="steps: expected room for two cues of 10"):
        DelayedMatch(19)
    with pytest.raises(ValueError, match="symbols: expected at least 2"):
        DelayedMatch(symbols=1)
    with pytest.raises(ValueError, match="images: expected"):
        Pixels(np.zeros((2, 3, 3), np.uint8), [1])
    with pytest.raises(IndexError, match="expected 0 to 999, got 5 to 1000"):
        AddingProblem(4).batch([5, 1000])


def test_an_epoch_may_draw_from_more_than_it_sees() -> None:
    loader = AddingProblem(4, samples=1 << 40).loader(8, draws=20, seed=3)
    assert len(loader) == 3
    sums = [target for _, target in loader]
    assert [len(part) for part in sums] == [8, 8, 4] and loader.epoch == 1
    other = torch.cat([target for _, target in loader])
    assert not torch.equal(other, torch.cat(sums))
    loader.set_epoch(0)
    assert torch.equal(torch.cat([target for _, target in loader]), torch.cat(sums))
    with pytest.raises(ValueError, match="draws: expected at least 1"):
        AddingProblem(4).loader(8, draws=0)
    (_, one), (nothing, _) = AddingProblem(4, samples=3).loader(1, rank=1, world=2)
    assert len(one) == 1 and nothing.lengths.tolist() == [0] and not nothing.nnz
