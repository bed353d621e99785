"""Layers: their equations step by step, their parameters, their state, their errors."""

from __future__ import annotations

import copy
import importlib
import math
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spiking
from spiking import Events
from spiking.init import poisson
from spiking.kernels import LIFState, set_backend
from spiking.kernels.surrogate import arctan
from spiking.neurons import (
    ALIF,
    LI,
    LIF,
    NEURONS,
    AdLIF,
    CSiLIF,
    CubaLIF,
    Layer,
    SEAdLIF,
    SiLIF,
    detach,
)

T, B, IN, N = 40, 3, 12, 7
CLASSES = [LIF, CubaLIF, ALIF, AdLIF, SEAdLIF, SiLIF, CSiLIF]


@pytest.fixture(autouse=True)
def _reference() -> Iterator[None]:
    torch.manual_seed(0)
    with set_backend("reference"):
        yield


def inputs(scale: float = 1.0) -> Tensor:
    return (torch.rand(T, B, IN, dtype=torch.float64) < 0.3).double() * scale


def run(layer: Layer, x: Tensor) -> tuple[Tensor, Tensor]:
    (spikes, membrane), _ = layer(x, trace=True)
    assert 0.02 < float(spikes.detach().mean()) < 0.8, "the comparison needs neurons that fire"
    return spikes.detach(), membrane.detach()


def test_slow_membranes_in_half_precision_forget_as_in_float32() -> None:
    """In bfloat16 exp(-1/4096) is 1."""
    layer = LIF(N, dt=1.0, tau_mem=4096.0, threshold=1e6, dtype=torch.bfloat16)
    one, nothing = torch.ones(B, N), torch.zeros(B, N)
    _, after = layer(torch.zeros(500, B, N), LIFState(one, nothing, nothing, nothing, nothing))
    torch.testing.assert_close(after.membrane, one * math.exp(-500 / 4096), rtol=1e-4, atol=0)


def test_lif_equation() -> None:
    layer = LIF(IN, N, dt=2.0, tau_syn=8.0, tau_mem=15.0, threshold=0.4, dtype=torch.float64)
    x = inputs()
    spikes, membrane = run(layer, x)
    a, c = math.exp(-2 / 15), math.exp(-2 / 8)
    u = i = torch.zeros(B, N, dtype=torch.float64)
    for t in range(T):
        i = c * i + x[t] @ layer.weight.detach()
        u = a * u + (1 - a) * i
        torch.testing.assert_close(membrane[t], u)
        z = (u > 0.4).double()
        assert torch.equal(spikes[t], z)
        u = u - 0.4 * z


def test_alif_with_reset_next_is_bellec_and_yin() -> None:
    layer = ALIF(
        IN, N, dt=4.0, tau_adapt=150.0, strength=1.8, threshold=0.05, reset_time="next", dtype=torch.float64
    )
    x = inputs()
    spikes, membrane = run(layer, x)
    alpha, rho = math.exp(-4 / 20), math.exp(-4 / 150)
    v = b = z = torch.zeros(B, N, dtype=torch.float64)
    for t in range(T):
        b = rho * b + (1 - rho) * z
        A = 0.05 + 1.8 * b
        v = alpha * v + (1 - alpha) * (x[t] @ layer.weight.detach()) - z * A
        z = (v > A).double()
        torch.testing.assert_close(membrane[t], v)
        assert torch.equal(spikes[t], z)


@pytest.mark.parametrize(("kind", "dt"), [(AdLIF, 1.0), (SiLIF, 4.0)])
def test_adlif_is_bittar_and_garner_and_silif_fabre(kind: type[Layer], dt: float) -> None:
    layer = kind(IN, N, dt=dt, threshold=1.0, recurrent=True, dtype=torch.float64)
    x = inputs(3.0)
    spikes, membrane = run(layer, x)
    alpha, beta = torch.exp(-dt / layer.tau_mem), torch.exp(-dt / layer.tau_adapt)
    u = w = s = torch.zeros(B, N, dtype=torch.float64)
    for t in range(T):
        w = beta * w + layer.a * u + layer.b * s
        current = x[t] @ layer.weight.detach() + s @ layer.recurrent.detach()
        u = alpha * (u - s) + (1 - alpha) * (current - w)
        s = (u > 1).double()
        torch.testing.assert_close(membrane[t], u)
        assert torch.equal(spikes[t], s)


