"""The parts of a training run: bounds on rates, networks by name, data, controls, reports."""

from __future__ import annotations

import copy
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spiking import plots
from spiking.datasets import Augment, EventStore, Loader
from spiking.datasets.errors import DataError
from spiking.networks import SpikingConvNet, SpikingMLP
from spiking.training import Classifier, EventData, RateBounds, controls, measure
from spiking.training.build import build_network
from spiking.training.callbacks import write_rows
from spiking.training.fit import check_trainer
from spiking.training.measure import Measurement
from spiking.training.report import combine, draw, numbers, write_metrics
from spiking.training.run import summary


@pytest.fixture(scope="module")
def store() -> EventStore:
    """20 recordings of two classes, which differ in when their one busy channel fires, not in how often."""
    t = np.concatenate([np.arange(10) * 1000 + (20_000 if i % 2 else 0) for i in range(20)])
    index = np.tile([0, 1], 100)
    return EventStore.from_arrays(
        index, t, np.arange(0, 201, 10), np.arange(20) % 2, channels=4, duration=40_000, speaker=np.arange(20) // 4
    )


def test_the_data_fill_in_sizes(store: EventStore) -> None:
    net = build_network("SpikingMLP", {"hidden": [5, 6]}, store, dt=5.0)
    assert isinstance(net, SpikingMLP) and net.dt == 5.0
    assert [tuple(layer.weight.shape) for layer in [*net.layers, net.readout]] == [(4, 5), (5, 6), (6, 2)]
    assert build_network("SpikingMLP", {"dt": 2.0}, store, dt=5.0).dt == 2.0
    assert build_network("SpikingMLP", {}, store, dt=5.0).layers[0].out_features == 128
    seen = EventStore.from_arrays([0, 1], [0, 1], [0, 1, 2], [0, 1], sensor=(8, 8, 2))
    conv = build_network("spiking.networks.SpikingConvNet", {"channels": [3], "kernel": 3}, seen, dt=5.0)
    assert isinstance(conv, SpikingConvNet) and conv.sensor == (8, 8, 2)


def test_one_s_own_folder_must_be_named() -> None:
    with pytest.raises(ValueError, match=r"^root:"):
        EventData("folder")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_epochs": 0}, {"max_steps": 0}, {"limit_train_batches": 0}, {"limit_train_batches": 0.0},
        {"fast_dev_run": 1}, {"enable_checkpointing": False}, {"sync_batchnorm": True},
    ],
)  # fmt: skip
def test_a_trainer_that_does_nothing_is_refused(wrong: dict[str, object]) -> None:
    check_trainer({"max_epochs": 1, "max_steps": -1, "limit_train_batches": None, "fast_dev_run": False})
    with pytest.raises(ValueError, match=rf"^trainer.{next(iter(wrong))}: expected"):
        check_trainer(wrong)


def test_one_class_is_nothing_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = EventStore.from_arrays([0, 1], [0, 1], [0, 1, 2], [0, 0], channels=4, classes=["a"])
    monkeypatch.setattr("spiking.training.data.load", lambda *_, **__: alone)
    with pytest.raises(DataError, match="at least two classes"):
        EventData("mine").setup()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("SpikingRNN", {}, "SpikingRNN"),
        ("os.path", {}, "os.path"),
        ("torch.nn.functional.relu", {}, "relu"),
        ("SpikingConvNet", {}, "sensor"),
        ("SpikingMLP", {"neuron": "izhikevich"}, "izhikevich"),
        ("SpikingMLP", {"tau_men": 3.0}, "tau_men"),
        ("SpikingMLP", {"hidden": 5}, "hidden"),
        ("SpikingMLP", {"sizes": 5}, "options: SpikingMLP: "),
        ("SpikingConvNet", {"sensor": [8, 8, 2], "chanels": [3]}, "LIF: unexpected argument chanels"),
    ],
)
def test_build_names_what_is_wrong(name: str, options: dict[str, object], said: str, store: EventStore) -> None:
    with pytest.raises(ValueError, match=said):
        build_network(name, options, store, dt=5.0)


