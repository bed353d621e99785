"""The specification itself: published equations as loops of their own, and surrogates against what they derive from."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from spiking.kernels import Adaptation, Rule, lif
from spiking.kernels.surrogate import (
    arctan,
    boxcar,
    derivative,
    fast_sigmoid,
    multi_gaussian,
    never,
    sigmoid,
    slayer,
    spike,
    triangle,
)

T, B, N = 60, 4, 11
BACKENDS = ["reference", "numba"]


def currents(scale: float = 1.0) -> Tensor:
    return torch.randn(T, B, N, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * scale + 0.3


def between(low: float, high: float, seed: int) -> Tensor:
    return low + (high - low) * torch.rand(N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def check(found: Tensor, wanted: list[Tensor]) -> None:
    train = torch.stack(wanted)
    assert 0.01 < float(train.mean()) < 0.9, f"the test needs spikes and silence, got rate {float(train.mean()):.3f}"
    assert torch.equal(found, train)


@pytest.mark.parametrize("backend", BACKENDS)
def test_lif(backend: str) -> None:
    """tau du/dt = -u + I, exactly over a step of constant input; the threshold is subtracted at a spike."""
    x, tau = currents(4.0), between(5, 20, 1)
    alpha = torch.exp(-1 / tau)
    u, trains = torch.zeros(B, N, dtype=torch.float64), []
    for t in range(T):
        u = alpha * u + (1 - alpha) * x[t]
        z = (u > 1).double()
        u = u - z
        trains.append(z)
    check(lif(x, tau_mem=tau, dt=1.0, backend=backend)[0], trains)


@pytest.mark.parametrize("backend", BACKENDS)
def test_current_based_lif(backend: str) -> None:
    """SpyTorch: mem = (beta mem + syn)(1 - z), syn = alpha syn + x, both read before they are updated."""
    x, alpha, beta = currents(0.8), math.exp(-1 / 5), math.exp(-1 / 10)
    syn = mem = torch.zeros(B, N, dtype=torch.float64)
    trains = []
    for t in range(T):
        new_mem = beta * mem + syn
        syn = alpha * syn + x[t]
        z = (new_mem > 1).double()
        mem = new_mem * (1 - z)
        trains.append(z)
    rule = Rule(input_scale="one", reset="zero", current="previous")
    check(lif(x, tau_mem=10.0, tau_syn=5.0, rule=rule, dt=1.0, backend=backend)[0], trains)


@pytest.mark.parametrize("backend", BACKENDS)
def test_alif_of_bellec(backend: str) -> None:
    """Bellec 2018: b = rho b' + (1 - rho) z', A = thr + beta b, v = alpha v' + (1 - alpha) I - z' A; muted after."""
    x, tau, tau_a = currents(6.0), 20.0, between(100, 300, 2)
    alpha, rho, beta, steps = math.exp(-1 / tau), torch.exp(-1 / tau_a), 1.6, 3
    v = b = z = torch.zeros(B, N, dtype=torch.float64)
    rest, trains = torch.zeros(B, N), []
    for t in range(T):
        b = rho * b + (1 - rho) * z
        A = 0.4 + beta * b
        v = alpha * v + (1 - alpha) * x[t] - z * A
        z = ((v > A) & (rest == 0)).double()
        rest = torch.where(z > 0, float(steps), (rest - 1).clamp(min=0))
        trains.append(z)
    found, _ = lif(
        x, tau_mem=tau, threshold=0.4, adaptation=Adaptation("threshold", tau=tau_a, strength=beta),
        rule=Rule(reset_time="next", refractory=float(steps), refractory_mode="mute"), dt=1.0, backend=backend,
    )
    check(found, trains)


@pytest.mark.parametrize("backend", BACKENDS)
def test_alif_of_yin(backend: str) -> None:
    """Yin 2021: eta = rho eta' + (1 - rho) s', theta = b0 + 1.8 eta, u = alpha u' + (1 - alpha) I - theta s'."""
    x, tau, tau_a = currents(1.0), between(15, 25, 4), between(100, 200, 5)
    alpha, rho, b0, beta = torch.exp(-1 / tau), torch.exp(-1 / tau_a), 0.05, 1.8
    u = eta = s = torch.zeros(B, N, dtype=torch.float64)
    trains = []
    for t in range(T):
        eta = rho * eta + (1 - rho) * s
        theta = b0 + beta * eta
        u = alpha * u + (1 - alpha) * x[t] - theta * s
        s = (u - theta > 0).double()
        trains.append(s)
    found, _ = lif(
        x, tau_mem=tau, threshold=b0, adaptation=Adaptation("threshold", tau=tau_a, strength=beta),
        rule=Rule(reset_time="next"), dt=1.0, backend=backend,
    )
    check(found, trains)


@pytest.mark.parametrize("backend", BACKENDS)
def test_adlif_of_bittar_and_garner(backend: str) -> None:
    """sparch: w = beta w' + a u' + b s', u = alpha (u' - s') + (1 - alpha)(I - w), s = H(u - 1).

    Its u is not yet reset and its w is read after the update. With v = u - s, the membrane after the reset, that is
    v^ = alpha v' + (1 - alpha)(I - w'), then w = beta w' + a v + (a + b) s on the new v and s.
    """
    x, tau, tau_w = currents(3.0), between(5, 25, 6), between(30, 120, 7)
    a, b = between(-0.02, 0.05, 8), between(0, 0.3, 9)
    alpha, beta = torch.exp(-1 / tau), torch.exp(-1 / tau_w)
    u = w = s = torch.zeros(B, N, dtype=torch.float64)
    trains = []
    for t in range(T):
        w = beta * w + a * u + b * s
        u = alpha * (u - s) + (1 - alpha) * (x[t] - w)
        s = (u > 1).double()
        trains.append(s)
    found, _ = lif(
        x, tau_mem=tau, adaptation=Adaptation("current", tau=tau_w, membrane=a, spike=a + b, scale="one"), dt=1.0,
        backend=backend,
    )
    check(found, trains)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("source", ["new", "previous"])
def test_se_and_ef_adlif_of_baronig(source: str, backend: str) -> None:
    """u^ = alpha u' + (1 - alpha)(I - w'), hard reset, w = beta w' + (1 - beta) q (a u* + b z*), * new (SE) or old."""
    x, tau, tau_w = currents(4.0), between(5, 25, 10), between(60, 300, 11)
    a, b = between(0, 1, 12), between(0, 2, 13)
    q = 120.0 if source == "new" else 60.0
    alpha, beta = torch.exp(-1 / tau), torch.exp(-1 / tau_w)
    u = w = z = torch.zeros(B, N, dtype=torch.float64)
    trains = []
    for t in range(T):
        u_hat = alpha * u + (1 - alpha) * (x[t] - w)
        z_new = (u_hat > 1).double()
        u_new = u_hat * (1 - z_new)
        w = beta * w + (1 - beta) * q * (a * u_new + b * z_new if source == "new" else a * u + b * z)
        u, z = u_new, z_new
        trains.append(z)
    found, _ = lif(
        x, tau_mem=tau, adaptation=Adaptation("current", tau=tau_w, membrane=q * a, spike=q * b, source=source),
        rule=Rule(reset="zero"), dt=1.0, backend=backend,
    )
    check(found, trains)


