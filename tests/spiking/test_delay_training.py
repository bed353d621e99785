"""How delays train: sigma narrows with the step, a learning rate of their own, evaluation that leaves them alone."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from spiking import plots
from spiking.cli.main import main
from spiking.networks import SpikingMLP
from spiking.neurons import LI, Delay, Delayed
from spiking.training import DelayTraining
from spiking.training.delays import delay_parameters, delays
from tests.spiking.test_training import classifier, store

__all__ = ["store"]
DELAYS = ["--model.options.delays", "20", "--model.delays.lr", "2.0"]
SEEN: list[dict[str, float]] = []


class Watch(pl.Callback):
    """Notes sigma, the delays' learning rate and whether validation moves delays."""

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        sigma = {float(layer.sigma) for layer in module.modules() if isinstance(layer, Delay)}
        (width,) = sigma
        SEEN.append({"step": trainer.global_step, "sigma": width, "lr": trainer.optimizers[0].param_groups[-1]["lr"]})

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: Any) -> None:
        self.before = delays(module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
        after = delays(module)
        assert all(torch.equal(old, after[name]) for name, old in self.before.items())


def test_sigma_is_the_paper_s_unless_given() -> None:
    net = nn.Sequential(Delay(3, 2, 250.0), Delayed(Delay(2, 2, 60.0, "axonal"), LI(2)))
    first, second = (layer for layer in net.modules() if isinstance(layer, Delay))
    for done, share in ((0.0, 0.0), (0.125, 0.5), (0.25, 1.0), (0.9, 1.0)):
        DelayTraining().narrow(net, done, 10.0)
        assert float(first.sigma) == pytest.approx(125 * (5 / 125) ** share)
        assert float(second.sigma) == pytest.approx(30 * (5 / 30) ** share)
    DelayTraining(sigma=(40.0, 10.0), anneal=1.0).narrow(net, 0.5, 10.0)
    assert float(first.sigma) == float(second.sigma) == pytest.approx(20.0)
    DelayTraining().narrow(Delay(3, 2, 4.0), 1.0, 10.0)  # a step may be longer than the longest delay
    assert DelayTraining().rate(10.0) == 1.0 and DelayTraining(lr=3.0).rate(10.0) == 3.0


@pytest.mark.parametrize(
    ("schedule", "weights"),
    [("one-cycle", None), ("cosine", lambda s: (1 + math.cos(math.pi * s / 10)) / 4), ("constant", lambda s: 0.5)],
)
def test_delays_have_a_learning_rate_of_their_own(store: Any, schedule: Any, weights: Any) -> None:
    options = {"norm": "batch", "delays": 20.0}
    model = classifier(
        store, optimizer="adam", schedule=schedule, lr=0.5, weight_decay=0.25, options=options,
        delays=DelayTraining(lr=3.0),
    )  # fmt: skip
    plain = classifier(store, optimizer="adam", schedule=schedule, lr=0.5, weight_decay=0.25, options=options)
    found, without = model.configure_optimizers(), plain.configure_optimizers()
    optimizer = found["optimizer"]
    other = without if schedule == "constant" else without["optimizer"]
    for step in range(10):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates[-1] == pytest.approx(3.0 * (1 + math.cos(math.pi * step / 10)) / 2)
        assert rates[:2] == [group["lr"] for group in other.param_groups][:2]
        assert weights is None or rates[0] == pytest.approx(weights(step))
        for one, scheduler in ((optimizer, found), (other, without)):
            one.step()
            if scheduler is not one:
                scheduler["lr_scheduler"]["scheduler"].step()
    for one, net in ((optimizer, model), (other, plain)):
        decay = {id(p): group["weight_decay"] for group in one.param_groups for p in group["params"]}
        assert len(decay) == len(list(net.parameters()))
        own = delay_parameters(net)
        assert len(own) == 2 and {decay[id(p)] for p in own} == {0.0}
        assert {decay[id(p)] for name, p in net.named_parameters() if name.endswith("weight") and p.ndim == 2} == {0.25}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"lr": -1.0}, "delays.lr: expected a finite rate of 0 ms or more, got -1.0"),
        ({"lr": math.inf}, "delays.lr: expected a finite rate"),
        ({"sigma": (5.0, 10.0)}, r"delays.sigma: expected two widths above 0 ms, the wider first, got \[5.0, 10.0\]"),
        ({"sigma": (5.0, 0.0)}, "delays.sigma: expected two widths above 0 ms"),
        ({"sigma": (math.inf, 1.0)}, "delays.sigma: expected two widths above 0 ms"),
        ({"anneal": 0.0}, "delays.anneal: expected a share of training above 0 and at most 1, got 0.0"),
        ({"anneal": 1.5}, "delays.anneal: expected a share"),
    ],
)
def test_what_does_not_fit_is_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DelayTraining(**wrong)


