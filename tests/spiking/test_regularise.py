"""Bounds on firing rates."""

from __future__ import annotations

import pytest
import torch

from spiking.training import RateBounds


def test_bounds_by_hand() -> None:
    spikes = torch.zeros(10, 2, 4)
    spikes[:, 0, 0] = 1  # sample 0: neuron 0 at 100 Hz, three silent
    bounds = RateBounds(lower=5, upper=20, lower_strength=2.0, upper_strength=3.0)
    lengths = torch.tensor([10, 5])
    found = bounds([spikes], lengths, dt=10.0)
    assert found.tolist() == pytest.approx([2 * 3 / 4 + 3 * ((25 - 20) / 20) ** 2, 2.0])
    assert bounds([spikes, spikes], lengths, 10.0).tolist() == pytest.approx((2 * found).tolist())
    # a share of the samples gives their share of the terms, so that processes add up
    assert bounds([spikes[:, 1:]], lengths[1:], 10.0).tolist() == pytest.approx(found[1:].tolist())


def test_bounds_of_a_recording_without_steps_and_of_images() -> None:
    bounds = RateBounds(lower=5, lower_strength=1.0)
    assert bounds([torch.zeros(3, 1, 2)], torch.tensor([0]), 10.0).tolist() == [1.0]
    spikes = torch.zeros(10, 2, 3, 4, 5)
    spikes[:, 1] = 1
    assert bounds([spikes], torch.tensor([10, 10]), 10.0).tolist() == [1.0, 0.0]


def test_either_bound_is_active() -> None:
    assert RateBounds(lower_strength=1.0).active and RateBounds(upper_strength=1.0).active and not RateBounds().active


def test_bounds_push_silent_neurons_up() -> None:
    spikes = torch.zeros(10, 1, 3, requires_grad=True)
    RateBounds(lower=5, lower_strength=1.0)([spikes], torch.tensor([10]), 10.0).sum().backward()
    assert spikes.grad is not None and bool((spikes.grad < 0).all())


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"lower_strength": -1.0}, "lower_strength"),
        ({"lower": -1.0}, "lower"),
        ({"upper": 0.0, "upper_strength": 1.0}, "upper"),
    ],
)
def test_bounds_name_what_is_wrong(wrong: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}:"):
        RateBounds(**wrong)
