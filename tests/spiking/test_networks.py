"""Networks: shapes, states, padding, dropout, skips, synaptic operations, errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from spiking import Events, readout
from spiking.init import poisson
from spiking.kernels import event_conv, set_backend
from spiking.networks import HeldDropout, Network, SpikingConv2d, SpikingConvNet, SpikingMLP, conv
from spiking.neurons import ALIF, LIF

T, B = 12, 4
SENSOR = (9, 7, 2)
N = 9 * 7 * 2


@pytest.fixture(autouse=True)
def _reference() -> Iterator[None]:
    torch.manual_seed(0)
    with set_backend("reference"):
        yield


def events(dt: float = 5.0, lengths: list[int] | None = None) -> Events:
    x = poisson(30.0, dt, T, B, N).to_dense()
    return Events.from_dense(x, dt, None if lengths is None else torch.tensor(lengths), SENSOR)


MAKERS: list[Any] = [
    pytest.param(lambda **kw: SpikingMLP([N, 16, 16, 5], **kw), id="mlp"),
    pytest.param(lambda **kw: SpikingMLP([N, 16, 16, 5], neuron=ALIF, recurrent=True, **kw), id="recurrent"),
    pytest.param(lambda **kw: SpikingMLP([N, 16, 16, 5], norm="batch", skip=True, **kw), id="norm-skip"),
    pytest.param(lambda **kw: SpikingMLP([N, 5], **kw), id="readout-only"),
    pytest.param(lambda **kw: SpikingConvNet(SENSOR, (3, 4), 5, kernel=3, **kw), id="conv"),
    pytest.param(
        lambda **kw: SpikingConvNet(
            SENSOR, (2, 4), 5, kernel=3, stride=(1, 2), pool=(2, 1), hidden=(8,), skip=True, neuron="alif", norm=None,
            **kw,
        ),
        id="conv-skip",
    ),
]


@pytest.mark.parametrize("make", MAKERS)
def test_trains_and_goes_on(make: Any) -> None:
    net = make().init_(30.0, 5.0)
    x = events()
    (out, spikes), states = net(x, trace=True)
    assert out.shape == (T, B, 5) and len(spikes) == len(net.layers) and len(states) == len(net.layers) + 1
    nn.functional.cross_entropy(readout.max(out, x.lengths), torch.tensor([0, 1, 2, 3])).backward()
    for name, parameter in net.named_parameters():
        if not name.endswith("norm.bias"):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name

    net.eval()
    whole, last = net(x)
    first, middle = net(x[:7])
    second, end = net(x[7:], middle)
    torch.testing.assert_close(whole, torch.cat([first, second]))
    torch.testing.assert_close(last[-1].membrane, end[-1].membrane)
    dense, _ = net(x.to_dense(), dt=5.0)
    torch.testing.assert_close(dense, whole)


@pytest.mark.parametrize("make", MAKERS)
def test_padding_changes_nothing(make: Any) -> None:
    net = make().init_(30.0, 5.0)
    x = events(lengths=[T, 5, 0, 9])
    (padded, spikes), _ = net(x, trace=True)
    assert torch.isfinite(padded).all() and padded[5:, 1].abs().sum() == 0 and padded[:, 2].abs().sum() == 0
    assert all(z[5:, 1].abs().sum() == 0 for z in spikes)
    net.eval()
    padded, _ = net(x)
    alone, _ = net(x[:5, [1]])
    torch.testing.assert_close(padded[:5, 1:2], alone)


@pytest.mark.parametrize("make", MAKERS)
def test_copies_and_pickles(make: Any) -> None:
    net = make().init_(30.0, 5.0).eval()
    x = events()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(twin(x)[0], net(x)[0])
    assert "readout.weight" in net.state_dict()


def test_dropout_holds_its_mask_over_time() -> None:
    drop = HeldDropout(0.4)
    out = drop(torch.ones(T, 50, 40))
    assert (out == out[:1]).all()
    assert set(out.unique().tolist()) == {0.0, float(torch.tensor(1.0) / 0.6)}
    assert abs(out.mean().item() - 1) < 0.1
    drop.eval()
    assert torch.equal(drop(out), out)
    net = SpikingMLP([N, 16, 5], dropout=0.5).init_(30.0, 5.0)
    x = events()
    assert not torch.equal(net(x)[0], net(x)[0])
    assert torch.equal(net.eval()(x)[0], net(x)[0])


def test_skip_adds_spikes_to_currents() -> None:
    net = SpikingMLP([N, 8, 8, 8, 5], skip=True)
    assert net.skips == [False, True, True]
    plain = SpikingMLP([N, 8, 8, 8, 5])
    plain.load_state_dict(net.state_dict())
    nn.init.zeros_(net.layers[1].weight)
    nn.init.eye_(plain.layers[1].weight)
    x = events()
    assert torch.equal(net(x, trace=True)[0][1][1], plain(x, trace=True)[0][1][1])


def test_conv_is_the_unrolled_matrix() -> None:
    layer = SpikingConv2d((2, 7, 9), 3, kernel=3, stride=2, norm=None, dt=5.0)
    matrix = layer.conv(torch.eye(N).view(N, 2, 7, 9)).flatten(1)
    dense = LIF(N, layer.out_features, dt=5.0)
    assert layer.out_shape == (3, 4, 5)
    with torch.no_grad():
        dense.weight.copy_(matrix)
    x = events()
    (_, mine), _ = layer(x, trace=True)
    (_, expected), _ = dense(x, trace=True)
    torch.testing.assert_close(mine, expected)


@pytest.mark.parametrize("lengths", [None, [T, 5, 0, 9]])
@pytest.mark.parametrize("options", [{}, {"norm": None, "stride": 2}, {"skip": True, "stride": 2, "kernel": 5}])
def test_conv_of_sparse_events_is_that_of_their_frames(
    options: dict[str, Any], lengths: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same currents and gradients on both sides of the crossover, and the weights stay those of a Conv2d."""
    layer = SpikingConv2d((2, 7, 9), 3, dtype=torch.float64, **options)
    assert layer.state_dict()["conv.weight"].shape[:2] == (3, 2)
    x, called, found = events(lengths=lengths), [], []

    def counted(*args: Any, **kwargs: Any) -> torch.Tensor:
        called.append(args)
        return event_conv(*args, **kwargs)

    monkeypatch.setattr(conv, "event_conv", counted)
    for density, calls in ((0.0, 0), (1.0, 2 if options.get("skip") else 1)):
        monkeypatch.setattr(conv, "DENSITY", density)
        with set_backend("numba"):
            (spikes, membrane), _ = layer(x, trace=True)
        assert len(called) == calls
        slopes = torch.autograd.grad(spikes.sum() + membrane.square().sum(), [*layer.parameters()])
        found.append([spikes.detach(), membrane.detach(), *slopes])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
    assert found[0][1].abs().sum() > 0


