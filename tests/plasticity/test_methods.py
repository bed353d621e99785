"""GPM, OWM, EWC, SI, Replay and sequential training: each against its equation worked out by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from spiking.events import Events
from spiking.plasticity import EWC, GPM, OWM, SI, Method, Replay, logits
from spiking.plasticity.projection.gpm import grow

from .common import NAMES, batch, network, train


def data(task: int, count: int = 3):
    return [batch(77 + 10 * task + b) for b in range(count)]


METHODS = {
    "sequential": lambda model: Method(),
    "gpm": lambda model: GPM(model, NAMES, threshold=lambda task: 0.9 + 0.01 * task, batch_axis=1),
    "owm": lambda model: OWM(model, NAMES, alpha=0.1),
    "ewc": lambda model: EWC(model, 100.0, samples=6, batch_axis=1),
    "si": lambda model: SI(model, 1.0),
    "replay": lambda model: Replay(3, batch_axis=1),
}


@pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
def test_resuming_at_a_task_gives_the_same_bits(make):
    whole, parts = network(), network()
    a, b = make(whole), make(parts)
    for model, method in ((whole, a), (parts, b)):
        train(model, method, 0, steps=4)
        method.next_task(data(0))
    c = make(parts)
    c.load_state_dict(copy.deepcopy(b.state_dict()))
    assert c.stored() == a.stored() and (a.stored() > 0) == (type(a) is not Method)
    for model, method in ((whole, a), (parts, c)):
        train(model, method, 1, steps=4)
        method.next_task(data(1))
        train(model, method, 2, steps=2)
    for name, now in whole.state_dict().items():
        assert torch.equal(now, parts.state_dict()[name]), name
    with pytest.raises(ValueError, match=r"state: .* expects"):
        c.load_state_dict({"task": 1, "other": 2})


def events(batches):
    return [(Events.from_dense(x, 1.0), labels) for x, labels in batches]


def test_sequential_training_changes_nothing():
    method, (x, labels) = Method(), batch(0)
    assert method.observe(x, labels, 3) == (x, labels) and float(method.penalty()) == 0
    with pytest.raises(TypeError, match="unexpected argument rows"):
        method.next_task(rows={})


@pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
def test_a_batch_may_be_given_as_a_pair(make):
    method, (x, labels) = make(network()), batch(0)
    for given in ((x, labels), [x, labels]):
        inputs, known = method.observe(given)
        assert torch.equal(inputs, x) and torch.equal(known, labels)
    if isinstance(method, Replay):
        method.next_task([(x, labels)])
        inputs, known = method.observe((x, labels), task=1)
        assert len(known) > len(labels) and method.tasks[0] == 1
    with pytest.raises(ValueError, match=r"observe: expected inputs and labels, .* got Tensor and NoneType"):
        method.observe(x)
    with pytest.raises(ValueError, match="got tuple of 2 and Tensor"):
        method.observe((x, labels), labels)
    with pytest.raises(ValueError, match="got tuple of 3 and NoneType"):
        method.observe((x, labels, 0))


def test_logits_average_a_readout_over_valid_steps():
    x = torch.ones(4, 2, 3)
    given = Events.from_dense(x, 1.0, torch.tensor([4, 2]))
    model = nn.Module()
    model.forward = lambda x: (torch.arange(8.0).view(4, 2, 1), None)
    assert logits(model)(x).flatten().tolist() == [3.0, 4.0]
    assert logits(model)(given).flatten().tolist() == [3.0, 2.0]
    assert torch.equal(logits(nn.Identity())(x[0]), x[0])


def test_gpm_keeps_the_directions_its_threshold_asks_for():
    """Energies 16, 4, 1 of three axes, then 9 and 1 of two others beside 16 of one that is kept."""
    axes = torch.eye(6, dtype=torch.float64)
    R = torch.diag(torch.tensor([4.0, 2.0, 1.0, 0.0, 0.0, 0.0]).double())
    M = grow(axes[:0], R, 0.96)  # 16/21 = 0.762 and 20/21 = 0.952 stay below
    assert torch.equal(M.abs(), axes[:2])
    assert grow(axes[:0], R, 0.95).shape[0] == 1
    later = torch.diag(torch.tensor([4.0, 0.0, 0.0, 3.0, 1.0, 0.0]).double())
    # held 16/26 = 0.615, with the first 25/26 = 0.962: a row joins while what is held stays below the threshold.
    assert torch.equal(grow(M, later, 0.96)[2:].abs(), axes[3:4])
    assert grow(M, later, 0.97).shape[0] == 4
    assert grow(M, later, 0.6).shape[0] == 2


def test_gpm_looks_at_so_many_samples_of_the_task():
    model = nn.Linear(20, 4)
    gpm = GPM(model, [""], threshold=1.0, samples=5, time_first=False)
    x = torch.randn(4, 20)
    gpm.next_task([(x, torch.zeros(4)), (torch.randn(4, 20), torch.zeros(4)), (torch.randn(4, 20), torch.zeros(4))])
    assert gpm.basis[""].shape[0] <= 5 and model.training
    kept = gpm.basis[""]
    assert (x - x @ kept.t() @ kept).norm() < 0.5 * x.norm()
    model(torch.randn(4, 20)).square().sum().backward()
    gpm.project()
    assert (model.weight.grad @ kept.t()).abs().max() < 1e-4
    with pytest.raises(ValueError, match="batches: GPM looks"):
        gpm.next_task()


def test_gpm_tells_what_it_will_keep():
    model = nn.Linear(20, 4)
    gpm = GPM(model, [""], threshold=0.8, patches=6, time_first=False)
    batches = [(torch.randn(30, 20), torch.zeros(30))]
    assert gpm.report() == {"": {"rows": 0.0, "inputs": 20.0}}
    told = gpm.report(batches)[""]
    assert gpm.report(batches)[""] == told and not gpm.basis[""].shape[0]  # looking changes nothing
    gpm.next_task(batches)
    assert gpm.report()[""]["rows"] == told["rows"] > 0
    assert 0.5 < told["energy"] <= 0.8  # the first task stays below, as published
    assert gpm.report(batches)[""]["energy"] > told["energy"]


def test_owm_tells_what_it_has_closed():
    """Inputs along two axes, weakly along a third: two directions are closed, and hold nearly all energy."""
    model = nn.Linear(5, 2).double()
    owm = OWM(model, [""], alpha=0.1, time_first=False)
    axes = torch.eye(5, dtype=torch.float64)[:3] * torch.tensor([[30.0], [20.0], [1e-3]], dtype=torch.float64)
    assert owm.report() == {"": {"rows": 0.0, "inputs": 5.0}}
    for step in range(9):
        model(axes[step % 3].expand(4, 5))
        owm.learn()
    told = owm.report()[""]
    assert told["rows"] == pytest.approx(2, abs=1e-3) and told["energy"] == pytest.approx(1, abs=1e-3)
    model(torch.eye(5, dtype=torch.float64)[4:])
    owm.next_task()
    assert "energy" not in owm.report()[""]


def test_owm_is_recursive_least_squares():
    """P = alpha (alpha I + sum of x x^T)^-1, and a task's projector is that of the tasks before."""
    model = nn.Linear(5, 2).double()
    owm = OWM(model, [""], alpha=0.3, time_first=False)
    means = []
    for _ in range(7):
        x = torch.randn(4, 5, dtype=torch.float64)
        model(x)
        owm.learn()
        means.append(x.mean(0))
    A = torch.stack(means)
    eye = torch.eye(5, dtype=torch.float64)
    assert torch.equal(owm.projector[""], eye)
    owm.next_task()
    P = 0.3 * torch.linalg.inv(0.3 * eye + A.t() @ A)
    torch.testing.assert_close(owm.projector[""], P)
    model(torch.randn(4, 5, dtype=torch.float64)).sin().sum().backward()
    free = model.weight.grad.clone()
    owm.project()
    torch.testing.assert_close(model.weight.grad, free @ P)


