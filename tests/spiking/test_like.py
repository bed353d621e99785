"""`like` against the installed libraries: spike for spike, membrane for membrane, gradient for gradient."""

from __future__ import annotations

import importlib
import os
import warnings
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from spiking.kernels import set_backend
from spiking.kernels.surrogate import Surrogate, arctan, fast_sigmoid, slayer
from spiking.neurons import LIF, like

T, B, N = 200, 3, 17


@pytest.fixture(autouse=True)
def _reference() -> Any:
    with set_backend("reference"):
        yield


def library(name: str) -> ModuleType:
    """Import an optional library or skip the test; torch.jit, deprecated, is used by Norse as it is imported."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.script`", category=DeprecationWarning)
        try:
            return importlib.import_module(name)
        except ImportError as error:
            pytest.skip(f"{name.split('.')[0]}: {error}")


def currents(scale: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(T, B, N, generator=generator, dtype=torch.float64) + 0.3
    return (x * scale).requires_grad_()


def ours(x: Tensor, arguments: dict[str, Any], surrogate: Surrogate | None = None) -> tuple[Tensor, Tensor]:
    layer = LIF(N, dtype=torch.float64, surrogate=surrogate or arctan(), **arguments)
    (spikes, membrane), _ = layer(x, trace=True)
    return spikes, membrane


def agree(mine: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], x: Tensor, gradients: bool = True) -> None:
    """Equal spikes, membranes to rounding, and equal gradients of a weighted sum of both."""
    assert 0.01 < float(mine[0].detach().mean()) < 0.9, "the comparison needs neurons that fire"
    torch.testing.assert_close(mine[0].double(), theirs[0].double(), rtol=0, atol=0)
    torch.testing.assert_close(mine[1], theirs[1].double(), rtol=1e-9, atol=1e-9)
    if not gradients:
        return
    weights = torch.linspace(-1, 1, T * B * N, dtype=torch.float64).view(T, B, N)
    grads = []
    for spikes, membrane in (mine, theirs):
        loss = (spikes * weights).sum() + (membrane * weights.flip(0)).sum()
        grads.append(torch.autograd.grad(loss, x, retain_graph=True)[0])
    assert grads[0].abs().sum() > 0
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)  # the libraries keep spikes in float32


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize(("beta", "threshold"), [(0.9, 1.0), (0.5, 0.7), (0.98, 2.0)])
def test_snntorch(beta: float, threshold: float, reset: str) -> None:
    snntorch = library("snntorch")
    x = currents(0.5 if reset != "none" else 3 * (1 - beta) * threshold)
    neuron = snntorch.Leaky(
        beta=beta, threshold=threshold, reset_mechanism=reset, spike_grad=library("snntorch.surrogate").atan(alpha=2.0)
    ).double()
    membrane = torch.zeros(B, N, dtype=torch.float64)
    steps = []
    for t in range(T):
        spike, membrane = neuron(x[t], membrane)
        steps.append((spike, membrane))
    theirs = tuple(torch.stack(part) for part in zip(*steps, strict=True))
    # Leaky keeps beta and the threshold in float32: compare with the number it holds.
    held = {"beta": float(neuron.beta), "threshold": float(neuron.threshold), "reset_mechanism": reset}
    agree(ours(x, like("snntorch", dt=3.0, **held)), theirs, x)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize(("tau", "threshold", "reset"), [(2.0, 1.0, 0.0), (10.0, 0.5, 0.0), (3.0, 0.8, None)])
def test_spikingjelly(tau: float, threshold: float, reset: float | None, decay_input: bool, detach: bool) -> None:
    neuron_module = library("spikingjelly.activation_based.neuron")
    surrogate = library("spikingjelly.activation_based.surrogate")
    x = currents(2.0 if decay_input else 0.5)
    neuron = neuron_module.LIFNode(
        tau=tau, decay_input=decay_input, v_threshold=threshold, v_reset=reset, detach_reset=detach,
        surrogate_function=surrogate.ATan(alpha=2.0), step_mode="s",
    )
    steps = []
    for t in range(T):
        # The node forgets the membrane potential before its reset: the same update, taken apart.
        v = neuron.v if isinstance(neuron.v, Tensor) else torch.zeros_like(x[t])
        rest = reset or 0.0
        before = v + (x[t] - (v - rest)) / tau if decay_input else v - (v - rest) / tau + x[t]
        steps.append((neuron(x[t]), before))
    theirs = tuple(torch.stack(part) for part in zip(*steps, strict=True))
    arguments = like(
        "spikingjelly", tau=tau, v_threshold=threshold, v_reset=reset, decay_input=decay_input, detach_reset=detach
    )
    agree(ours(x, arguments), theirs, x)


@pytest.mark.parametrize(("tau_mem_inv", "tau_syn_inv", "v_th"), [(100.0, 200.0, 1.0), (50.0, 500.0, 0.4)])
def test_norse(tau_mem_inv: float, tau_syn_inv: float, v_th: float) -> None:
    norse = library("norse.torch")
    functional = library("norse.torch.functional.lif")
    x = currents(1.0)

    def number(value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float64)

    p = norse.LIFParameters(
        tau_mem_inv=number(tau_mem_inv), tau_syn_inv=number(tau_syn_inv), v_th=number(v_th), v_leak=number(0.0),
        v_reset=number(0.0), method="super", alpha=torch.tensor(100.0),
    )
    cell = norse.LIFCell(p, dt=0.001)
    zero = torch.zeros(B, N, dtype=torch.float64)
    state = functional.LIFFeedForwardState(v=zero, i=zero)
    steps = []
    for t in range(T):
        current = state.i + x[t]
        before = state.v + 0.001 * p.tau_mem_inv * (current - state.v)
        spike, state = cell(x[t], state)
        steps.append((spike, before))
    theirs = tuple(torch.stack(part) for part in zip(*steps, strict=True))
    arguments = like("norse", tau_mem_inv=tau_mem_inv, tau_syn_inv=tau_syn_inv, v_th=v_th)
    # Norse 1.1 takes alpha and leaves it out of the derivative, which is that of slope 1.
    agree(ours(x, arguments, fast_sigmoid(1.0)), theirs, x)


@pytest.mark.parametrize("norm_input", [True, False])
@pytest.mark.parametrize(("tau", "threshold"), [(20.0, 1.0), (5.0, 0.5)])
def test_sinabs(tau: float, threshold: float, norm_input: bool) -> None:
    layers, activation = library("sinabs.layers"), library("sinabs.activation")
    x = currents(6.0 if norm_input else 0.5)
    neuron = layers.LIF(
        tau_mem=tau, spike_threshold=torch.tensor(threshold), spike_fn=activation.SingleSpike, norm_input=norm_input,
        surrogate_grad_fn=activation.SingleExponential(grad_width=0.5, grad_scale=1.0), record_states=True,
    ).double()
    spikes = neuron(x.transpose(0, 1)).transpose(0, 1)
    after = neuron.recordings["v_mem"].transpose(0, 1)
    theirs = (spikes, after + spikes * threshold)
    arguments = like("sinabs", tau_mem=tau, spike_threshold=threshold, norm_input=norm_input)
    agree(ours(x, arguments, slayer(2.0 / threshold, 2.0)), theirs, x)


@pytest.mark.parametrize(("tau", "threshold", "t_ref"), [(10.0, 15.0, 2.0), (20.0, 5.0, 0.5), (5.0, 10.0, 0.1)])
def test_nest(tau: float, threshold: float, t_ref: float, capfd: pytest.CaptureFixture[str]) -> None:
    os.environ.setdefault("PYNEST_QUIET", "1")
    nest = library("nest")
    dt = 0.1
    x = currents(4.0).detach().round(decimals=3)[:, 0]  # (T, N)
    nest.verbosity = nest.VerbosityLevel.ERROR
    nest.ResetKernel()
    nest.resolution = dt
    neurons = nest.Create(
        "iaf_psc_delta", N,
        params={"tau_m": tau, "V_th": threshold, "E_L": 0.0, "V_reset": 0.0, "V_m": 0.0, "t_ref": t_ref, "I_e": 0.0},
    )
    meter = nest.Create("multimeter", params={"record_from": ["V_m"], "interval": dt})
    recorder = nest.Create("spike_recorder")
    nest.Connect(meter, neurons)
    nest.Connect(neurons, recorder)
    times = [round((t + 1) * dt, 1) for t in range(T)]
    for n in range(N):
        source = nest.Create("spike_generator", params={"spike_times": times, "spike_weights": x[:, n].tolist()})
        nest.Connect(source, neurons[n], syn_spec={"delay": dt})
    nest.Simulate(dt * (T + 3))

    first = int(neurons[0].global_id)
    recorded, events = meter.events, recorder.events
    membrane = torch.zeros(T + 3, N, dtype=torch.float64)
    step = torch.as_tensor((recorded["times"] / dt).round()).long() - 1
    membrane[step, torch.as_tensor(recorded["senders"]) - first] = torch.as_tensor(recorded["V_m"])
    spikes = torch.zeros(T + 3, N, dtype=torch.float64)
    step = torch.as_tensor((events["times"] / dt).round()).long() - 1
    spikes[step, torch.as_tensor(events["senders"]) - first] = 1.0

    layer = LIF(N, dtype=torch.float64, **like("nest", dt=dt, tau_m=tau, V_th=threshold, t_ref=t_ref))
    (z, u), _ = layer(x[:, None], trace=True)
    z, u = z[:, 0].detach(), u[:, 0].detach()
    assert 0.01 < float(z.mean()) < 0.9
    # A spike generator's events arrive one delay after the time they carry; V_m is recorded after the reset.
    torch.testing.assert_close(spikes[1 : T + 1], z, rtol=0, atol=0)
    torch.testing.assert_close(membrane[1 : T + 1], u * (1 - z), rtol=1e-9, atol=1e-9)


def test_another_library_gives_other_spikes() -> None:
    x = currents(0.5)
    trains = [ours(x, like(name))[0] for name in ("snntorch", "spikingjelly", "sinabs")]
    assert not torch.equal(trains[0], trains[1]) and not torch.equal(trains[1], trains[2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: like("brian"), "library: expected one of snntorch"),
        (lambda: like("snntorch", gamma=0.9), "gamma: snntorch has beta, threshold"),
        (lambda: like("snntorch", beta=1.0), "beta: expected a decay between 0 and 1"),
        (lambda: like("spikingjelly", v_reset=-1.0), "v_reset: expected 0.0 or None"),
        (lambda: like("nest", dt=0.0), "dt: expected a step above 0 ms"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
