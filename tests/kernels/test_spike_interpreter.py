"""The Triton kernels of spike_linear under Triton's interpreter, against the specification, to the last bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spiking.kernels import spike_linear
from spiking.kernels.spike_linear import encode, pack, partial_sums

from .guard import INTERPRETED
from .test_spike_linear import MODES, tokens, weights

pytestmark = INTERPRETED


def agree(out: int, inputs: int, group: int, count: int, far: float, seed: int = 0, modes=MODES) -> None:
    packed, x = pack(weights(out, inputs, seed), group), tokens(count, inputs, seed, far)
    bias = torch.randn(out) if seed % 2 == 0 else None
    counts, threshold = encode(x, backend="reference")
    found = encode(x, backend="triton")
    assert torch.equal(found[0], counts) and torch.equal(found[1], threshold)
    sums = partial_sums(counts, packed, "int", "reference")
    y = spike_linear(x, packed, bias=bias, backend="reference")
    for mode in modes:
        assert torch.equal(partial_sums(counts, packed, mode, "triton"), sums)
        assert torch.equal(spike_linear(x, packed, bias=bias, mode=mode, backend="triton"), y)


@pytest.mark.parametrize(
    ("out", "inputs", "group", "count"), [(7, 60, 128, 1), (7, 60, 128, 3), (300, 129, 64, 2), (3, 40, 16, 0)]
)
def test_odd_sizes(out, inputs, group, count):
    agree(out, inputs, group, count, 1000.0)


def test_more_tokens_than_a_program_takes():
    agree(20, 40, 20, 35, 1000.0, modes=["int"])


def test_more_channels_than_are_encoded_at_once():
    agree(5, 1030, 512, 1, 1e6, modes=["event"])


# `careful` may last over all examples: it holds no state.
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 40), st.integers(1, 70), st.sampled_from([4, 20, 64]), st.integers(1, 3),
    st.sampled_from([1.0, 1e3, 1e6]), st.integers(0, 99), st.sampled_from(MODES),
)  # fmt: skip
def test_any_sizes(out, inputs, group, count, far, seed, mode):
    agree(out, inputs, group, count, far, seed, [mode])


def test_numbers_that_are_not_finite_give_nan():
    """On a GPU; here, on a CPU, the op itself looks and refuses."""
    from spiking.kernels.spike_linear import gpu

    x = tokens(4, 60)
    x[0, 3], x[2, 5], x[3] = float("nan"), float("inf"), 1e12
    counts, threshold = gpu.encode(x, 3.0)
    y = gpu.linear(counts, threshold, pack(weights(7, 60)), None, "event")
    assert threshold.isnan().view(-1).tolist() == [True, False, True, True]
    assert y.isnan().all(1).tolist() == [True, False, True, True]
