"""Resonating neurons in every backend against a loop over complex numbers: outputs, state and every gradient."""

from __future__ import annotations

import math
import os

import pytest
import torch
from torch import Tensor

from spiking import Events
from spiking.kernels import LIFState, Resonance, Rule, lif
from spiking.kernels.surrogate import spike, triangle

T, B, IN, N, DT = 18, 3, 9, 7, 4.0
BACKENDS = ["reference", "numba"]
RULES = {
    "published": Rule(input_scale="one", detach_reset=False),
    "detached": Rule(input_scale="one"),
    "scaled": Rule(input_scale="decay", detach_reset=False),
    "none": Rule(input_scale="one", reset="none"),
}


def leaves(recurrent: bool) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(5)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (low + (high - low) * torch.rand(*shape, generator=g, dtype=torch.float64)).requires_grad_()

    made = {
        "weight": uniform(-1.5, 2.0, IN, N), "recurrent": uniform(-0.5, 0.5, N, N), "tau": uniform(10, 200, N),
        "frequency": uniform(2, 100, N), "threshold": uniform(0.5, 1.2, N), "bias": uniform(-0.1, 0.2, N),
        "real": uniform(-0.4, 0.4, B, N), "imaginary": uniform(-0.4, 0.4, B, N), "before": uniform(0, 1, B, N),
    }  # fmt: skip
    if not recurrent:  # then nothing reads the last spikes
        del made["recurrent"], made["before"]
    return made


def turn(p: dict[str, Tensor]) -> Tensor:
    return torch.exp(torch.complex(-1 / p["tau"], 2 * math.pi * p["frequency"] / 1000) * DT)


def scale(p: dict[str, Tensor], rule: Rule) -> Tensor:
    return 1 - torch.exp(-DT / p["tau"]) if rule.input_scale == "decay" else torch.ones(N, dtype=torch.float64)


def loop(x: Tensor, p: dict[str, Tensor], rule: Rule) -> list[Tensor]:
    """Spikes, 2 Re v before the reset, and at the end 2 Re v and 2 Im v after it."""
    v, z, trains, traces = torch.complex(p["real"], p["imaginary"]), p.get("before"), [], []
    for t in range(T):
        current = x[t] @ p["weight"] + p["bias"]
        if "recurrent" in p:
            current = current + z @ p["recurrent"]
        v = turn(p) * v + scale(p, rule) * current / 2
        z = spike(2 * v.real - p["threshold"], triangle(0.7))
        trains.append(z)
        traces.append(2 * v.real)
        if rule.reset != "none":
            v = v - p["threshold"] * (z.detach() if rule.detach_reset else z) / 2
    return [torch.stack(trains), torch.stack(traces), 2 * v.real, 2 * v.imag]


def through_op(x: Events, p: dict[str, Tensor], rule: Rule, backend: str) -> list[Tensor]:
    zero, by = torch.zeros(B, N, dtype=torch.float64), turn(p).imag / scale(p, rule)
    state = LIFState(2 * p["real"], zero, 2 * p["imaginary"] * by, p.get("before", zero), zero)
    (spikes, membrane), last = lif(
        x, state, weight=p["weight"], recurrent=p.get("recurrent"), bias=p["bias"], tau_mem=p["tau"],
        threshold=p["threshold"], adaptation=Resonance(p["frequency"]), rule=rule, surrogate=triangle(0.7),
        dt=DT, trace=True, backend=backend,
    )
    return [spikes, membrane, last.membrane, last.adaptation / by]


def compare(recurrent: bool, rule: str, backend: str) -> None:
    """The loop and the op from the same numbers, with the same gradients of everything that comes out."""
    g = torch.Generator().manual_seed(0)
    x = (torch.rand(T, B, IN, generator=g) < 0.4) * (8.0 if rule == "scaled" else 1.0)
    x = x.double()
    results = []
    for side in ("loop", "op"):
        p = leaves(recurrent)
        rules = RULES[rule]
        outputs = loop(x, p, rules) if side == "loop" else through_op(Events.from_dense(x, DT), p, rules, backend)
        g.manual_seed(1)
        incoming = [torch.randn(y.shape, generator=g, dtype=torch.float64) for y in outputs]
        results.append((outputs, torch.autograd.grad(outputs, list(p.values()), incoming)))
    (wanted, slopes), (found, gradients) = results
    assert 0.05 < float(wanted[0].detach().mean()) < 0.9 and torch.equal(found[0], wanted[0])
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)
    for name, a, b in zip(p, gradients, slopes, strict=True):
        assert float(b.abs().max()) > 0, name
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("recurrent", [False, True])
def test_the_recurrence_turns_a_complex_potential(recurrent: bool, rule: str, backend: str) -> None:
    compare(recurrent, rule, backend)


@pytest.mark.interpreter
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="needs a process of its own")
@pytest.mark.parametrize(("recurrent", "rule"), [(True, "published"), (False, "scaled")])
def test_so_do_the_triton_kernels(recurrent: bool, rule: str) -> None:
    compare(recurrent, rule, "triton")


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_are_slopes_where_it_is_smooth(backend: str) -> None:
    x = torch.randn(9, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tau = torch.tensor([10.0, 30.0, 90.0], dtype=torch.float64)
    frequency = torch.tensor([0.0, 31.25, 62.5], dtype=torch.float64)  # no turn, an eighth and a quarter of one a step

    def membrane(x: Tensor, tau: Tensor, frequency: Tensor) -> Tensor:
        out, _ = lif(
            x, tau_mem=tau, adaptation=Resonance(frequency), threshold=math.inf, surrogate="never", dt=DT, trace=True,
            rule=Rule(input_scale="one", reset="none"), backend=backend,
        )
        return out[1]

    assert torch.autograd.gradcheck(membrane, [leaf.requires_grad_() for leaf in (x, tau, frequency)])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_resonance_of_no_or_whole_turns_is_a_leak(backend: str) -> None:
    x = torch.randn(T, B, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4
    plain, _ = lif(x, tau_mem=20.0, dt=DT, backend=backend)
    assert plain.any()
    for frequency in (0.0, 1000 / DT):
        assert torch.equal(lif(x, tau_mem=20.0, adaptation=Resonance(frequency), dt=DT, backend=backend)[0], plain)


@pytest.mark.parametrize(
    ("frequency", "rule", "message"),
    [
        (math.nan, Rule(), "adaptation.frequency: expected finite numbers, got nan at neuron 0"),
        (torch.ones(5), Rule(), r"frequency: expected a number or \(7,\), got \(5,\)"),
        (10.0, Rule(decay="euler"), "decay: a resonance takes its step exactly, with 'exp', got 'euler'"),
    ],
)
def test_a_wrong_resonance_is_named(frequency: float | Tensor, rule: Rule, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lif(torch.zeros(T, B, N), adaptation=Resonance(frequency), rule=rule, dt=DT)
