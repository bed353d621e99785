"""HLOP: its subspace, its projection on every kind of layer, its presets, what it refuses."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from spiking.events import Events
from spiking.kernels import Lateral
from spiking.kernels.oja import quantise
from spiking.networks import SpikingConvNet, SpikingMLP
from spiking.neurons import LIF
from spiking.plasticity import GPM, HLOP, OWM, logits
from spiking.plasticity.projection.guarantee import ProjectionWarning
from spiking.plasticity.projection.hlop import STEP, published_rows
from spiking.plasticity.projection.rows import complement, leading

from .common import NAMES, batch, network, train

ROWS = dict.fromkeys(NAMES, 4)


def test_the_lines_of_the_api_work():
    model = network()
    hlop = HLOP(model, rows={"layers.0": 8, "layers.1": 9, "readout": 10})
    train(model, hlop, 0)
    hlop.next_task(rows={"layers.0": 3, "layers.1": 3, "readout": 3})
    assert [said["rows"] for said in hlop.report().values()] == [11, 12, 13]
    assert [H.shape[0] for H in hlop.basis.values()] == [8, 9, 10]


def test_the_lines_of_the_api_work_word_for_word():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, labels = batch(0)
    hlop = HLOP(model, rows={"layers.0": 8, "layers.1": 9, "readout": 10})
    for task in range(2):
        loss = cross_entropy(model(x)[0].mean(0), labels)
        optimizer.zero_grad()
        loss.backward(); hlop.project(); optimizer.step(); hlop.learn()  # fmt: skip  # noqa: E702
        if not task:
            hlop.next_task(rows={"layers.0": 7, "layers.1": 7, "readout": 7})
    assert [H.shape[0] for H in hlop.basis.values()] == [8, 9, 10] and set(hlop.rows.values()) == {7}
    G = model.layers[0].weight.grad
    assert (hlop.basis["layers.0"] @ G).abs().max() < 1e-5 * G.abs().max()


def test_published_rows_are_the_papers():
    total = [sum(published_rows(NAMES, t)[name] for t in range(10)) for name in NAMES]
    assert total == [470, 590, 490]


@pytest.mark.parametrize("preset", ["published", "improved"])
def test_old_rows_stay_and_new_ones_find_the_rest(preset):
    """Two tasks on a linear layer: residual energy within 5 % of what SVDs of the same activity leave."""
    g = torch.Generator().manual_seed(0)
    model = nn.Linear(24, 3, bias=False).double()
    hlop = HLOP(model, {"": 5}, preset=preset, lr={"": 0.2} if preset == "published" else None)
    seen, old = [], torch.zeros(0, 24, dtype=torch.float64)
    for _ in range(2):
        mix = torch.linalg.qr(torch.randn(24, 24, generator=g, dtype=torch.float64))[0]
        x = torch.randn(3000, 24, generator=g, dtype=torch.float64) * 0.6 ** torch.arange(24) @ mix * 2
        for step in range(400):
            model(x[step % 15 :: 15])
            hlop.learn()
        hlop.next_task()
        H = hlop.basis[""]
        assert torch.equal(H[: len(old)], old)
        rest = x - x @ old.t() @ old
        best = torch.linalg.svd(rest, full_matrices=False)[2][:5]
        left = (x - x @ H.t() @ H).square().sum()
        assert left < 1.05 * (rest - rest @ best.t() @ best).square().sum()
        old = H.clone()
        seen.append(x)
    assert (old @ old.t() - torch.eye(10)).abs().max() < (1e-12 if preset == "improved" else 0.05)


def test_activity_after_silence_or_unlike_all_before_meets_no_step_too_long():
    """A batch of zeros, then one whose rows are orthogonal to those before it and a hundred times as large."""
    layer = nn.Linear(10, 2, bias=False)
    hlop = HLOP(layer, {"": 4})
    for scale, columns in ((0.0, slice(0, 5)), (1.0, slice(0, 5)), (100.0, slice(5, 10))):
        x = torch.zeros(8, 10)
        x[:, columns] = scale * torch.rand(8, 5, generator=torch.Generator().manual_seed(0))
        layer(x)
        hlop.learn()
        largest = torch.linalg.matrix_norm(x, 2) ** 2 / len(x)
        assert scale == 0 or 0.29 < STEP / hlop.top[""] * largest < 0.45


def test_rows_of_a_spectrum_without_a_gap_are_within_5_percent():
    """One pass over activity whose energies fall slowly, as those of images: spare rows are what it takes."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(6000, 100, generator=g) * torch.arange(1, 101) ** -0.7
    x = x @ torch.linalg.qr(torch.randn(100, 100, generator=g))[0]
    layer = nn.Linear(100, 2, bias=False)
    hlop = HLOP(layer, {"": 20})
    for rows in x.split(20):
        layer(rows)
        hlop.learn()
    hlop.next_task(rows={"": 5})
    H = hlop.basis[""]
    least = torch.linalg.eigvalsh(x.t() @ x)[:-20].sum()
    assert len(H) == 20 and (x - x @ H.t() @ H).square().sum() < 1.05 * least


