"""Sensor encoders: what comes out can be read back as what went in."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spiking import coding


def intensities(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_rate_is_a_rate_and_repeats_under_its_seed() -> None:
    x = torch.tensor([[0.0, 0.25, 1.0]]).expand(50, 3)
    events = coding.rate(x, steps=400, dt=2.0, max_rate=100.0, seed=3)
    assert events.shape == (400, 50, 3) and events.dt == 2.0
    hertz = events.counts().mean(0) / 0.8
    assert hertz[0] == 0 and abs(hertz[1] - 25) < 4 * math.sqrt(25 / 40) and abs(hertz[2] - 100) < 4 * math.sqrt(2.5)
    assert torch.equal(events.index, coding.rate(x, steps=400, dt=2.0, max_rate=100.0, seed=3).index)
    assert not torch.equal(events.to_dense(), coding.rate(x, 400, 2.0, 100.0, seed=4).to_dense())
    ramp = coding.rate(torch.linspace(0, 1, 100)[:, None, None].expand(100, 200, 1), max_rate=1000.0)
    assert torch.allclose(ramp.to_dense().mean((1, 2)), torch.linspace(0, 1, 100), atol=0.15)


@given(st.integers(0, 999), st.integers(2, 60))
def test_latency_orders_by_intensity(seed: int, steps: int) -> None:
    x = intensities(seed, 3, 7)
    dense = coding.latency(x, steps).to_dense()
    assert torch.equal(dense.sum(0), torch.ones(3, 7))
    assert torch.equal(dense.argmax(0), ((1 - x) * (steps - 1)).round().long())
    with_zero = torch.cat([x, torch.zeros(3, 1)], 1)
    assert coding.latency(with_zero, steps).to_dense()[..., -1].sum() == 0


def test_latency_is_that_of_a_charging_membrane() -> None:
    x, tau, theta, dt = intensities(1, 2, 50), 20.0, 0.2, 0.5
    dense = coding.latency(x, 200, dt, tau, theta).to_dense()
    membrane = x * (1 - torch.exp(-(torch.arange(200)[:, None, None] + 1) * dt / tau))  # after step t
    first = (membrane > theta).float().argmax(0)
    fires = (membrane > theta).any(0)
    assert torch.equal(dense.sum(0) > 0, fires)
    assert bool(((dense.argmax(0) - first).abs()[fires] <= 0).all())


@given(st.integers(0, 999), st.integers(1, 12), st.integers(1, 3))
def test_phase_adds_up_to_the_number(seed: int, bits: int, periods: int) -> None:
    x = intensities(seed, 2, 9)
    total = coding.phase(x, bits * periods, bits=bits).to_dense().sum(0) / periods
    assert bool(((total - x).abs() <= 2.0 ** -(bits + 1) + (x > 1 - 2.0**-bits) * 2.0**-bits).all())


@given(st.integers(0, 999), st.integers(1, 40), st.floats(0.01, 2.0))
def test_delta_follows_the_signal(seed: int, steps: int, threshold: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    signal = torch.randn(steps, 2, 300, generator=generator).cumsum(0).double()
    events = coding.delta(signal, threshold)
    rebuilt = signal[0] + threshold * events.to_dense(torch.float64).cumsum(0)
    assert bool(((rebuilt - signal).abs() < threshold * (1 + 1e-9)).all())
    still = coding.delta(signal[:1].expand(steps, 2, 300).contiguous(), threshold)
    assert still.nnz == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: coding.rate(torch.tensor([[1.5]]), 3), r"x: rate expects numbers in \[0, 1\], got 1.5"),
        (lambda: coding.rate(torch.tensor([[math.nan]]), 3), "x: rate expects numbers"),
        (lambda: coding.rate(torch.ones(1, 1), 3, max_rate=2000.0), "max_rate: 2000.0 Hz in steps of 1.0 ms is 2"),
        (lambda: coding.rate(torch.ones(1, 1)), "steps: expected at least 1, got None"),
        (lambda: coding.rate(torch.ones(4, 1, 1), 3), "x: expected"),
        (lambda: coding.rate(torch.ones(1, 1, dtype=torch.int32), 3), "x: expected a floating-point tensor"),
        (lambda: coding.latency(torch.ones(3), 5), r"x: expected \(B, N\), got \(3,\)"),
        (lambda: coding.latency(torch.ones(1, 3), 5, tau=-1.0), "tau, threshold: expected"),
        (lambda: coding.phase(torch.ones(1, 3), 5, bits=0), "bits: expected 1 to 24, got 0"),
        (lambda: coding.delta(torch.ones(3, 3), 0.1), "signal: expected finite"),
        (lambda: coding.delta(torch.ones(3, 3, 1), 0.0), "threshold: expected a positive number, got 0.0"),
    ],
)
def test_bad_input(call: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        call()