@pytest.mark.parametrize("coupling", ["symplectic", "euler"])
def test_seadlif_is_baronig(coupling: str) -> None:
    layer = SEAdLIF(IN, N, dt=4.0, coupling=coupling, dtype=torch.float64)
    x = inputs(2.0)
    spikes, membrane = run(layer, x)
    assert layer.gain[0] == (120 if coupling == "symplectic" else 60)
    alpha, beta = torch.exp(-4 / layer.tau_mem), torch.exp(-4 / layer.tau_adapt)
    u = w = z = torch.zeros(B, N, dtype=torch.float64)
    for t in range(T):
        u_hat = alpha * u + (1 - alpha) * (x[t] @ layer.weight.detach() - w)
        z_new = (u_hat > 1).double()
        u_new = u_hat * (1 - z_new)
        read = (u_new, z_new) if coupling == "symplectic" else (u, z)
        w = beta * w + (1 - beta) * layer.gain * (layer.a * read[0] + layer.b * read[1])
        u, z = u_new, z_new
        torch.testing.assert_close(membrane[t], u_hat)
        assert torch.equal(spikes[t], z)


def test_csilif_is_fabre() -> None:
    """Their constants: lambda = (-e^p + i omega) e^d, p = log 0.5, omega = pi, one e^d a neuron, the input times b."""
    layer = CSiLIF(IN, N, dt=4.0, recurrent=True, dtype=torch.float64)
    x = inputs(1.5)
    spikes, membrane = run(layer, x)
    d = torch.log(8 / layer.tau_mem)
    turn = torch.exp(torch.complex(-torch.full_like(d, 0.5), torch.full_like(d, math.pi)) * d.exp())
    u, s = torch.zeros(B, N, dtype=torch.complex128), torch.zeros(B, N, dtype=torch.float64)
    for t in range(T):
        u = turn * (u - 0.5 * s) + 0.5 * (x[t] @ layer.weight.detach() + s @ layer.recurrent.detach())
        s = (2 * u.real - 1 > 0).double()
        torch.testing.assert_close(membrane[t], 2 * u.real)
        assert torch.equal(spikes[t], s)


@pytest.mark.parametrize(
    ("kind", "ranges"),
    [
        (SiLIF, {"tau_mem": (4, 100), "tau_adapt": (100, 400), "a": (0, 1), "b": (0, 2)}),
        (CSiLIF, {"tau_mem": (16, 800)}),
    ],
)
def test_fabres_neurons_start_in_their_ranges_and_may_leave_those_of_time_constants(
    kind: type[Layer], ranges: dict[str, tuple[float, float]]
) -> None:
    layer = kind(IN, 2000, learn=tuple(ranges))
    for name, (low, high) in ranges.items():
        value = getattr(layer, name).detach()
        assert low <= float(value.min()) < 1.02 * low + 0.01 and 0.98 * high < float(value.max()) <= high
        if name.startswith("tau"):
            share = float((value < math.sqrt(low * high)).float().mean())
            assert abs(share - 0.5) < 0.05  # uniform in the logarithm
            assert layer.bounds[name] == (getattr(kind, name).low, getattr(kind, name).high) != (low, high)
        else:
            assert layer.bounds[name] == (low, high)
    if kind is CSiLIF:
        torch.testing.assert_close(layer.frequency, 1000 / layer.tau_mem.detach())
        assert torch.equal(CSiLIF(IN, N, frequency=12.0).frequency, torch.full((N,), 12.0))


def test_a_resonator_answers_to_its_own_frequency() -> None:
    """Trains of equal rate and another rhythm leave it silent: what no leaky integrator can do."""
    layer = CSiLIF(1, 1, tau_mem=200.0, frequency=20.0, dt=1.0)
    nn.init.constant_(layer.weight, 0.3)
    fired = {}
    for period in (30, 40, 50, 60, 75):  # ms; its own is 50
        x = torch.zeros(600, 1, 1)
        x[::period] = period / 50
        fired[period] = int(layer(x)[0].sum())
    assert fired[50] > 0 and fired == {period: fired[50] * (period == 50) for period in fired}


