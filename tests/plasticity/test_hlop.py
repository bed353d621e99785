"""HLOP: the subspace it learns, its rows, its presets, resumption, what it refuses."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from spiking.events import Events
from spiking.kernels import Lateral
from spiking.networks import SpikingConvNet
from spiking.neurons import LIF
from spiking.plasticity import HLOP
from spiking.plasticity.projection.hlop import STEP, published_rows
from spiking.plasticity.projection.rows import leading

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
        loss.backward(); hlop.project(); optimizer.step(); hlop.learn()  # fmt: skip  # noqa: E702  word for word the API's
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


def test_a_diverging_subspace_is_named_and_stopped():
    model = nn.Linear(6, 2)
    for preset in ("published", "improved"):
        hlop = HLOP(model, {"": 3}, preset=preset, lr=1e3)
        with pytest.raises(FloatingPointError, match=r"the subspace diverges.* must stay below"):
            for _ in range(30):
                model(5 * torch.randn(8, 6))
                hlop.learn()


@pytest.mark.parametrize("preset", ["published", "improved"])
def test_a_subspace_that_diverges_between_two_looks_is_not_reported(preset):
    model = nn.Linear(6, 2)
    hlop = HLOP(model, {"": 3}, preset=preset, lr=1e-3)
    model(torch.randn(8, 6))
    hlop.learn()
    hlop.lr = {"": 1e3}
    for _ in range(4):
        model(5 * torch.randn(8, 6))
        hlop.learn()
    with pytest.raises(FloatingPointError, match=r"the subspace diverges.* must stay below"):
        hlop.report()


def test_bad_input():
    model = network()
    for given, words in (
        ({"rows": {"layer": 3}}, r"no layer 'layer'; layers with weights: 'layers.0' \(20 inputs\), .*'readout'"),
        ({"rows": {}}, "rows: expected at least one layer"),
        ({"rows": 3}, "rows: expected layer -> number of rows, got 3"),
        ({"rows": {"layers.0": 21}}, "layers.0 has 20 inputs and 0 rows; expected 0 to 20 more, got 21"),
        ({"rows": {"layers.0": -1}}, "expected 0 to 20 more, got -1"),
        ({"preset": "best"}, "preset: expected"), ({"form": "both"}, "form: expected"),
        ({"lateral": Lateral()}, "form: quantised"), ({"trace": "sum"}, "trace: expected"),
        ({"energy": 1.5}, "energy: expected"), ({"patches": 0}, "patches: expected"),
        ({"lr": {"layers.0": 0.1}}, "lr: expected a step for each"),
        ({"lr": 0.0}, r"lr: expected a number above 0, got 0\.0"),
        ({"lr": "x"}, "lr: expected a number above 0, got 'x'"), ({"lr": math.inf}, "lr: expected .* got inf"),
        ({"rows": {"layers.0": 2.5}}, "rows: layers.0: expected a whole number, got 2.5"),
        ({"lateral": Lateral(20.0, 0), "form": "activity"}, r"lateral: expected .* got Lateral\(scale=20.0, steps=0\)"),
        ({"lateral": Lateral(-20.0), "form": "activity"}, "lateral: expected Lateral.scale, steps., a finite scale"),
        ({"energy": "most"}, "energy: expected a share above 0 and up to 1, got 'most'"),
        ({"trace_decay": 2.0}, "trace_decay: expected above 0 and up to 1, got 2.0"),
        ({"patches": 2.5}, "patches: expected a whole number of at least 1, got 2.5"),
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