def test_an_identity_shortcut_takes_frames() -> None:
    layer = SpikingConv2d((2, 7, 9), 2, skip=True)
    x = events()[:, :1]
    assert isinstance(layer.shortcut, nn.Identity) and x.density < 0.2
    torch.testing.assert_close(layer(x)[0], layer(x.to_dense(), dt=5.0)[0])


@pytest.mark.parametrize(("kernel", "stride", "skip"), [(3, 1, True), (3, 2, False), (5, 2, True), (1, 3, False)])
def test_conv_fan_out_counts_connections(kernel: int, stride: int, skip: bool) -> None:
    channels = 2 if stride == 1 else 3
    layer = SpikingConv2d((2, 7, 9), channels, kernel=kernel, stride=stride, norm=None, skip=skip)
    nn.init.ones_(layer.conv.weight)
    if isinstance(layer.shortcut, nn.Conv2d):
        nn.init.ones_(layer.shortcut.weight)
    pixels = torch.eye(N).view(N, 2, 7, 9)
    reached = layer.conv(pixels)
    if layer.shortcut is not None:
        reached = reached + layer.shortcut(pixels)
    torch.testing.assert_close(layer.fan_out(), reached.flatten(1).sum(1).detach())


def test_synops_of_an_mlp() -> None:
    net = SpikingMLP([N, 16, 16, 5], recurrent=True, skip=True, norm="batch").init_(30.0, 5.0).eval()
    x = events(lengths=[T, 5, 0, 9])
    (_, spikes), _ = net(x, trace=True)
    done = net.synops(x)
    one, two = (z.detach().sum((0, 2)) for z in spikes)
    assert list(done) == ["layers.0", "layers.1", "readout"]
    torch.testing.assert_close(done["layers.0"], x.counts().sum(1) * 16 + one * 16)
    torch.testing.assert_close(done["layers.1"], one * 17 + two * 16)
    torch.testing.assert_close(done["readout"], two * 5)
    assert done["readout"][2] == 0
    torch.testing.assert_close(net.synops(x, spikes), done)
    assert x.value is not None
    signed = Events(x.indptr, x.index, x.shape, x.dt, -x.value, x.lengths)
    torch.testing.assert_close(net.synops(signed, spikes), done)
    net.train()
    before = copy.deepcopy(net.state_dict())
    net.synops(x)
    assert net.training and all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_synops_through_a_pool() -> None:
    net = SpikingConvNet(SENSOR, (2,), 5, kernel=3, stride=1, pool=2)
    spikes = torch.zeros(T, B, 2, 7, 9)
    spikes[0, 0, 0, 0, 0] = 1  # in the first square
    spikes[0, 1, 0, 6, 0] = 1  # in the odd last row, which no square holds
    done = net.synops(events(), [spikes.flatten(2)])
    assert done["readout"].tolist() == [5, 0, 0, 0]
    first = torch.zeros(T, 1, N)
    first[0, 0, 0], first[1, 0, 10] = 1, 1  # a corner reaches 2 * 4 neurons, the middle 2 * 9
    assert net.synops(first, [spikes.flatten(2)[:, :1]])["layers.0"].tolist() == [26]


