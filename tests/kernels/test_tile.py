"""Padding of tensors to the rows that Triton kernels read."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spiking.kernels import tile


@given(st.integers(0, 70), st.integers(0, 3))
def test_cut_undoes_pad(columns, rows):
    x = torch.arange(rows * columns, dtype=torch.float32).view(rows, columns)
    y = tile.pad(x)
    assert y.shape == (rows, tile.wide(columns)) and y.shape[1] % 16 == 0 and y.shape[1] - columns < 16
    assert not y[:, columns:].any() and y.is_contiguous()
    assert torch.equal(tile.cut(y, columns), x) and tile.cut(y, columns).is_contiguous()


def test_what_fits_is_not_copied():
    x = torch.zeros(3, 32)
    assert tile.pad(x) is x and tile.cut(x, 32) is x
    assert tile.pad(torch.zeros(2, 3, dtype=torch.uint8), 4).shape == (2, 4)


@pytest.mark.parametrize("x", [torch.arange(65.0)[1:].view(4, 16), torch.arange(64.0).view(16, 4).t()])
def test_what_is_misaligned_or_transposed_is(x):
    y = tile.pad(x)
    assert y.data_ptr() % 16 == 0 and y.is_contiguous() and torch.equal(tile.cut(y, x.shape[1]), x)


@given(st.integers(0, 5000))
def test_blocks_are_a_few_powers_of_two(columns):
    size = tile.block(columns)
    assert size in (16, 32, 64, 128) and (size >= columns or size == 128) and (size == 16 or size < 2 * columns)