def test_li_integrates_and_never_spikes() -> None:
    layer = LI(IN, N, dt=5.0, tau_mem=30.0, bias=True, dtype=torch.float64)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, 0.3)
    x = inputs(100.0)
    out, state = layer(x)
    a, u = math.exp(-5 / 30), torch.zeros(B, N, dtype=torch.float64)
    for t in range(T):
        u = a * u + (1 - a) * (x[t] @ layer.weight + 0.3)
        torch.testing.assert_close(out[t], u)
    assert state.spikes.abs().sum() == 0
    (grad,) = torch.autograd.grad(out.sum(), layer.weight)
    assert torch.isfinite(grad).all() and grad.abs().sum() > 0


@pytest.mark.parametrize("kind", CLASSES)
def test_goes_on_where_it_stopped(kind: type[Layer]) -> None:
    layer = kind(IN, N, recurrent=True, refractory=4.0, dt=2.0)
    x = poisson(60.0, 2.0, T, B, IN)
    whole, last = layer(x)
    first, state = layer(x[:25])
    second, end = layer(x[25:], state)
    assert torch.equal(whole, torch.cat([first, second]))
    for a, b in zip(last, end, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind", CLASSES)
def test_recurrent_layers_need_no_reference(kind: type[Layer], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the reference ran")

    monkeypatch.setattr(importlib.import_module("spiking.kernels.lif.reference"), "lif", refuse)
    layer = kind(IN, N, recurrent=True)
    with set_backend("numba"):
        spikes, _ = layer(poisson(60.0, 2.0, T, B, IN))
    spikes.sum().backward()
    assert layer.recurrent is not None and layer.recurrent.grad is not None


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("norm", [None, "batch"])
def test_events_dense_and_lengths_agree(kind: type[Layer], norm: str | None) -> None:
    layer = kind(IN, N, norm=norm)
    x = poisson(80.0, 2.0, T, B, IN)
    x = Events.from_dense(x.to_dense(), 2.0, lengths=torch.tensor([T, 20, 0]))
    (spikes, membrane), state = layer(x, trace=True)
    (again, _), same = layer(x.to_dense(), dt=2.0, lengths=x.lengths, trace=True)
    assert torch.equal(spikes, again)
    for a, b in zip(state, same, strict=True):
        torch.testing.assert_close(a, b)
    assert spikes[20:, 1].sum() == 0 and membrane[:, 2].abs().sum() == 0
    events, _ = layer(x, events=True)
    assert isinstance(events, Events) and events.dt == 2.0 and torch.equal(events.lengths, x.lengths)
    assert torch.equal(events.to_dense(), spikes.detach())
    (events, trace), after = layer(x, events=True, trace=True)
    assert torch.equal(events.to_dense(), spikes.detach()) and torch.equal(trace, membrane.detach())
    assert not trace.requires_grad and not after.membrane.requires_grad


@pytest.mark.parametrize("norm", [None, "batch"])
def test_a_layer_is_its_currents_and_its_neurons(norm: str | None) -> None:
    layer = LIF(IN, N, norm=norm, dt=2.0, bias=True)
    x, lengths = poisson(80.0, 2.0, T, B, IN).to_dense(), torch.tensor([T, 20, 0])
    whole, _ = layer(x, lengths=lengths)
    apart, _ = layer.fire(layer.current(x, lengths), lengths=lengths)
    assert torch.equal(whole, apart) and whole.sum() > 0


def test_neurons_without_synapses_take_currents() -> None:
    layer = ALIF(N, dt=1.0)
    assert layer.weight is None and "weight" not in layer.state_dict()
    current = torch.randn(T, B, N).mul(3).requires_grad_()
    spikes, _ = layer(current)
    assert spikes.shape == (T, B, N)
    spikes.sum().backward()
    assert current.grad is not None and current.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="without out_features takes currents"):
        layer(poisson(10.0, 1.0, T, B, N))


@pytest.mark.parametrize("kind", [*CLASSES, LI])
def test_every_learned_parameter_gets_a_gradient(kind: type[Layer]) -> None:
    names = tuple(name for name in ("tau_mem", "tau_syn", "tau_adapt", "threshold", "strength", "a", "b", "gain",
                               "frequency")
                  if hasattr(kind, name) and not (kind is LIF and name == "tau_syn"))
    layer = kind(IN, N, learn=names, bias=True, dt=2.0)
    out, _ = layer(poisson(80.0, 2.0, T, B, IN))
    out.square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name
    assert {f"raw_{name}" for name in names} <= set(layer.state_dict())


@pytest.mark.parametrize("name", NEURONS)
def test_copies_pickles_and_state_dicts(name: str) -> None:
    layer = NEURONS[name](IN, N, learn=("tau_mem",), tau_mem=(10.0, 30.0), dt=2.0, bias=True)
    x = poisson(80.0, 2.0, T, B, IN)
    expected, _ = layer(x)
    other = NEURONS[name](IN, N, learn=("tau_mem",), tau_mem=(10.0, 30.0), dt=2.0, bias=True)
    other.load_state_dict(layer.state_dict())
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), other):
        assert torch.equal(twin(x)[0], expected)
        assert torch.equal(twin.tau_mem, layer.tau_mem)
    assert f"{type(layer).__name__}({IN}, {N}, tau_mem=" in repr(layer)
    assert "dt=2 ms, bias=True, learn=('tau_mem',)" in repr(layer)
    assert ("reset='zero'" in repr(layer)) == (name == "seadlif") and "decay=" not in repr(layer)