def test_rows_are_orthonormal_after_ten_tasks_and_never_more_than_inputs():
    model = network()
    hlop = HLOP(model, dict.fromkeys(NAMES, 3))
    for task in range(10):
        train(model, hlop, task, steps=2, lr=0.01)
        hlop.next_task()
    assert [len(H) for H in hlop.basis.values()] == [20, 24, 24]
    for entry in hlop.report().values():
        assert entry["error"] < 1e-2
    before = copy.deepcopy(model.state_dict())
    train(model, hlop, 10, steps=2)
    for name, now in model.state_dict().items():
        torch.testing.assert_close(now, before[name], rtol=0, atol=1e-5)


def test_old_outputs_of_a_layer_stay():
    """With all of its inputs inside the rows, a layer's outputs for old inputs do not move."""
    torch.manual_seed(0)
    basis = torch.randn(3, 20)
    model = nn.Linear(20, 4, bias=False)
    hlop = HLOP(model, {"": 3})
    for _ in range(300):
        model(torch.randn(16, 3) @ basis)
        hlop.learn()
    hlop.next_task()
    x = torch.randn(16, 3) @ basis
    before = model(x).detach()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(16, 20)).square().sum().backward()
        hlop.project()
        optimizer.step()
    assert (model(x) - before).abs().max() < 0.02 * before.abs().max()
    assert (model.weight.detach() @ hlop.basis[""].t()).abs().max() > 0.1


@pytest.mark.parametrize("lateral", [None, Lateral(2.0, 10)])
def test_our_layers_and_torchs_project_alike(lateral):
    """LIF with weights (in, out), and nn.Linear (out, in) before LIF without: equal weights, equal gradients."""
    torch.manual_seed(1)
    ours = LIF(20, 6, dt=1.0)
    linear, neurons = nn.Linear(20, 6, bias=False), LIF(6, dt=1.0)
    with torch.no_grad():
        ours.weight.mul_(5)
        linear.weight.copy_(ours.weight.t())
    x = (torch.rand(7, 5, 20) < 0.4).float()
    grads = []
    for layer, run in ((ours, lambda x: ours(x)), (linear, lambda x: neurons(linear(x)))):
        form = "activity" if lateral else "gradient"
        hlop = HLOP(layer, {"": 6}, seed=3, lateral=lateral, form=form, trace="steps")
        run(x)
        hlop.learn()
        hlop.next_task()
        run(x)[0].square().sum().backward()
        free = layer.weight.grad.clone()
        hlop.project()
        grads.append(layer.weight.grad if layer is ours else layer.weight.grad.t())
        assert (free - layer.weight.grad).abs().max() > 0.01 * free.abs().max()
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)