def test_validation_holds_out_whole_speakers(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiking.training.data.load", lambda *_, **__: store)
    data = EventData("mine", valid=2.0, valid_by="speaker")
    data.setup()
    assert data.valid is not None
    inside, outside = (set(part.metadata["speaker"].tolist()) for part in (data.train, data.valid))
    assert len(outside) == 2 and not inside & outside
    assert data.rate == pytest.approx(10 / 0.04 / 4)
    order = [labels.tolist() for _, labels in data.train_dataloader()]
    assert order == [labels.tolist() for _, labels in data.train_dataloader()]


def test_validation_recordings_of_the_data_set_s_own(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"train": store.select(range(12)), "valid": store.select(range(12, 16)), "test": store.select([17, 18])}
    monkeypatch.setattr("spiking.training.data.load", lambda _, split, **__: parts[split])
    monkeypatch.setattr("spiking.training.data.splits", lambda *_: tuple(parts))
    data, half, none = EventData("mine"), EventData("mine", valid=0.5), EventData("mine", valid=0)
    for made in (data, half, none):
        made.setup()
    assert data.valid is parts["valid"] and data.train is parts["train"]
    assert half.valid is not None and len(half.valid) == 6 and len(half.train) == 6
    assert none.valid is None


def test_a_fold_holds_out_one_value(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiking.training.data.load", lambda *_, **__: store)
    data = EventData("mine", valid_by="speaker", fold=3)
    assert data.values() == [0, 1, 2, 3, 4]
    data.setup()
    assert data.valid is not None and data.valid.metadata["speaker"].tolist() == [3] * 4 and len(data.train) == 16
    for wrong, said in ((5, "fold: expected 0 to 4"), (-1, "fold: expected 0 to 4")):
        with pytest.raises(ValueError, match=said):
            EventData("mine", valid_by="speaker", fold=wrong).setup()
    with pytest.raises(ValueError, match="fold: needs valid_by"):
        EventData("mine", fold=0)
    with pytest.raises(ValueError, match="expected one of the columns"):
        EventData("mine", valid_by="writer", fold=0).setup()
    alone = EventData("mine", valid_by="speaker", fold=0)
    with pytest.raises(ValueError, match="has the one value"):
        alone.values(store.select(range(4)))


def test_data_hand_everything_to_their_loaders(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiking.training.data.load", lambda *_, **__: store)
    change = Augment(drop=0.1)
    data = EventData("mine", batch_size=3, dt=2.0, steps=9, binary=True, valid=0.25, augment=change, seed=7)
    data.setup()
    assert data.valid is not None
    wanted = Loader(data.train, 3, 2.0, 9, shuffle=True, seed=7, augment=change, binary=True)
    assert vars(data.train_dataloader()) == vars(wanted)
    assert vars(data.val_dataloader()) == vars(Loader(data.valid, 3, 2.0, 9, binary=True))
    assert vars(data.whole_loader(store)) == vars(Loader(store, 3, 2.0, 9, binary=True, rank=0, world=1))


def test_data_come_from_where_they_are_said_to_lie(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(*name: str, **where: object) -> EventStore:
        asked.append((*name, where))
        return store if where["split"] == "train" else store.select([0])

    monkeypatch.setattr("spiking.training.data.load", load)
    data = EventData("nmnist", root="here", valid=0, skip_corrupt=True)
    data.setup()
    data.setup()
    given = {"root": "here", "skip_corrupt": True}
    assert asked == [("nmnist", {"split": split, **given}) for split in ("train", "test")]
    assert data.train is store and len(data.test) == 1 and data.val_dataloader() == []
    EventData("folder", root="here", valid=0).setup()
    given = {"root": None, "skip_corrupt": False}
    assert asked[2:] == [("folder:here", {"split": split, **given}) for split in ("train", "test")]


@pytest.mark.parametrize("valid", [-0.1, 1.5, float("nan")])
def test_what_is_held_out_is_a_share_or_a_number(valid: float) -> None:
    with pytest.raises(ValueError, match="valid: expected a share from 0 to below 1, or a whole number"):
        EventData("digits", valid=valid)


def test_the_rate_is_that_of_what_is_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    times, sizes = np.arange(30), [0, 1, 2, 3, 30]
    uneven = EventStore.from_arrays(times * 0, times, sizes, [0, 1, 0, 1], duration=40_000, writer=[0, 0, 0, 1])
    monkeypatch.setattr("spiking.training.data.load", lambda *_, **__: uneven)
    data = EventData("mine", valid=1, valid_by="writer")
    data.setup()
    assert data.rate == data.train.rate != uneven.rate


class FakeTrainer:
    """What a classifier asks of Lightning's."""

    world_size = 1
    estimated_stepping_batches = 10


def classifier(store: EventStore, **options: Any) -> Classifier:
    """One with its network, outside of a run."""
    data = EventData("mine", dt=5.0, valid=0)
    data.whole = data.train = store
    model = Classifier(**options)
    model.build(data)
    model._trainer = FakeTrainer()
    return model


@pytest.mark.parametrize(
    ("name", "kind", "schedule", "scheduler"),
    [("adamw", "AdamW", "one-cycle", "OneCycleLR"), ("adam", "Adam", "cosine", "CosineAnnealingLR"),
     ("sgd", "SGD", "constant", None)],
)
def test_optimisers_and_schedules(
    store: EventStore, name: Any, kind: str, schedule: Any, scheduler: str | None
) -> None:
    model = classifier(store, optimizer=name, schedule=schedule, lr=0.5, weight_decay=0.25, options={"norm": "batch"})
    found = model.configure_optimizers()
    optimizer = found["optimizer"] if scheduler else found
    assert type(optimizer).__name__ == kind
    assert scheduler is None or type(found["lr_scheduler"]["scheduler"]).__name__ == scheduler
    assert scheduler is None or found["lr_scheduler"]["interval"] == "step"
    rates = [] if scheduler is None else [optimizer.param_groups[0]["lr"]]
    for _ in range(9 if scheduler else 0):
        optimizer.step()
        found["lr_scheduler"]["scheduler"].step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert scheduler is None or (max(rates) == pytest.approx(0.5) and rates[-1] < 0.02)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {decay[id(p)] for p in model.parameters() if p.ndim == 2} == {0.25}
    assert {decay[id(p)] for p in model.parameters() if p.ndim == 1} == {0.0}
    assert kind != "SGD" or all(group["momentum"] == 0.9 for group in optimizer.param_groups)


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
def test_synapses_of_elm_neurons_train_at_a_rate_of_their_own(store: EventStore, schedule: Any) -> None:
    options = {"readout": {"memory": 3, "tau_memory": [5, 90]}, "hidden": [4], "tau_memory": [5, 90]}
    model = classifier(
        store, network="ELMNetwork", options=options, lr=0.5, synapse_rate=0.1, schedule=schedule, optimizer="sgd"
    )
    found = model.configure_optimizers()
    optimizer = found if schedule == "constant" else found["optimizer"]
    rest, own = {id(p) for g in optimizer.param_groups[:-1] for p in g["params"]}, optimizer.param_groups[-1]
    assert [p is model.network.readout.weight for p in own["params"]] == [True]
    assert rest | {id(own["params"][0])} == {id(p) for p in model.parameters()} and id(own["params"][0]) not in rest
    for _ in range(10):
        assert own["lr"] == pytest.approx(0.1 * optimizer.param_groups[0]["lr"])
        optimizer.step()
        if schedule != "constant":
            found["lr_scheduler"]["scheduler"].step()


def test_the_loss_is_smoothed_cross_entropy_and_bounds(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = RateBounds(lower=40.0, lower_strength=3.0)
    model = classifier(store, readout="last", label_smoothing=0.2, rates=bounds, options={"hidden": [7]})
    said = {}
    monkeypatch.setattr(model, "_log", lambda name, value, labels: said.update({name: float(value.detach())}))
    events, labels = store.batch(range(20), dt=5.0, steps=9)
    (membrane, spikes), _ = model.network(events, trace=True)
    logits = membrane[7]  # recordings of 40 ms last 8 steps
    wanted = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.2)
    wanted = (wanted + bounds(spikes, events.lengths, 5.0).mean()).detach()
    assert float(model.training_step((events, labels), 0).detach()) == pytest.approx(float(wanted))
    accuracy = float((logits.argmax(1) == labels).float().mean())
    assert said == {"loss": pytest.approx(float(wanted)), "train_accuracy": pytest.approx(accuracy)}
    model.validation_step((events, labels), 0)
    assert said["valid_loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels).detach()))
    assert said["valid_accuracy"] == pytest.approx(accuracy)
    assert said["spikes_per_sample"] == pytest.approx(float(spikes[0].detach().sum()) / 20)


def test_networks_are_drawn_for_the_recordings_unless_told(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(SpikingMLP, "init_", lambda self, **options: asked.append(options))
    classifier(store)
    classifier(store, initialise=False)
    assert asked == [{"rate": store.rate, "dt": 5.0}]


def test_controls_take_every_so_many_of_a_large_set(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("spiking.training.controls")
    seen = []
    fit = module._logistic
    monkeypatch.setattr(module, "MOST", 8)
    monkeypatch.setattr(module, "_logistic", lambda train: seen.append(train.ids.tolist()) or fit(train))
    controls(store, store)
    assert seen == [[0, 3, 6, 9, 12, 15, 18]]


def test_controls_see_what_they_should(store: EventStore) -> None:
    found = controls(store, store)
    assert found["control_counts_accuracy"] == 0.5  # the counts are all equal
    assert found["control_bins_accuracy"] == 1.0


def test_measure_counts_spikes_and_rates(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiking.training.data.load", lambda *_, **__: store)
    data = EventData("mine", batch_size=8, dt=5.0, steps=9, valid=0)
    data.setup()
    model = Classifier(options={"hidden": [7], "dropout": 0.5})
    model.build(data)
    found = measure(model.train(), data.whole_loader(store))
    events, labels = store.batch(range(20), dt=5.0)
    with torch.no_grad():
        (membrane, spikes), _ = model.network(events, trace=True)
    assert found.labels.tolist() == labels.tolist()
    assert found.predictions.tolist() == membrane.amax(0).argmax(1).tolist()
    assert found.loss == pytest.approx(float(torch.nn.functional.cross_entropy(membrane.amax(0), labels)))
    assert found.accuracy == pytest.approx(float((membrane.amax(0).argmax(1) == labels).float().mean()))
    assert found.spikes == pytest.approx(float(spikes[0].sum()) / 20)
    assert found.synops == pytest.approx(7 * 10 + 2 * float(spikes[0].sum()) / 20)
    assert found.rates[0].sum() == pytest.approx(float(spikes[0].sum()) / (20 * 0.04))


@pytest.mark.parametrize("name", ["SpikingMLP", "SpikingConvNet"])
@pytest.mark.parametrize("readout", ["max", "mean", "last", "softmax_sum"])
def test_a_recording_of_no_steps_moves_nothing(name: str, readout: str) -> None:
    seen = EventStore.from_arrays([0, 1], [0, 1], [0, 1, 2], [0, 1], sensor=(8, 8, 2))
    options = {"norm": "batch"} | ({"channels": [3], "kernel": 3} if name == "SpikingConvNet" else {})
    model = Classifier(build_network(name, options, seen, dt=5.0), readout=readout)
    before = copy.deepcopy(model.state_dict())
    events, labels = next(iter(Loader(seen.select([0]), 1, rank=1, world=2)))
    logits, spikes = model(events)
    torch.nn.functional.cross_entropy(logits, labels).backward()
    assert logits.shape == (1, 2) and not any(layer.any() for layer in spikes)
    assert not any(p.grad is None or p.grad.any() for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def measured(**more: Any) -> Measurement:
    """Three recordings, the second of them named rightly."""
    given = {"labels": torch.tensor([0, 1, 0]), "predictions": torch.tensor([1, 1, 1])}
    rest = {"loss": 0.5, "spikes": 9.0, "synops": None, "rates": [torch.tensor([2.0, 4.0])]}
    return Measurement(**{**given, **rest, **more})


def test_a_measurement_in_numbers() -> None:
    plain = {"test_accuracy": pytest.approx(1 / 3), "test_loss": 0.5, "spikes_per_sample": 9.0, "layer0_rate_hz": 3.0}
    assert numbers(measured(), "test") == plain
    assert numbers(measured(synops=7.0), "test") == {**plain, "synops_per_sample": 7.0}
    assert numbers(measured(spikes=0.0, rates=[]), "valid").keys() == {"valid_accuracy", "valid_loss"}


def test_the_raster_is_of_a_recording_named_rightly(
    store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    raster = plots.raster
    monkeypatch.setattr(plots, "raster", lambda x, *more: drawn.append((x, more[-1])) or raster(x, *more))
    data = EventData("mine", dt=5.0, valid=0)
    draw(tmp_path, classifier(store), data, store, measured())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.png", "raster.png", "rates.png"]
    assert torch.equal(drawn[0][0].to_dense(), store.batch([1], dt=5.0)[0].to_dense()) and drawn[0][1] == 1


def test_seeds_combine() -> None:
    both = combine([{"a": 1.0, "b": 2.0}, {"a": 3.0}])
    assert both["a"] == 2.0 and both["seed0.b"] == 2.0 and "b" not in both
    assert both["a_ci95"] == pytest.approx(12.706, rel=1e-4)  # t(0.975, 1) * sqrt(2) / sqrt(2)
    assert "a_ci95" not in combine([{"a": 1.0}])


def test_files_are_whole_and_flat(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.json", {"a": 1.0})
    write_rows(tmp_path / "metrics.csv", [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.csv", "metrics.json"]
    assert (tmp_path / "metrics.csv").read_text().split() == ["epoch,loss", "1,0.5", "2,0.25"]


def test_the_summary_sets_controls_beside_the_network() -> None:
    text = summary({"test_accuracy": 0.9512, "control_counts_accuracy": 0.9, "control_bins_accuracy": 0.91})
    assert all(number in text for number in ("95.1", "90.0", "91.0")) and "+-" not in text
    assert "95.1 +- 1.2 %" in summary({"test_accuracy": 0.9512, "test_accuracy_ci95": 0.0123})


SCRIPT = """
import gc, importlib, sys
import torch
from numba.core.dispatcher import Dispatcher
from spiking.cli.main import main
from spiking.kernels import event_linear

def compiled():
    return {
        (d.py_func.__module__, d.py_func.__name__, str(s)) for d in gc.get_objects() if isinstance(d, Dispatcher)
        for s in d.signatures if d.py_func.__module__.startswith("spiking.")
    }

module = importlib.import_module("spiking.training.fit")
step = module._compile
known = []
module._compile = lambda *given, **named: (step(*given, **named), known.append(compiled()))

if __name__ == "__main__":
    assert main(sys.argv[1:]) == 0
    sparse = torch.eye(32)[None].requires_grad_()
    event_linear(sparse, torch.zeros(32, 3, requires_grad=True)).sum().backward()
    print(sorted(compiled() - known[0]) or "nothing compiled late")
"""


def test_no_kernel_is_compiled_after_the_compile_step(small: list[str], tmp_path: Path) -> None:
    words = [*small, "--trainer.max_epochs", "1", "--data.augment.drop", "0.1", "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "nothing compiled late"
