"""Parameters that training cannot push out of their range."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spiking.init import poisson
from spiking.kernels import set_backend
from spiking.neurons import (
    ALIF,
    LIF,
    AdLIF,
)
from spiking.neurons.bounded import fold

T, B, IN, N = 40, 3, 12, 7


@pytest.fixture(autouse=True)
def _reference() -> Iterator[None]:
    torch.manual_seed(0)
    with set_backend("reference"):
        yield


@given(st.floats(-1e6, 1e6), st.floats(0.1, 10.0), st.floats(0.01, 100.0))
@settings(max_examples=200)
def test_any_raw_number_folds_into_the_range(x: float, low: float, width: float) -> None:
    raw = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    value = fold(raw, low, low + width)
    assert low - 1e-6 <= value.item() <= low + width + 1e-6
    (slope,) = torch.autograd.grad(value, raw)
    assert slope.abs() == 1


@pytest.mark.parametrize("end", [5.0, 25.0])
def test_gradient_at_the_ends_of_the_range(end: float) -> None:
    layer = LIF(IN, N, learn=("tau_mem",), ranges={"tau_mem": (5.0, 25.0)}, tau_mem=end)
    layer.tau_mem.sum().backward()
    assert (layer.raw_tau_mem.grad.abs() > 1).all()  # d tau / d log tau = tau


def test_training_cannot_leave_the_range() -> None:
    layer = AdLIF(IN, N, learn=("tau_mem", "tau_adapt", "a", "b", "threshold"), ranges={"threshold": (0.5, 2.0)})
    optimiser = torch.optim.SGD(layer.parameters(), lr=1e5)
    x = poisson(80.0, 2.0, T, B, IN)
    for _ in range(5):
        optimiser.zero_grad()
        spikes, _ = layer(x)
        (spikes.mean() - 0.2).square().backward()
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.grad = torch.nan_to_num(parameter.grad)
        optimiser.step()
        for name, (low, high) in layer.bounds.items():
            value = getattr(layer, name)
            assert ((value >= low) & (value <= high)).all(), name
            assert value.unique().numel() > 1, name


def test_values_read_and_set_in_ms() -> None:
    assert LIF(IN, N, tau_mem=[10.0, 40.0], learn=("tau_mem",)).bounds == {"tau_mem": (10.0, 40.0)}  # as YAML has it
    layer = ALIF(IN, N, tau_mem=(10.0, 40.0), tau_adapt=torch.linspace(100, 200, N), learn=("tau_mem",))
    assert layer.bounds == {"tau_mem": (10.0, 40.0)}
    assert ((layer.tau_mem >= 10) & (layer.tau_mem <= 40)).all() and layer.tau_mem.unique().numel() > 1
    assert torch.equal(layer.tau_adapt, torch.linspace(100, 200, N)) and isinstance(layer.raw_tau_mem, nn.Parameter)
    layer.tau_mem = 12.5
    torch.testing.assert_close(layer.tau_mem, torch.full((N,), 12.5))
    layer.threshold = torch.linspace(1, 2, N)
    assert torch.equal(layer.threshold, torch.linspace(1, 2, N))
    with pytest.raises(ValueError, match=r"tau_mem: expected 10 to 40 ms, its range in training, got 50"):
        layer.tau_mem = 50.0
    with pytest.raises(ValueError, match="tau_adapt: expected finite numbers above 0"):
        layer.tau_adapt = -1.0
    with pytest.raises(AttributeError, match="tau_syn: LIF was made without it"):
        LIF(IN, N).tau_syn = 5.0
    assert LIF(IN, N).tau_syn is None