def test_moves_and_casts() -> None:
    layer = ALIF(IN, N, learn=("tau_mem",)).double()
    assert layer.tau_mem.dtype == layer.threshold.dtype == torch.float64
    assert layer(inputs(), dt=1.0)[0].dtype == torch.float64
    assert layer(inputs().bool(), dt=1.0)[0].dtype == torch.float64


def test_detach_cuts_the_gradient() -> None:
    layer = CubaLIF(IN, N)
    x = poisson(80.0, 2.0, T, B, IN)
    _, state = layer(x)
    assert state.membrane.requires_grad
    cut = spiking.detach({"a": (state, None), "b": [state]})
    assert isinstance(cut["a"][0], LIFState) and not cut["b"][0].membrane.requires_grad
    assert torch.equal(detach(state).membrane, state.membrane.detach())
    assert detach(state).membrane.data_ptr() == state.membrane.data_ptr()  # cut, not copied
    with pytest.raises(TypeError, match="state: expected tensors"):
        detach((3,))


@pytest.mark.parametrize("kind", [*CLASSES, LI])
def test_empty_batches(kind: type[Layer]) -> None:
    layer = kind(IN, N)
    assert layer(torch.zeros(T, 0, IN), dt=1.0)[0].shape == (T, 0, N)
    assert layer(torch.zeros(0, B, IN), dt=1.0)[0].shape == (0, B, N)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LIF(0, 3), "in_features: expected a whole number above 0, got 0"),
        (lambda: LIF(3, 2.5), "out_features: expected a whole number"),
        (lambda: LIF(3, 2, learn=("tau",)), "learn: expected names among tau_mem, threshold, got 'tau'"),
        (lambda: LIF(3, 2, learn="tau_mem"), "learn: expected a sequence of names"),
        (lambda: LIF(3, 2, learn=("tau_syn",)), "learn: expected names among tau_mem, threshold"),
        (lambda: LIF(3, 2, ranges={"beta": (0.0, 1.0)}), "ranges: expected names among"),
        (lambda: LIF(3, 2, learn=("tau_mem",), ranges={"tau_mem": (5.0, 2.0)}), "ranges: expected tau_mem="),
        (lambda: LIF(3, 2, learn=("tau_mem",), ranges={"tau_mem": (0.0, 2.0)}), "ranges: expected tau_mem="),
        (lambda: LIF(3, 2, tau_mem=(5.0, 2.0)), r"tau_mem: expected \(low, high\)"),
        (lambda: LIF(3, 2, tau_mem=(2.0, 5.0, 7.0)), r"tau_mem: expected \(low, high\)"),
        (lambda: LIF(3, 2, tau_mem=(-5.0, 2.0)), "tau_mem: expected finite numbers above 0"),
        (lambda: LIF(3, 2, tau_mem=torch.ones(3)), r"tau_mem: expected a number or \(2,\), got \(3,\)"),
        (lambda: LIF(3, 2, tau_mem=torch.ones(2, 1)), r"tau_mem: expected a number or \(2,\), got \(2, 1\)"),
        (lambda: LIF(3, 2, tau_mem=float("nan")), "tau_mem: expected finite numbers above 0"),
        (lambda: LIF(3, 2, tau_mem=2000.0, learn=("tau_mem",)), "tau_mem: expected 1 to 1000 ms"),
        (lambda: LIF(3, 2, dt=0.0), "dt: expected a step above 0 ms, got 0"),
        (lambda: LIF(3, 2, norm="layer"), "norm: expected None or 'batch', got 'layer'"),
        (lambda: LIF(3, 2, reset="hard"), "reset: expected one of subtract, zero, none, got 'hard'"),
        (lambda: LIF(3, 2, surrogate="relu"), "surrogate: expected one of"),
        (lambda: LIF(3, 2, surrogate=["relu", 5.0]), "surrogate: expected one of .*, got 'relu'"),
        (lambda: LIF(3, 2, surrogate=["arctan", 5.0, 1.0]), r"surrogate: arctan doesn't take the numbers \[5.0, 1.0\]"),
        (lambda: LIF(3, 2, surrogate=["arctan", "steep"]), r"surrogate: arctan doesn't take the numbers \['steep'\]"),
        (lambda: LIF(3, 2, decay="euler"), "dt: decay='euler' needs the step"),
        (lambda: LIF(3, 2, decay="euler", dt=5.0, tau_mem=2.0), "tau_mem: decay='euler' needs at least one step"),
        (
            lambda: LIF(3, 2, decay="euler", dt=5.0, learn=("tau_mem",)),
            "tau_mem: decay='euler' needs at least one step of 5.0 ms, got 1.0 ms",
        ),
        (lambda: SEAdLIF(3, 2, coupling="exact"), "coupling: expected symplectic or euler"),
        (lambda: SiLIF(0, 3), "in_features: expected a whole number above 0, got 0"),
        (lambda: CSiLIF(3, 2.5), "out_features: expected a whole number"),
        (lambda: CSiLIF(3, 2, frequency=-5.0), "frequency: expected finite numbers above 0"),
        (lambda: CSiLIF(3, 2, frequency=2000.0, learn=("frequency",)), "frequency: expected 0.1 to 1000 Hz"),
        (lambda: CSiLIF(3, 2, decay="euler", dt=1.0), "decay: a resonance takes its step exactly"),
        (lambda: Layer(3, 2, {"tau_mem": 5.0}), "values: Layer declares no parameter, got 'tau_mem'"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_surrogates_by_name_and_numbers() -> None:
    for made in (["arctan", 5.0], ("arctan", 5.0), arctan(5.0)):
        assert LIF(3, 2, surrogate=made).surrogate == arctan(5.0)
    assert LIF(3, 2, surrogate=["slayer"]).surrogate == LIF(3, 2, surrogate="slayer").surrogate


def test_unknown_arguments() -> None:
    with pytest.raises(TypeError, match="LIF: unexpected argument tau"):
        LIF(3, 2, tau=20.0)


def test_bad_inputs() -> None:
    layer = LIF(IN, N, dt=1.0)
    x = torch.zeros(T, B, IN)
    with pytest.raises(ValueError, match=r"dt: layer 1.0 ms, events 5.0 ms"):
        layer(poisson(10.0, 5.0, T, B, IN))
    with pytest.raises(ValueError, match=r"dt: layer 1.0 ms, input 5.0 ms"):
        layer(x, dt=5.0)
    with pytest.raises(ValueError, match="dt: a dense tensor needs"):
        LIF(IN, N)(x)
    with pytest.raises(ValueError, match=r"x: expected \(T, B, 12\), got \(40, 3, 7\)"):
        layer(torch.zeros(T, B, N))
    with pytest.raises(TypeError, match="x: expected Events or a tensor, got list"):
        layer([1.0])
    with pytest.raises(ValueError, match="lengths: Events bring their own"):
        layer(poisson(10.0, 1.0, T, B, IN), lengths=torch.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match=r"state.membrane: expected \(2, 7\)"):
        layer(x[:, :2], layer(x)[1])
