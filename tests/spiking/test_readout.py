"""Readouts over valid steps only."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spiking import readout

ALL = [readout.max, readout.mean, readout.last, readout.sum, readout.softmax_sum, readout.rate]


@pytest.mark.parametrize("read", ALL)
@given(st.integers(1, 9), st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(1, 5), st.integers(0, 99))
def test_padding_changes_nothing(
    read: Callable[..., Tensor], T: int, given_lengths: list[int], C: int, seed: int
) -> None:
    lengths = torch.tensor(given_lengths).clamp(max=T)
    generator = torch.Generator().manual_seed(seed)
    out = torch.randn(T, len(lengths), C, generator=generator) - 3
    outside = torch.arange(T)[:, None] >= lengths[None, :]
    out[outside] = float("nan")
    scores = read(out, lengths)
    assert scores.shape == (len(lengths), C)
    for b, length in enumerate(lengths.tolist()):
        alone = read(out[:length, b : b + 1])[0] if length else torch.zeros(C)
        torch.testing.assert_close(scores[b], alone)


def test_values() -> None:
    out = torch.tensor([[1.0, -2.0], [3.0, -1.0], [2.0, -4.0]])[:, None]
    assert readout.max(out).tolist() == [[3.0, -1.0]]
    assert readout.sum(out).tolist() == [[6.0, -7.0]]
    assert readout.last(out).tolist() == [[2.0, -4.0]]
    torch.testing.assert_close(readout.mean(out), torch.tensor([[2.0, -7 / 3]]))
    torch.testing.assert_close(readout.softmax_sum(out), out.softmax(2).sum(0))
    two = torch.tensor([2])
    assert readout.last(out, two).tolist() == [[3.0, -1.0]]
    assert readout.mean(out, two).tolist() == [[2.0, -1.5]]
    assert readout.rate((out > 0).float(), two).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("read", ALL)
def test_gradients_stop_at_the_end(read: Callable[..., Tensor]) -> None:
    out = torch.randn(6, 3, 4, requires_grad=True)
    (read(out, torch.tensor([6, 2, 0])) * torch.randn(3, 4)).sum().backward()
    assert out.grad is not None and torch.isfinite(out.grad).all()
    assert out.grad[2:, 1].abs().sum() == 0 and out.grad[:, 2].abs().sum() == 0 and out.grad[:, 0].abs().sum() > 0


@pytest.mark.parametrize("read", ALL)
def test_nothing_to_read(read: Callable[..., Tensor]) -> None:
    assert read(torch.zeros(0, 2, 3)).tolist() == [[0.0] * 3] * 2
    assert read(torch.zeros(4, 0, 3)).shape == (0, 3)


@pytest.mark.parametrize("read", ALL)
def test_bad_input(read: Callable[..., Tensor]) -> None:
    with pytest.raises(ValueError, match=r"out: expected \(T, B, C\), got \(4, 3\)"):
        read(torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"lengths: expected \(3,\), got \(2,\)"):
        read(torch.zeros(4, 3, 2), torch.tensor([1, 2]))
    with pytest.raises(ValueError, match=r"lengths: expected whole numbers, got torch\.float32"):
        read(torch.zeros(4, 3, 2), torch.ones(3))
