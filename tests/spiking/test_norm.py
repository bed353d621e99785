"""Batch normalisation over time and batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from spiking.kernels import set_backend
from spiking.neurons import (
    BatchNorm,
)

T, B, N = 40, 3, 7


@pytest.fixture(autouse=True)
def _reference() -> Iterator[None]:
    torch.manual_seed(0)
    with set_backend("reference"):
        yield


def test_batch_norm_ignores_what_lies_outside() -> None:
    norm, plain = BatchNorm(N), nn.BatchNorm1d(N)
    lengths = torch.tensor([T, 11, 0])
    x = torch.randn(T, B, N) * 3 + 1
    inside = torch.arange(T)[:, None] < lengths[None, :]
    x[~inside] = 1e6
    out = norm(x, lengths)
    torch.testing.assert_close(out[inside], plain(x[inside]))
    assert out[~inside].abs().sum() == 0
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    assert torch.isfinite(norm(x[:, 2:], torch.tensor([0]))).all()
    torch.testing.assert_close(norm(x[:, :1]).view(T, N), plain(x[:, 0]))
    assert not norm(x[:, :2], torch.tensor([T - 1, T]))[T - 1, 0].any()


def test_batch_norm_of_one_row_uses_what_it_has_seen() -> None:
    norm = BatchNorm(N)
    norm(torch.randn(T, B, N) * 3 + 1)
    seen = copy.deepcopy(norm.state_dict())
    row = torch.randn(1, 1, N)
    out = norm(row)
    torch.testing.assert_close(out, (row - norm.running_mean) / (norm.running_var + norm.eps).sqrt())
    assert all(torch.equal(seen[name], value) for name, value in norm.state_dict().items())