LAYERS = {
    "linear": (lambda: nn.Linear(12, 5), (9, 12)),
    "conv1": (lambda: nn.Conv1d(3, 5, 4, stride=2, padding=1), (2, 3, 9)),
    "conv2": (lambda: nn.Conv2d(3, 5, (3, 2), stride=(2, 1), padding=1, dilation=(1, 2)), (2, 3, 9, 8)),
    "conv3": (lambda: nn.Conv3d(2, 5, 3, padding="same"), (2, 2, 3, 4, 3)),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_both_forms_are_equal_for_linear_neurons_only(make):
    build, shape = make
    found = {}
    for label, form, lateral in (
        ("gradient", "gradient", None), ("activity", "activity", None), ("coarse", "activity", Lateral(4.0, 4)),
    ):  # fmt: skip
        torch.manual_seed(2)
        layer, x = build().double(), torch.randn(*shape, dtype=torch.float64)
        hlop = HLOP(layer, {"": 4}, form=form, lateral=lateral, time_first=False)
        layer(x)
        hlop.learn()
        hlop.next_task()
        hlop.keep("", complement(torch.randn(4, hlop.basis[""].shape[1], dtype=torch.float64), hlop.basis[""][:0]))
        layer(x).sin().sum().backward()
        free, H = layer.weight.grad.flatten(1).clone(), hlop.basis[""]
        hlop.project()
        found[label] = layer.weight.grad.flatten(1)
        if label == "coarse":  # the published definition, from rows of activity and the gradient of each output
            rows = hlop.sites[""].rows(x)
            g = layer(x).detach().cos().movedim(1, -1).reshape(-1, 5)
            y = quantise(rows @ H.t(), lateral)
            torch.testing.assert_close(g.t() @ rows, free)
            torch.testing.assert_close(found[label], g.t() @ (rows - y @ H))
    torch.testing.assert_close(found["gradient"], found["activity"])
    assert (found["coarse"] - found["gradient"]).norm() > 1e-3 * free.norm()


@pytest.mark.parametrize(("levels", "wanted"), [(1000, 0.004), (40, 0.097)])
def test_quantised_neurons_differ_as_in_the_published_code(levels, wanted):
    """For S = 20 the two forms of a convolution differ by 0.4 % at T_l = 1000 and 9.7 % at T_l = 40.

    Rounding adds to each of k activities an error of S / T_l / sqrt(12). So for inputs of variance 1 the difference is
    S / T_l sqrt(k / 12 / (n - k)) of the projected gradient, and these figures belong to 31 % of n directions.
    """
    torch.manual_seed(0)
    layer, x = nn.Conv2d(6, 8, 3, bias=False).double(), torch.randn(8, 6, 18, 18, dtype=torch.float64)
    n = 54
    H = complement(torch.randn(17, n, dtype=torch.float64), torch.zeros(0, n, dtype=torch.float64))
    grads = []
    for form, lateral in (("gradient", None), ("activity", None), ("activity", Lateral(20.0, levels))):
        layer.zero_grad()
        copy_ = copy.deepcopy(layer)
        hlop = HLOP(copy_, {"": 17}, form=form, lateral=lateral)
        hlop.task = 1
        hlop.keep("", H)
        g = torch.Generator().manual_seed(1)
        out = copy_(x)
        (out * torch.randn(out.shape, generator=g, dtype=torch.float64)).sum().backward()
        hlop.project()
        grads.append(copy_.weight.grad)
    gradient, activity, spiking = grads
    torch.testing.assert_close(gradient, activity, rtol=1e-9, atol=1e-9)
    found = float((spiking - gradient).norm() / gradient.norm())
    assert found == pytest.approx(20 / levels * (17 / 12 / (n - 17)) ** 0.5, rel=0.15)
    assert found == pytest.approx(wanted, rel=0.15)


def test_spiking_convolutions_learn_from_patches_of_rates():
    torch.manual_seed(0)
    net = SpikingConvNet((8, 8, 2), (3,), 4, hidden=(10,), dt=1.0)
    hlop = HLOP(net, {"layers.0": 10, "layers.1": 5, "readout": 3}, patches=20)
    x = (torch.rand(5, 6, 128) < 0.3).float()
    for source in (x, Events.from_dense(x, 1.0)):
        out, _ = net(source)
        rows = hlop.traces._seen["layers.0"][0]
        assert rows.shape == (20, 50)
        out.sum().backward()
        hlop.learn()
    full = hlop.sites["layers.0"].rows(x.mean(0))
    want = nn.functional.unfold(x.mean(0).view(6, 2, 8, 8), 5, padding=2, stride=2).transpose(1, 2).reshape(-1, 50)
    torch.testing.assert_close(full, want)
    hlop.next_task()
    hlop.project()
    G = net.layers[0].conv.weight.grad.flatten(1)
    assert (G @ hlop.basis["layers.0"].t()).abs().max() < 1e-5 * G.abs().max().clamp(min=1e-3) + 1e-6


def test_energy_decides_how_many_rows_stay():
    x = torch.randn(500, 6, dtype=torch.float64) @ torch.diag(torch.tensor([5.0, 3.0, 1.0, 0.1, 0.1, 0.1]).double())
    eye = torch.eye(6, dtype=torch.float64)
    assert leading(x, eye[:0], eye, 0.99).shape == (3, 6)
    assert leading(x, eye[:1], eye[1:], 0.90).shape == (1, 6)
    assert leading(x, eye[:2], eye[2:], 0.50).shape == (0, 6)


def test_other_parameters_stay_after_the_first_task():
    model = nn.Sequential(nn.Linear(20, 6), nn.ReLU(), nn.Linear(6, 3))
    hlop = HLOP(model, {"0": 3}, time_first=False)
    for task in (0, 1):
        model(torch.randn(4, 20)).sum().backward()
        hlop.project()
        assert (model[0].bias.grad is None) == (task == 1)
        assert model[2].bias.grad is not None
        hlop.learn()
        hlop.next_task()


def normal_nets():
    yield nn.Sequential(nn.Linear(20, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 4)), ("0", "3")
    yield SpikingMLP([20, 12, 4], norm="batch", dt=1.0), ("layers.0", "readout")
    yield SpikingConvNet((2, 5, 2), (3,), 4, hidden=(6,), dt=1.0), ("layers.0", "readout")


@pytest.mark.parametrize("case", range(3))
@pytest.mark.parametrize("kind", ["hlop", "gpm", "owm"])
def test_batch_normalisation_stays_after_the_first_task(kind, case):
    torch.manual_seed(0)
    net, names = list(normal_nets())[case]
    norms = [m for m in net.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    assert norms
    x = torch.rand(5, 6, 20).round() if case else torch.randn(6, 20)
    forward = logits(net)
    made = {
        "hlop": lambda: HLOP(net, dict.fromkeys(names, 2)), "owm": lambda: OWM(net, names),
        "gpm": lambda: GPM(net, names, batch_axis=min(case, 1)),
    }  # fmt: skip
    method = made[kind]()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    seen = []
    for task in range(2):
        seen.append([(m.running_mean.clone(), m.running_var.clone(), m.weight.detach().clone()) for m in norms])
        for step in range(3):
            net.train()
            optimizer.zero_grad()
            forward(x + 0.1 * step).square().sum().backward()
            assert all(m.training == (not task) for m in norms)
            method.project()
            optimizer.step()
            method.learn()
        if not task:
            method.next_task(batches=[(x, torch.zeros(6))])
    seen.append([(m.running_mean.clone(), m.running_var.clone(), m.weight.detach().clone()) for m in norms])
    before, after, last = seen
    assert not torch.equal(before[0][0], after[0][0])  # the first task moves them
    for kept, still in zip(after, last, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(kept, still, strict=True))


def test_batch_normalisation_without_statistics_is_named():
    net = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=False))
    with pytest.warns(ProjectionWarning, match="1: has no running statistics to keep"):
        HLOP(net, {"0": 2})
    loose = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))
    hlop = HLOP(loose, {"0": 2}, fix_vectors=False)
    hlop.task = 1
    loose(torch.randn(4, 6))
    assert loose[1].training  # as one asked for


