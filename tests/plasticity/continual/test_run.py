"""`run`: the loop, its bounds, evaluation inside tasks, and going on after a kill with the same bits."""

from __future__ import annotations

import itertools
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spiking.datasets import DataError
from spiking.events import Events
from spiking.kernels.surrogate import sigmoid
from spiking.neurons import LIF, like
from spiking.plasticity.continual import Stream, run, streams
from spiking.plasticity.continual.methods import build, rows
from spiking.plasticity.continual.models import CurrentMLP, ReluMLP, default
from spiking.plasticity.continual.result import load
from spiking.plasticity.method import Method
from tests.plasticity.continual.test_streams import recordings, squares


def small(stream: Stream) -> nn.Module:
    return CurrentMLP([stream.inputs, 16, 12, stream.outputs])


def stream(tasks: int = 3) -> Stream:
    return streams.permuted(squares(80), tasks=tasks, valid=0.1)


class Noted(Method):
    """Writes down in which order it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def observe(self, inputs: Any, labels: Tensor, task: int = 0) -> tuple[Any, Tensor]:
        self.calls.append(f"observe {task}")
        return inputs, labels

    def penalty(self) -> Tensor:
        self.calls.append("penalty")
        return super().penalty()

    def project(self) -> None:
        self.calls.append("project")

    def learn(self) -> None:
        self.calls.append("learn")

    def next_task(self, batches: Any = None, **options: Any) -> None:
        self.calls.append(f"next {sum(len(labels) for _, labels in batches)}")
        super().next_task(batches, **options)

    def stored(self) -> int:
        return 7 * self.task


def test_the_protocol_is_followed() -> None:
    method = Noted()
    found = run(stream(2), method, small, batch_size=29)
    step = ["penalty", "project", "learn"]
    assert method.calls == ["observe 0", *step] * 2 + ["next 58"] + ["observe 1", *step] * 2
    assert found.metrics["stored"] == 7 and found.stored == [0, 7]


def test_learning_shows_in_the_whole_matrix() -> None:
    options: dict[str, Any] = {"lr": 0.3, "epochs": 12, "batch_size": 16}
    found = run(stream(2), "sequential", "ann", **options)
    assert found.R.shape == (2, 2) and not np.isnan(found.R).any() and len(found.before) == 2
    assert found.R.diagonal().min() > 0.9 > found.R[0, 1]
    assert {"ACC", "BWT", "FWT", "forgetting", "learning", "incremental", "A", "BWT_DR"} <= found.metrics.keys()
    assert math.isclose(found.metrics["FWT"], found.R[0, 1] - found.before[1]) and found.metrics["seconds"] > 0
    joint = run(stream(2), "joint", "ann", **options)
    assert joint.metrics["ACC"] > 0.9 and set(joint.metrics) == {"ACC", "seconds", "stored"}
    assert (joint.R == joint.R[0]).all()
    cumulative = run(stream(2), "cumulative", "ann", **options)
    assert np.allclose(cumulative.R[0], found.R[0])  # its first task is the first task
    again = run(stream(2), "sequential", "ann", joint=cumulative.R.diagonal().tolist(), **options)
    assert math.isclose(again.metrics["intransigence"], float((cumulative.R - again.R).diagonal().mean()))


def test_stability_gap() -> None:
    found = run(stream(2), "sequential", small, batch_size=16, every=2, probe=5)
    assert [row[:2] for row in found.within] == [[0, 2], [0, 4], [1, 2], [1, 4]]
    assert math.isnan(found.within[0][3]) and not math.isnan(found.within[2][3])
    inside = min(row[2] for row in found.within[2:])
    assert found.metrics["min_ACC"] == min(inside, found.R[1, 0])  # after the first task is over
    plain = run(stream(2), "sequential", small, batch_size=16)
    assert np.array_equal(plain.R, found.R)  # looking changes nothing


def test_the_look_inside_tasks_is_at_all_classes() -> None:
    """A store may hold its recordings class by class: the first ones would be of one."""
    data, labels = squares(80)
    order = np.argsort(labels, kind="stable")
    sorted_ = data[order], labels[order]
    seen: list[Tensor] = []

    class Noting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            if not self.training and len(x) == 6:
                seen.append(x.detach().reshape(-1, 4, 4).mean(2).argmax(1))  # the bright row is the class
            return self.head(x.reshape(len(x), -1))

    run(streams.split(sorted_, setting="class", test=sorted_), "sequential", Noting(), batch_size=16, every=1, probe=6)
    assert seen and all(len(rows.unique()) == 2 for rows in seen)


@pytest.mark.parametrize("setting", streams.SETTINGS)
def test_settings(setting: str) -> None:
    found = run(streams.split(squares(80), setting=setting), "sequential", "ann", lr=0.3, epochs=20, batch_size=8)
    assert found.R.diagonal().min() > 0.9
    if setting == "class":
        assert found.R[0, 1] == 0 and found.R[1, 0] < 0.5  # the head takes much for its newest classes
    if setting == "task":
        assert found.R[1, 0] > 0.5


def test_events_and_their_control() -> None:
    split = streams.split(recordings(48), setting="task", dt=5.0)
    spiking = run(
        split, "sequential", lambda stream: default(stream, widths=(16,)), epochs=30, batch_size=8,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.02),
    )  # fmt: skip
    assert spiking.R.diagonal().min() > 0.9
    control = run(split, "joint", lambda stream: default(stream, "ann", widths=(16,)), epochs=20, seed=0)
    assert control.R.min() > 0.9 and isinstance(default(split, "ann"), ReluMLP)


PROJECTING = ("hlop", "hlop-published", "gpm", "owm")


@pytest.mark.parametrize("method", [*PROJECTING, "ewc", "si", "replay"])
@pytest.mark.parametrize("setting", ["task", "domain"])
def test_every_method_learns_keeps_and_goes_on(method: str, setting: str, tmp_path: Path) -> None:
    split = streams.split(squares(80), setting=setting)
    how: dict[str, Any] = {"model": small, "epochs": 2, "batch_size": 16, "seed": 1}
    whole = run(split, method, **how)
    if method in PROJECTING:
        used = np.array(list(whole.rank.values()))  # (layers, tasks, rows and inputs and energy)
        assert (used[..., 0] <= used[..., 1]).all() and (np.diff(used[..., 0]) >= 0).all() and used[..., 0].max() > 0
        assert not np.isnan(used).any() and (used[..., 2] > 0).any() and (used[..., 2] <= 1 + 1e-5).all()
    assert max(whole.stored) > 0 and whole.R.shape == (2, 2)
    layers = ["layers.0", "layers.1"] + ["readout"] * (setting == "domain")  # heads of a task's own are not projected
    assert list(whole.rank) == (layers if method in PROJECTING else [])

    def stop(line: str) -> None:
        raise Killed

    with pytest.raises(Killed):
        run(split, method, folder=tmp_path, report=stop, **how)
    found = run(split, method, folder=tmp_path, **how)
    assert np.array_equal(found.R, whole.R) and found.stored == whole.stored


def test_projection_keeps_what_sequential_training_loses() -> None:
    rng = np.random.default_rng(0)
    labels, kinds = np.arange(480) % 12, rng.random((12, 30))
    data = (kinds[labels] + 0.1 * rng.standard_normal((480, 30))).astype(np.float32)
    pairs = streams.split((data, labels), 2, "domain")  # each pair asks the same two outputs for something else
    how: dict[str, Any] = {"model": partial(default, kind="ann", widths=(40, 40)), "epochs": 10, "batch_size": 16}
    lost, kept = (run(pairs, method, **how) for method in ("sequential", "hlop"))
    assert lost.metrics["BWT"] < -0.2 and kept.metrics["BWT"] > -0.05 and kept.metrics["learning"] > 0.95
    used = np.array(kept.rank["layers.0"])
    assert (np.diff(used[:, 0]) > 0).all() and (used[:, 1] == 30).all() and (used[:, 2] > 0.5).all()


def test_replay_of_events_goes_on(tmp_path: Path) -> None:
    split = streams.split(recordings(48), [[0, 1], [2, 3]], "class", dt=5.0)
    how: dict[str, Any] = {"model": lambda stream: default(stream, widths=(8,)), "options": {"per_class": 3}}
    whole = run(split, "replay", folder=tmp_path, **how)
    state = load(tmp_path)
    assert state is not None and isinstance(state["method"]["memory"], Events)
    assert np.array_equal(run(split, "replay", folder=tmp_path, **how).R, whole.R)
    longer = streams.split(recordings(48), [[0, 1], [2, 3]], "class", dt=10.0)
    with pytest.raises(DataError, match="another configuration: binning '5 ms', asked for '10 ms'"):
        run(longer, "replay", folder=tmp_path, **how)


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    whole = run(stream(), "sequential", small, every=3, batch_size=16)
    lines = itertools.count(1)

    def stop(line: str) -> None:
        if next(lines) == 2:
            raise Killed

    with pytest.raises(Killed):
        run(stream(), "sequential", small, every=3, batch_size=16, folder=tmp_path, report=stop)
    told: list[str] = []
    found = run(stream(), "sequential", small, every=3, batch_size=16, folder=tmp_path, report=told.append)
    assert len(told) == 1 and told[0].startswith("task 3/3")
    assert np.array_equal(found.R, whole.R) and found.before == whole.before
    assert np.array_equal(found.within, whole.within, equal_nan=True)
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    run(stream(2), "sequential", small, folder=tmp_path)
    with pytest.raises(DataError, match=r"another configuration: epochs 1, asked for 2; batch_size 64, asked for 8$"):
        run(stream(2), "sequential", small, folder=tmp_path, epochs=2, batch_size=8)
    with pytest.raises(DataError, match=r"method 'sequential', asked for 'joint'"):
        run(stream(2), "joint", small, folder=tmp_path)
    with pytest.raises(DataError, match=r"optimizer 'SGD\(lr=0.1\)', asked for 'SGD\(lr=0.2\)'"):
        run(stream(2), "sequential", small, folder=tmp_path, lr=0.2)
    with pytest.raises(DataError, match=r"model 'CurrentMLP 16x16 12x16 4x12', asked for 'ReluMLP 800x16"):
        run(stream(2), "sequential", "ann", folder=tmp_path)
    with pytest.raises(DataError, match=r"model 'CurrentMLP 16x16 .*', asked for 'CurrentMLP\(steps=2\) 16x16 "):
        run(stream(2), "sequential", lambda stream: CurrentMLP([16, 16, 12, 4], steps=2), folder=tmp_path)
    for other in ([1], {"a": 1}):
        torch.save(other, tmp_path / "last.pt")
        with pytest.raises(DataError, match="can't be read as a checkpoint"):
            run(stream(2), "sequential", small, folder=tmp_path)
    (tmp_path / "last.pt").write_bytes(b"half")
    with pytest.raises(DataError, match="can't be read as a checkpoint"):
        run(stream(2), "sequential", small, folder=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "hlopp"}, "method: expected one of sequential, joint, cumulative, hlop, .* got 'hlopp'"),
        ({"method": lambda model, stream: 3}, "method: expected a name, a Method, or what makes one, got int"),
        ({"method": 3}, "method: expected a name, a Method, or what makes one, got int"),
        ({"model": lambda stream: 3}, "model: expected snn, ann, a module, or what makes one from the stream, got int"),
        ({"seed": -1}, "seed: expected a whole number of at least 0, got -1"),
        ({"order": -1}, "order: expected a whole number of at least 0, got -1"),
        ({"probe": 0}, "probe: expected a whole number of at least 1, got 0"),
        ({"lr": math.nan}, "lr: expected a finite number of 0 or more, got nan"),
        ({"joint": [0.5]}, "joint: expected 2 accuracies, one for each task, got 1"),
        (
            {"method": "hlop-published", "options": {"rows": {"layers.0": 9, "layers.1": 2}}},
            "rows: layers.0 has 16 inputs, and 2 tasks ask for 18 rows; choose fewer",
        ),
        ({"method": Method(), "options": {"a": 1}}, "options: they are for methods by name"),
        ({"options": {"a": 1}}, "options: sequential has none, got a"),
        ({"model": "cnn"}, "model: expected snn or ann, got 'cnn'"),
        ({"model": nn.Linear(16, 3)}, r"model: expected outputs \(1, 4\) or more, .* got \(1, 3\)"),
        ({"epochs": 0}, "epochs: expected a whole number of at least 1, got 0"),
        ({"every": 0}, "every: expected"),
        ({"on": "train"}, "on: expected test or valid"),
    ],
)  # fmt: skip
def test_bad_input(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run(stream(2), **{"model": small, **arguments})


def test_validation_must_be_there() -> None:
    with pytest.raises(ValueError, match="on: the stream has no validation examples"):
        run(streams.permuted(squares(), tasks=2), model=small, on="valid")
    assert run(stream(2), model=small, on="valid").metrics["ACC"] >= 0


def test_published_rows_that_a_late_task_has_no_room_for_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"rows: layers\.0 has 16 inputs, and 30 tasks ask for 31 rows; choose"):
        run(stream(30), "hlop-published", small)
    assert run(stream(30), "hlop", small, batch_size=72).rank["layers.0"][-1][0] <= 16  # takes those that fit


def test_outputs_that_are_no_numbers_are_no_accuracy() -> None:
    """The loss of the only step is sound, what it leads to is not."""
    with pytest.raises(FloatingPointError, match="model: its outputs for permutation 0 are no numbers"):
        run(stream(1), "sequential", "ann", optimizer=lambda p: torch.optim.SGD(p, lr=math.inf), batch_size=100)


def test_divergence_is_named() -> None:
    with pytest.raises(FloatingPointError, match=r"loss: (nan|inf) in task 0, epoch 0, step"):
        run(stream(2), "sequential", "ann", lr=1e30, batch_size=8)


def test_the_network_of_the_paper_step_by_step() -> None:
    torch.manual_seed(0)
    net, x = CurrentMLP([5, 8, 3]), torch.rand(2, 5) * 4
    v, expected = torch.zeros(2, 8), []
    for _ in range(6):
        v = v * 0.5 + net.layers[0](x)
        z = (v >= 1).float()
        v = v - z
        expected.append(net.readout(z))
    assert torch.allclose(net(x), torch.stack(expected), atol=1e-6) and torch.stack(expected).abs().sum() > 0
    neuron = net.neurons[0]
    assert isinstance(neuron, LIF) and neuron.surrogate == sigmoid(4.0) and neuron.rule.detach_reset
    assert like("spikingjelly")["inclusive"]
    whole = default(streams.permuted(squares(), tasks=1))
    assert [tuple(p.shape) for p in whole.parameters()] == [(800, 16), (800, 800), (4, 800)]


def test_published_rows() -> None:
    sizes = {"layers.0": 784, "layers.1": 800, "readout": 800}
    taken = [list(rows(sizes, task).values()) for task in range(10)]
    assert taken[0] == [80, 200, 100] and taken[1] == [70, 70, 70] and taken[9] == [10, 10, 10]
    assert [sum(column) for column in zip(*taken, strict=True)] == [470, 590, 490]  # what the published lists come to
    assert rows({"a": 78, "b": 80, "c": 80}, 0) == {"a": 8, "b": 20, "c": 10}
    assert rows({"a": 78, "b": 80}, 0, head=False) == {"a": 8, "b": 20}  # the head is not among them
    split = streams.split(squares(), setting="task")
    network = CurrentMLP([16, 16, 12, 4])
    assert build("hlop", network, split).method.rows == {"layers.0": 2, "layers.1": 4}
