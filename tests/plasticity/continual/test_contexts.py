"""Active dendrites by name: the network they bring, the published setting, contexts, and going on after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spiking.plasticity.continual import run, streams
from spiking.plasticity.continual.contexts import Contexts, network, published_optimizer, published_pace
from spiking.plasticity.continual.models import default
from spiking.plasticity.dendrites import DendriticMLP
from tests.plasticity.continual.test_streams import recordings, squares

SMALL = {"widths": (60, 60), "winners": 0.2}


class Killed(Exception):
    pass


@pytest.mark.parametrize("events", [False, True])
def test_contexts_are_the_means_of_the_tasks(events: bool) -> None:
    split = streams.split(recordings(48), dt=5.0) if events else streams.permuted(squares(80), tasks=2)
    model = network(split, **SMALL)
    run(split, "dendrites", model, batch_size=16)
    assert model.prototypes.shape == (2, 16)
    for k, task in enumerate(split.tasks):
        x = task.train.batch(np.arange(len(task.train.labels)))
        torch.testing.assert_close(model.prototypes[k], (x.counts() if events else x).mean(0))


def test_it_learns_and_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    pairs = streams.permuted(squares(200), tasks=3)
    how: dict[str, Any] = {"options": SMALL, "epochs": 20, "batch_size": 16}
    whole = run(pairs, "dendrites", **how)
    assert whole.R.diagonal().min() > 0.8 and whole.stored == [16, 32, 48]

    def stop(line: str) -> None:
        raise Killed

    with pytest.raises(Killed):
        run(pairs, "dendrites", folder=tmp_path, report=stop, **how)
    found = run(pairs, "dendrites", folder=tmp_path, **how)
    assert np.array_equal(found.R, whole.R) and found.stored == whole.stored


def test_the_published_setting() -> None:
    stream = streams.permuted(squares(40), tasks=10)
    model = network(stream, published=True)
    assert [tuple(layer.segments.shape) for layer in model.layers] == [(2048, 10, 16)] * 2
    assert model.winners == [102, 102] and model.layers[1].mask.mean() == 0.5
    assert [tuple(layer.weight.shape) for layer in network(stream).layers] == [(800, 16), (800, 800)]
    assert published_pace(10) == (3, 5e-4) and published_pace(2) == (1, 5e-4) and published_pace(11) == (5, 3e-4)
    assert published_pace(100) == published_pace(300) == (3, 1e-4)
    optimizer = published_optimizer(10, model.parameters())
    assert isinstance(optimizer, torch.optim.Adam) and optimizer.defaults["lr"] == 5e-4


def test_the_published_setting_is_what_runs(tmp_path: Path) -> None:
    """Six tasks of 40 images, of which 32 train: three epochs of one step each, whatever else was asked for."""
    told: list[torch.Tensor] = []
    stream = streams.permuted(squares(40), tasks=6)
    model = network(stream, widths=(20, 20))
    model.register_forward_hook(lambda module, args, out: told.append(args[0]) if module.training else None)
    run(stream, "dendrites-published", model, lr=9.0, epochs=1, batch_size=1)
    assert [len(x) for x in told] == [32] * 3 * 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": default}, "model: dendrites need a DendriticMLP, got CurrentMLP"),
        ({"options": {"winner": 1}}, "options: dendrites does not take {'winner': 1}"),
        ({"options": {"winners": 2}}, "winners: expected a share"),
        ({"options": {"winners": 0.1}, "model": lambda s: network(s)}, "takes them for the network it brings"),
    ],
)  # fmt: skip
def test_bad_input(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run(streams.permuted(squares(), tasks=2), "dendrites", **arguments)


def test_a_network_may_have_them_inside() -> None:
    inner = DendriticMLP((4, 8, 2))
    method = Contexts(nn.Sequential(nn.Identity(), inner))
    method.begin_task([(torch.ones(3, 4), torch.zeros(3)), (torch.zeros(1, 4), torch.zeros(1))])
    assert inner.prototypes.tolist() == [[0.75] * 4] and method.stored() == 4
