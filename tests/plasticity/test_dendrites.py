"""Active dendrites: gates, winners, prototypes, and tasks that contradict each other kept apart."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from spiking.events import Events
from spiking.plasticity.dendrites import ActiveDendrites, DendriticMLP, k_winners


def test_k_winners_pass_values_and_gradients():
    y = torch.tensor([[3.0, -1.0, 2.0, 0.5], [-4.0, -1.0, -2.0, -3.0]], requires_grad=True)
    z = k_winners(y, 2)
    assert z.tolist() == [[3.0, 0.0, 2.0, 0.0], [0.0, -1.0, -2.0, 0.0]]
    z.sum().backward()
    assert y.grad.tolist() == [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]]


def test_a_layer_is_its_equation():
    torch.manual_seed(0)
    layer = ActiveDendrites(6, 5, 3, 4, density=0.5)
    assert layer.mask.sum(1).tolist() == [3.0] * 5
    x, contexts, which = torch.randn(7, 6), torch.randn(2, 4), torch.tensor([0, 1, 1, 0, 1, 0, 0])
    d = torch.einsum("bn,ujn->buj", contexts[which], layer.segments)
    d = d.gather(2, d.abs().argmax(2, keepdim=True)).squeeze(2)
    wanted = (x @ (layer.weight * layer.mask).t() + layer.bias) * d.sigmoid()
    torch.testing.assert_close(layer(x, contexts, which), wanted)
    torch.testing.assert_close(layer(x, contexts, 1), layer(x, contexts, torch.ones(7, dtype=torch.int64)))
    layer(x, contexts, which).sum().backward()
    assert not layer.weight.grad[layer.mask == 0].any()


def test_two_tasks_that_contradict_each_other_are_kept_apart():
    """Patterns shifted by the task's offset have other labels in the second task; the first is kept better."""
    kept = {"dendrites": [], "plain": []}
    for seed in range(5):
        g = torch.Generator().manual_seed(seed + 1)
        offset = 3 * torch.randn(2, 12, generator=g)
        patterns, labels = torch.randn(16, 12, generator=g), torch.arange(16) % 4
        for name in kept:
            torch.manual_seed(seed)
            plain = torch.nn.Sequential(torch.nn.Linear(12, 400), torch.nn.ReLU(), torch.nn.Linear(400, 4))
            model = plain if name == "plain" else DendriticMLP((12, 400, 4), segments=2, winners=0.05)
            for task in range(2):
                x, y = patterns + offset[task], (labels + task) % 4
                model.train()
                if name == "dendrites":
                    model.begin_task(x)
                optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
                for _ in range(60):
                    optimizer.zero_grad()
                    cross_entropy(model(x), y).backward()
                    optimizer.step()
            model.eval()
            if name == "dendrites":
                assert model.nearest(patterns + offset[0]).tolist() == [0] * 16
            kept[name].append(float((model(patterns + offset[0]).argmax(1) == labels).float().mean()))
    assert all(gated > plain for gated, plain in zip(*kept.values(), strict=True)), kept
    assert sum(kept["dendrites"]) > 5 * 0.5, kept


def learn_two_tasks(seed: int, blind: bool) -> tuple[DendriticMLP, list[float]]:
    """A network after two tasks, the same patterns shifted and with other labels, and its loss on both."""
    torch.manual_seed(seed)
    model = DendriticMLP((40, 1000, 4), segments=4)
    g = torch.Generator().manual_seed(seed)
    offset = 2 * torch.randn(2, 40, generator=g)
    patterns, labels = torch.randn(16, 40, generator=g), torch.arange(16) % 4
    for task in range(2):
        model.train()
        model.begin_task(offset[:1] if blind else patterns + offset[task])
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(100):
            optimizer.zero_grad()
            cross_entropy(model(patterns + offset[task]), (labels + task) % 4).backward()
            optimizer.step()
    model.eval()
    assert blind or model.nearest(patterns + offset[0]).tolist() == [0] * 16
    with torch.no_grad():
        return model, [float(cross_entropy(model(patterns + offset[t]), (labels + t) % 4)) for t in range(2)]


@pytest.mark.parametrize("seed", range(3))
def test_contexts_keep_tasks_apart(seed):
    """Both tasks are learned; the first is forgotten less than by a network that has one context for both."""
    model, (first, second) = learn_two_tasks(seed, blind=False)
    _, (mixed, alone) = learn_two_tasks(seed, blind=True)
    assert second < 0.1 and alone < 0.1
    assert first < 0.3 * mixed
    again = DendriticMLP((40, 1000, 4), segments=4).eval()
    again.load_state_dict(model.state_dict())
    x = torch.randn(5, 40)
    assert torch.equal(again(x), model(x))


def test_before_the_first_task_every_gate_is_a_half():
    torch.manual_seed(0)
    model = DendriticMLP((6, 8, 3), winners=1.0).eval()
    x = torch.randn(5, 6)
    layer = model.layers[0]
    hidden = (x @ (layer.weight * layer.mask).t() + layer.bias) / 2
    torch.testing.assert_close(model(x), hidden @ (model.weight * model.mask).t() + model.bias)


def test_events_are_counted():
    torch.manual_seed(0)
    model = DendriticMLP((6, 40, 3), winners=0.5).eval()
    x = (torch.rand(7, 5, 6) < 0.4).float()
    model.begin_task(x.sum(0))
    assert torch.equal(model(Events.from_dense(x, 1.0)), model(x.sum(0)))


def test_bad_input():
    for make, words in (
        (lambda: DendriticMLP((4, 3)), "sizes: expected"), (lambda: DendriticMLP((4, 3, 2), winners=0), "winners:"),
        (lambda: DendriticMLP((4, 3, 2), density=0), "density:"), (lambda: DendriticMLP((4, 3, 2), 0), "segments:"),
        (lambda: ActiveDendrites(2, 2, 2, 2, context_density=2), "context_density:"),
        (lambda: DendriticMLP((4, 3, 2)).begin_task(torch.zeros(0, 4)), "samples: expected"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            make()
    with pytest.raises(RuntimeError, match="begin_task"):  # of no use to train without a context
        DendriticMLP((4, 3, 2))(torch.zeros(1, 4))