SIGMOIDS = [
    (fast_sigmoid(7.0), lambda x: x / (1 + 7 * x.abs())),
    (arctan(3.0), lambda x: torch.atan(math.pi / 2 * 3 * x) / math.pi),
    (triangle(0.8, 0.3), lambda x: 0.3 * x.sign() * (x.abs() - x**2 / 1.6).where(x.abs() < 0.8, torch.tensor(0.4))),
    (boxcar(1.2, 0.7), lambda x: 0.7 * x.clamp(-0.6, 0.6)),
    (slayer(5.0, 0.4), lambda x: 0.2 * x.sign() * (1 - torch.exp(-5 * x.abs()))),
    (
        multi_gaussian(0.5, 0.15, 6.0, 0.5),
        lambda x: 0.25 * (
            1.15 * torch.erf(x / (0.5 * math.sqrt(2)))
            - 0.15 * torch.erf((x - 0.5) / (3 * math.sqrt(2)))
            - 0.15 * torch.erf((x + 0.5) / (3 * math.sqrt(2)))
        ),
    ),
    (sigmoid(4.0), lambda x: torch.sigmoid(4 * x)),
    (never(), torch.zeros_like),
]


@pytest.mark.parametrize(("surrogate", "integral"), SIGMOIDS, ids=[s.name for s, _ in SIGMOIDS])
def test_surrogates_derive_from_their_sigmoids(surrogate, integral) -> None:
    x, step = torch.linspace(-3.003, 2.998, 400, dtype=torch.float64), 1e-5
    difference = (integral(x + step) - integral(x - step)) / (2 * step)
    torch.testing.assert_close(derivative(surrogate, x), difference, rtol=1e-5, atol=1e-5)


def test_spike_goes_forward_as_a_step_and_back_as_its_surrogate() -> None:
    x = torch.tensor([-0.5, 0.0, 0.25], dtype=torch.float64, requires_grad=True)
    assert spike(x, triangle()).tolist() == [0.0, 0.0, 1.0]
    assert spike(x, triangle(), inclusive=True).tolist() == [0.0, 1.0, 1.0]
    assert torch.autograd.grad(spike(x, triangle()).sum(), x)[0].tolist() == [0.5, 1.0, 0.75]
    replayed = spike(x, triangle(), given=torch.tensor([1.0, 1.0, 0.0]))
    assert replayed.tolist() == [1.0, 1.0, 0.0]
    assert torch.autograd.grad(replayed.sum(), x)[0].tolist() == [0.5, 1.0, 0.75]


@pytest.mark.parametrize("make", [fast_sigmoid, arctan, triangle, boxcar, slayer, multi_gaussian, sigmoid])
@pytest.mark.parametrize("number", [0.0, -1.0, math.nan, math.inf])
def test_surrogates_refuse_numbers_without_meaning(make, number: float) -> None:
    with pytest.raises(ValueError, match="expected a finite number above 0"):
        make(number)