def test_a_network_without_delays_has_none_to_train(store: Any, small: list[str], tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(ValueError, match="delays: the network has none that train"):
        classifier(store, delays=DelayTraining())
    frozen = SpikingMLP([4, 5, 2], delays=20.0, dt=5.0)
    for parameter in delay_parameters(frozen):
        parameter.requires_grad = False
    with pytest.raises(ValueError, match="delays: the network has none that train"):
        classifier(store, network=frozen, delays=DelayTraining())
    assert main([*small, "--out", str(tmp_path / "run"), "--model.delays.lr", "1"]) == 2
    assert "delays: the network has none that train" in capsys.readouterr().err


def test_a_run_narrows_rounds_and_draws(small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SEEN.clear()
    out = tmp_path / "run"
    watch = f"--trainer.callbacks+={__name__}.Watch"
    assert main([*small, *DELAYS, "--model.delays.anneal", "0.5", "--out", str(out), watch]) == 0
    total = SEEN[-1]["step"]
    assert [seen["step"] for seen in SEEN] == list(range(1, int(total) + 1)) and total >= 8
    for seen in SEEN:
        s = seen["step"]  # sigma is that of the step just made, the learning rate that of the next
        assert seen["sigma"] == pytest.approx(10 * (2.5 / 10) ** min(1, 2 * (s - 1) / total))
        assert seen["lr"] == pytest.approx(1 + math.cos(math.pi * s / total))
    assert (out / "delays.png").stat().st_size > 5000
    state = torch.load(out / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    raw = state["network.layers.0.delay.raw_delay"]
    assert bool((raw / 5 != (raw / 5).round()).any())  # kept as trained, though evaluation rounds
    accuracy = json.loads((out / "metrics.json").read_text())["test_accuracy"]
    with (out / "metrics.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4
    assert main(["evaluate", str(out)]) == 0
    assert f"{100 * accuracy:.1f} %" in capsys.readouterr().out


def test_the_picture_counts_every_delay() -> None:
    before = {"layers.0": torch.full((3, 4), 10.0), "readout": torch.tensor([0.0, 5.0])}
    after = {"layers.0": before["layers.0"] + 2, "readout": before["readout"]}
    chart = plots.delays(before, after)
    upper = chart.axes[:2]
    titles = ["layers.0: 2.0 ms moved on average", "readout: 0.0 ms moved on average"]
    assert [axes.get_title() for axes in upper] == titles
    assert [sum(bar.get_height() for bar in axes.containers[0]) for axes in upper] == [12, 2]
    with pytest.raises(ValueError, match=r"after: expected the layers \['layers.0', 'readout'\], got \['readout'\]"):
        plots.delays(before, {"readout": before["readout"]})
    with pytest.raises(ValueError, match=r"after: expected delays \(2,\) of readout, got \(3,\)"):
        plots.delays({"readout": before["readout"]}, {"readout": torch.zeros(3)})