@pytest.mark.parametrize("fisher", ["exact", "sampled", "empirical"])
def test_fisher_information_of_a_linear_classifier(fisher):
    """d log p_c / d W_kj = (1[c = k] - p_k) x_j."""
    torch.manual_seed(0)
    model = nn.Linear(4, 3, bias=False).double()
    x, labels = torch.randn(400, 4, dtype=torch.float64), torch.randint(0, 3, (400,))
    ewc = EWC(model, 2.0, fisher=fisher, samples=400)
    p = model(x).softmax(1).detach()
    one = torch.eye(3, dtype=torch.float64)
    if fisher == "empirical":
        square = (one[labels] - p).square()
    else:
        square = sum(p[:, [c]] * (one[c] - p).square() for c in range(3))
    wanted = (square[:, :, None] * x.square()[:, None, :]).mean(0)
    found = ewc.information([(x[:250], labels[:250]), (x[250:], labels[250:])])["weight"]
    torch.testing.assert_close(found, wanted, rtol=0.25 if fisher == "sampled" else 1e-9, atol=1e-9)
    assert (found - wanted).abs().max() > 0 or fisher != "sampled"


def test_outputs_that_are_not_finite_are_named():
    model = nn.Linear(3, 2)
    nn.init.constant_(model.weight, float("nan"))
    with pytest.raises(FloatingPointError, match="EWC: the model's outputs are not finite"):
        EWC(model, 1.0).next_task([(torch.ones(1, 3), torch.zeros(1))])