@pytest.mark.parametrize("preset", ["published", "improved"])
def test_resuming_gives_the_same_bits(preset):
    whole, parts = network(), network()
    a, b = (HLOP(net, ROWS, preset=preset) for net in (whole, parts))
    for model, method in ((whole, a), (parts, b)):
        train(model, method, 0)
        method.next_task()
        train(model, method, 1, steps=3)
    c = HLOP(parts, ROWS, preset=preset, seed=9)
    c.load_state_dict(copy.deepcopy(b.state_dict()))
    for model, method in ((whole, a), (parts, c)):
        train(model, method, 1, seed=1)
        method.next_task()
        train(model, method, 2)
    for name in NAMES:
        assert torch.equal(a.weight[name], c.weight[name])
    for name, now in whole.state_dict().items():
        assert torch.equal(now, parts.state_dict()[name])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: torch.optim.Adam(p, lr=0.1), "scale every weight"),
        (lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1), "weight decay"),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "momentum still holds"),
        (lambda p: torch.optim.SGD(p, lr=0.1), None),
    ],
)
def test_an_optimiser_that_undoes_the_projection_is_named_once(make, words):
    model = nn.Linear(6, 2)
    hlop = HLOP(model, {"": 2})
    optimizer = make(model.parameters())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(6):
            model(torch.randn(4, 6)).sum().backward()
            hlop.project()
            optimizer.step()
            hlop.learn()
            if step == 2:
                assert not caught
                hlop.next_task()
    assert [w.category for w in caught] == ([ProjectionWarning] if words else [])
    assert not words or words in str(caught[0].message)


