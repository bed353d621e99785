"""The Triton kernels of sparse synapses under the interpreter, against the dense product; every address is checked."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spiking import Events
from spiking.kernels import event_linear
from spiking.kernels.sparse_linear import gpu

from .guard import INTERPRETED
from .sparse_cases import check_linear, sparse, trains

pytestmark = INTERPRETED


# `careful` may last over all examples: it holds no state.
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 3), st.integers(0, 2), st.integers(1, 9), st.integers(1, 20), st.booleans(),
    st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 99),
)  # fmt: skip
def test_event_linear_is_the_dense_product(T, B, inputs, N, counts, reach, seed):
    check_linear(trains(T, B, inputs, 0.3, counts, seed), sparse(inputs, N, reach, seed), "triton")


@pytest.mark.parametrize(("N", "density"), [(2 * gpu.TILE + 5, 0.01), (gpu.SYNAPSES + 9, 1.0)])
def test_tiles_of_targets_and_long_fan_outs(N, density):
    check_linear(trains(1, 2, 4, 0.6), sparse(4, N, density), "triton")


def test_many_rows_go_back_in_blocks():
    check_linear(trains(gpu.ROWS + 3, 1, 3, 0.2), sparse(3, 5), "triton")


def test_the_same_inputs_give_the_same_bits_in_single_precision():
    weight, dense = sparse(13, 20, dtype=torch.float32), trains(5, 2, 13).float()
    found = []
    for x in (dense, Events.from_dense(dense, 1.0)):
        for _ in range(2):
            out = event_linear(x, weight, backend="triton")
            found.append((out, torch.autograd.grad(out.square().sum(), weight.values)[0]))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