def test_two_tasks_pull_as_two_springs():
    model = nn.Linear(3, 2, bias=False).double()
    ewc = EWC(model, 6.0, fisher="exact")
    springs = []
    for _ in range(2):
        x = torch.randn(20, 3, dtype=torch.float64)
        springs.append((ewc.information([(x, torch.zeros(20))])["weight"], model.weight.detach().clone()))
        ewc.next_task([(x, torch.zeros(20))])
        if len(springs) == 1:
            with torch.no_grad():
                model.weight.add_(torch.randn(2, 3, dtype=torch.float64))
            F, theta = springs[0]
            torch.testing.assert_close(ewc.penalty(), 3.0 * (F * (model.weight - theta).square()).sum())
    with torch.no_grad():
        model.weight.add_(1.0)
    ewc.penalty().backward()
    pull = sum(6.0 * F * (model.weight - theta) for F, theta in springs)
    torch.testing.assert_close(model.weight.grad, pull.detach())


def test_path_integral_by_hand():
    model = nn.Linear(3, 1, bias=False).double()
    si = SI(model, 0.5, xi=0.2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    start = model.weight.detach().clone()
    omega, anchor = torch.zeros_like(start), start
    for task in range(2):
        path = torch.zeros_like(start)
        for _ in range(4):
            x = torch.randn(6, 3, dtype=torch.float64)
            loss = model(x).square().mean()
            (g,) = torch.autograd.grad(loss, model.weight, retain_graph=True)
            before = model.weight.detach().clone()
            optimizer.zero_grad()
            penalty = si.penalty()
            if task:
                torch.testing.assert_close(penalty, 0.5 * (omega * (model.weight - anchor).square()).sum())
            (loss + penalty).backward()
            si.project()
            optimizer.step()
            si.learn()
            path -= g * (model.weight.detach() - before)
        omega = omega + (path / ((model.weight.detach() - anchor).square() + 0.2)).clamp(min=0)
        anchor = model.weight.detach().clone()
        si.next_task()
        torch.testing.assert_close(si.importance["weight"], omega)
    with pytest.raises(RuntimeError, match=r"project\(\)"):
        si.learn()


@pytest.mark.parametrize("kind", ["images", "steps", "events"])
def test_replay_keeps_so_many_of_each_class_and_gives_them_back(kind):
    replay = Replay(2, batch=5, batch_axis=0 if kind == "images" else 1)

    def wrap(labels: torch.Tensor, task: int):
        x = (labels + 10 * task + 1).float()[:, None].expand(-1, 3)  # a sample says what it is
        if kind == "images":
            return x
        x = x.expand(4, *x.shape)
        return Events.from_dense(x, 1.0) if kind == "events" else x

    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    x = wrap(labels, 0)
    assert replay.observe(x, labels) == (x, labels)
    for task in (0, 1):
        replay.next_task([(wrap(labels, task), labels), (wrap(labels[:3], task), labels[:3])])
    assert replay.labels.bincount().tolist() == [4, 4, 4] and replay.origin.bincount().tolist() == [6, 6]
    inputs, known = replay.observe(wrap(labels, 2), labels, 2)
    assert len(known) == 13 and replay.tasks.tolist()[:8] == [2] * 8
    dense = inputs.to_dense() if isinstance(inputs, Events) else inputs
    said = dense[..., 0] if kind == "images" else dense[0, :, 0]
    assert torch.equal(said, known + 10 * replay.tasks + 1)
    assert replay.stored() == {"images": 36, "steps": 144, "events": 49 + 144 + 144}[kind]
    with pytest.raises(ValueError, match="batches: Replay keeps"):
        replay.next_task()


def test_springs_and_memory_keep_what_sequential_training_forgets():
    """End to end on a spiking network, from Events."""
    first, second = events(data(0, 1)), events(data(1, 1))

    def loss(model: nn.Module) -> torch.Tensor:
        ((x, labels),) = first
        return cross_entropy(logits(model)(x), labels)

    lost = {}
    for name in ("sequential", "ewc", "si", "replay"):
        model = network()
        method = EWC(model, 3000.0, samples=12) if name == "ewc" else METHODS[name](model)
        before = 0.0
        for task, ((x, labels),) in enumerate((first, second)):
            optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
            for _ in range(40):
                inputs, truth = method.observe(x, labels, task)
                optimizer.zero_grad()
                (cross_entropy(logits(model)(inputs), truth) + method.penalty()).backward()
                method.project()
                optimizer.step()
                method.learn()
            if not task:
                before = loss(model).item()
                method.next_task(first)
        lost[name] = loss(model).item() - before
    assert max(lost["ewc"], lost["si"], lost["replay"]) < 0.8 * lost["sequential"], lost


def test_bad_input():
    model = network()
    for make, words in (
        (lambda: GPM(model, ["a"]), r"layers: no layer 'a'; .*readout"), (lambda: OWM(model, NAMES, alpha=0), "alpha:"),
        (lambda: GPM(model, NAMES, threshold=1.2), "threshold: layers.0: expected above 0 and up to 1, got 1.2"),
        (lambda: GPM(model, NAMES, threshold="most"), "threshold: layers.0: expected above 0 and up to 1, got 'most'"),
        (lambda: OWM(model, NAMES, alpha=math.inf), "alpha: expected a finite number above 0, got inf"),
        (lambda: EWC(model, math.inf), "strength: expected a finite number of 0 or more, got inf"),
        (lambda: SI(model, "much"), "strength: expected a finite number of 0 or more, got 'much'"),
        (lambda: SI(model, xi=math.inf), "xi: expected a finite number above 0, got inf"),
        (lambda: GPM(model, NAMES, threshold={"readout": 0.9}), "threshold: expected one for each"),
        (lambda: EWC(model, -1), "strength: expected a finite number of 0 or more, got -1"),
        (lambda: EWC(model, 1, fisher="true"), "fisher:"),
        (lambda: EWC(model, 1, samples=0), "samples:"), (lambda: SI(model, xi=0), "xi:"),
        (lambda: Replay(0), "per_class:"), (lambda: Replay(1, 0), "batch:"),
        (lambda: SI(nn.Flatten()), "model: expected parameters"), (lambda: EWC(model, 1).next_task(), "batches: EWC"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            make()