def test_same_seed_same_network() -> None:
    nets = []
    for _ in range(2):
        torch.manual_seed(7)
        nets.append(SpikingConvNet(SENSOR, (2,), 5, kernel=3).init_(30.0, 5.0))
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpikingMLP([10]), r"sizes: expected \(input, hidden..., classes\), got \[10\]"),
        (lambda: SpikingMLP([10, 0, 2]), "out_features: expected a whole number above 0"),
        (lambda: SpikingMLP([10, 4, 2], neuron="elif"), "neuron: expected one of lif, cuba"),
        (lambda: SpikingMLP([10, 4, 2], dropout=1.0), "dropout: expected 0 or more and below 1"),
        (lambda: SpikingConvNet((34, 34)), r"sensor: expected \(W, H, P\)"),
        (lambda: SpikingConvNet(SENSOR, kernel=4), "kernel: expected an odd number"),
        (lambda: SpikingConvNet(SENSOR, kernel=(3, 3, 3)), "kernel: expected a number above 0, or 2 of them"),
        (lambda: SpikingConvNet(SENSOR, stride=0), "stride: expected a number above 0"),
        (lambda: SpikingConvNet(SENSOR, pool=9), "pool: expected 1 to 4 pixels"),
        (lambda: SpikingConvNet(SENSOR, norm="layer"), "norm: expected None or 'batch'"),
        (lambda: SpikingConvNet(SENSOR, recurrent=True), "recurrent: a convolution's neurons"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", [SpikingMLP, SpikingConvNet])
def test_a_converted_batch_norm_is_refused(kind: type) -> None:
    sizes = [N, 8, 5] if kind is SpikingMLP else SENSOR
    net = nn.SyncBatchNorm.convert_sync_batchnorm(kind(sizes, norm="batch", dt=5.0))
    with pytest.raises(TypeError, match="SyncBatchNorm"):
        net(events())


def test_bad_inputs() -> None:
    mlp = SpikingMLP([N, 8, 5], dt=5.0)
    conv = SpikingConvNet(SENSOR, (2,), 5, kernel=3)
    x = events()
    with pytest.raises(ValueError, match=r"dt: network 5.0 ms, events 1.0 ms"):
        mlp(events(dt=1.0))
    with pytest.raises(ValueError, match=r"dt: network 5.0 ms, input 1.0 ms"):
        mlp(x.to_dense(), dt=1.0)
    with pytest.raises(ValueError, match="dt: a dense tensor needs"):
        conv(x.to_dense())
    with pytest.raises(ValueError, match="states: expected 2, one per layer and readout, got 1"):
        mlp(x, mlp(x)[1][:1])
    with pytest.raises(ValueError, match=r"x: expected \(T, B, 126\), got \(12, 4, 7\)"):
        mlp(torch.zeros(T, B, 7))
    with pytest.raises(ValueError, match=r"x: expected \(T, B, 126\), got \(12, 4, 7\)"):
        conv(torch.zeros(T, B, 7), dt=1.0)
    with pytest.raises(ValueError, match=r"sensor: network \(W, H, P\) = \(9, 7, 2\), events \(7, 9, 2\)"):
        conv(Events.from_dense(x.to_dense(), 5.0, sensor=(7, 9, 2)))
    with pytest.raises(ValueError, match="lengths: Events bring their own"):
        mlp(x, lengths=torch.tensor([1, 2, 3, 4]))
    assert isinstance(mlp, Network)