def test_a_diverging_subspace_is_named_and_stopped():
    model = nn.Linear(6, 2)
    for preset in ("published", "improved"):
        hlop = HLOP(model, {"": 3}, preset=preset, lr=1e3)
        with pytest.raises(FloatingPointError, match=r"the subspace diverges.* must stay below"):
            for _ in range(30):
                model(5 * torch.randn(8, 6))
                hlop.learn()


def test_bad_input():
    model = network()
    for given, words in (
        ({"rows": {"layer": 3}}, r"no layer 'layer'; layers with weights: 'layers.0' \(20 inputs\), .*'readout'"),
        ({"rows": {}}, "rows: expected at least one layer"),
        ({"rows": {"layers.0": 21}}, "layers.0 has 20 inputs and 0 rows; expected 0 to 20 more, got 21"),
        ({"rows": {"layers.0": -1}}, "expected 0 to 20 more, got -1"),
        ({"preset": "best"}, "preset: expected"), ({"form": "both"}, "form: expected"),
        ({"lateral": Lateral()}, "form: quantised"), ({"trace": "sum"}, "trace: expected"),
        ({"energy": 1.5}, "energy: expected"), ({"patches": 0}, "patches: expected"),
        ({"lr": {"layers.0": 0.1}}, "lr: expected a step for each"),
        ({"lr": 0.0}, r"lr: expected a number above 0, got 0\.0"),
        ({"lr": "x"}, "lr: expected a number above 0, got 'x'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            HLOP(model, **{"rows": ROWS, **given})
    hlop = HLOP(network(), ROWS, preset="published")
    with pytest.raises(RuntimeError, match=r"layers.0: saw no batch"):
        hlop.learn()
    with pytest.raises(ValueError, match=r"layers.0 has 20 inputs and 4 rows; expected 0 to 16 more, got 17"):
        hlop.next_task(rows={"layers.0": 17})
    with pytest.raises(ValueError, match="no layer 'head' among"):
        hlop.next_task(rows={"head": 1})
    with pytest.raises(TypeError, match="unexpected argument row"):
        hlop.next_task(row=3)
    assert hlop.task == 0
    state = hlop.state_dict()
    with pytest.raises(ValueError, match="state: expected layers"):
        HLOP(network(), {"layers.0": 4}, preset="published").load_state_dict(state)
    with pytest.raises(ValueError, match="batch normalisation"):
        HLOP(LIF(5, 3, norm="batch"), {"": 2}, form="activity")


def test_recordings_of_different_lengths():
    """Steps outside a recording count in no trace, in Events as in dense tensors."""
    layer = LIF(20, 6, dt=1.0)
    x, _ = batch(1, 4)
    lengths = torch.tensor([5, 3, 1, 0])
    for kind in ("rates", "weighted", "steps"):
        rows = []
        for source, given in ((x, {"lengths": lengths}), (Events.from_dense(x, 1.0, lengths), {})):
            hlop = HLOP(layer, {"": 3}, trace=kind, trace_decay=0.5)
            layer(source, **given)
            seen = hlop.traces.take("")
            rows.append(seen.to_dense().flatten(0, 1)[seen.valid().flatten()] if isinstance(seen, Events) else seen)
        torch.testing.assert_close(rows[0], rows[1])
        if kind == "weighted":
            torch.testing.assert_close(rows[0][1], (x[0, 1] + 2 * x[1, 1] + 4 * x[2, 1]) / 7)
            assert not rows[0][3].any()
        if kind == "rates":
            torch.testing.assert_close(rows[0][1], x[:3, 1].mean(0))
        if kind == "steps":
            assert rows[0].shape == (9, 20)
