"""The integer code, its expansions and statistics: exact identities and the reference table."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spiking import coding
from spiking.coding import CODES, Stats


def heavy(seed: int, shape: tuple[int, ...], outlier: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator) / torch.rand(shape, generator=generator).sqrt()
    x[..., 0] *= outlier
    return x


@given(st.integers(0, 2**31), st.integers(1, 70), st.floats(0.3, 8.0), st.sampled_from([1.0, 50.0]))
def test_every_expansion_spells_the_counts(seed: int, n: int, k: float, outlier: float) -> None:
    code = coding.adaptive(heavy(seed, (3, n), outlier), k)
    weight = torch.randint(-127, 128, (n, 5), generator=torch.Generator().manual_seed(seed))
    for name in CODES:
        if name in ("binary", "bitwise"):
            with_sign = bool((code.counts < 0).any())
            if with_sign:
                with pytest.raises(ValueError, match="has no sign"):
                    code.expand(name)
            train = coding.expand(code.counts.abs(), name)
            assert torch.equal(train.counts(), code.counts.abs())
            continue
        train = code.expand(name)
        assert train.spikes.dtype == torch.int8 and set(train.spikes.unique().tolist()) <= {-1, 0, 1}
        assert torch.equal(train.counts(), code.counts)
        # the product distributes over the steps, in integers
        steps = (train.weight[:, None, None] * (train.spikes.long() @ weight)).sum(0)
        assert torch.equal(steps, code.counts.long() @ weight)
        assert torch.equal(code.expand(name, steps=len(train.weight)).spikes, train.spikes)
        if len(train.weight):
            with pytest.raises(ValueError, match="steps: counts from"):
                code.expand(name, steps=len(train.weight) - 1)


def test_two_s_complement_reaches_both_ends() -> None:
    for low, high, steps in ((-128, 127, 8), (-129, 0, 9), (0, 128, 9), (-1, 0, 1), (0, 0, 1)):
        train = coding.expand(torch.tensor([low, high]), "twos-complement")
        assert len(train.weight) == steps and train.counts().tolist() == [low, high]
        assert bool((train.spikes >= 0).all())


def test_counts_are_those_of_the_neuron() -> None:
    """Integrate x once, fire one signed spike a step with a soft reset, start half a threshold up."""
    x = heavy(0, (4, 33)).double()
    code = coding.adaptive(x, 3.0)
    potential, fired = x.clone(), torch.zeros_like(x)
    for spikes in code.expand("ternary").spikes:
        expected = (potential.abs() > code.threshold / 2) * potential.sign()
        assert torch.equal(spikes.double(), expected)
        potential, fired = potential - code.threshold * expected, fired + expected
    assert torch.equal(fired, code.counts.double())
    assert bool((potential.abs() <= code.threshold * 0.5000001).all())


TABLE = [  # distribution, k, P(s=0), P(<=7), E|s|, E popcount, 1-pop/3 on <=7, relative RMSE
    ("gauss", 2, 0.158, 0.997, 1.99, 1.08, 0.642, 0.115), ("gauss", 3, 0.106, 0.954, 2.99, 1.30, 0.572, 0.077),
    ("gauss", 4, 0.079, 0.865, 3.99, 1.46, 0.533, 0.058), ("laplace", 2, 0.221, 0.977, 1.98, 1.01, 0.671, 0.102),
    ("laplace", 3, 0.154, 0.918, 2.99, 1.22, 0.615, 0.068), ("laplace", 4, 0.118, 0.846, 3.99, 1.38, 0.582, 0.051),
    ("t4", 3, 0.124, 0.933, 2.99, 1.26, 0.599, 0.068),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}-{row[1]}")
def test_reference_table(row: tuple[str, int, float, float, float, float, float, float]) -> None:
    name, k, silent, within, mean, spikes, sparsity, error = row
    torch.manual_seed(0)
    n = 2_000_000
    x = {
        "gauss": lambda: torch.randn(n),
        "laplace": lambda: torch.distributions.Laplace(0.0, 1.0).sample((n,)),
        "t4": lambda: torch.distributions.StudentT(4.0).sample((n,)),
    }[name]()
    code = coding.adaptive(x, float(k))
    stats = code.stats()
    # the table is rounded to three digits; standard errors over 2 million samples are below 7e-4
    for got, wanted, digit in (
        (stats.silent, silent, 1e-3), (stats.within(3), within, 1e-3), (stats.mean_count, mean, 1e-2),
        (stats.spikes, spikes, 1e-2), (stats.slot_sparsity(3), sparsity, 1e-3),
        (float((code.decode() - x).norm() / x.norm()), error, 1e-3),
    ):
        assert abs(got - wanted) <= digit / 2 + 2e-3, (got, wanted)
    assert abs(stats.mean_count - k) < 0.03  # by construction


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=60), st.lists(st.integers(-9, 9), max_size=20))
def test_statistics_against_their_definitions(first: list[int], second: list[int]) -> None:
    counts = [*first, *second]
    stats = Stats.of(torch.tensor(first)) + Stats.of(torch.tensor(second, dtype=torch.int64))
    n, ones = len(counts), [abs(c).bit_count() for c in counts]
    assert stats.channels == n
    assert math.isclose(stats.silent, counts.count(0) / n)
    assert math.isclose(stats.mean_count, sum(map(abs, counts)) / n)
    assert math.isclose(stats.spikes, sum(ones) / n)
    active = [b for c, b in zip(counts, ones, strict=True) if c]
    assert math.isclose(stats.spikes_per_active, sum(active) / max(len(active), 1))
    small = [b for c, b in zip(counts, ones, strict=True) if abs(c) < 8]
    assert math.isclose(stats.slot_sparsity(3), 1 - sum(small) / max(len(small), 1) / 3)
    assert math.isclose(stats.saturated(127), sum(abs(c) > 127 for c in counts) / n)
    assert stats.largest == max(map(abs, counts)) and stats.steps == stats.largest.bit_length()
    share = [counts.count(c) / n for c in set(counts)]
    assert math.isclose(stats.effective_bits, -sum(p * math.log2(p) for p in share), abs_tol=1e-9)
    assert set(stats.summary()) >= {"silent", "mean_count", "slot_sparsity_3", "saturated"}


def test_gradient_passes_straight_through() -> None:
    x = heavy(1, (2, 5, 17)).requires_grad_()
    code = coding.adaptive(x, 3.0)
    weight = torch.randn(2, 5, 17)
    (code.decode() * weight).sum().backward()
    assert x.grad is not None and torch.equal(x.grad, weight)
    assert torch.allclose(code.decode(), code.counts * code.threshold, atol=1e-6)


def test_policies_and_dtypes() -> None:
    x = heavy(2, (6, 40), outlier=1000.0)
    exact, cut = coding.adaptive(x), coding.adaptive(x, limit=15)
    assert int(exact.counts.abs().max()) > 100 and int(cut.counts.abs().max()) == 15
    assert torch.equal(exact.counts.clamp(-15, 15), cut.counts)
    half = coding.adaptive(x.bfloat16())
    assert half.threshold.dtype == torch.float32 and half.decode().dtype == torch.bfloat16
    assert int(coding.adaptive(torch.zeros(2, 4)).counts.abs().sum()) == 0
    assert coding.adaptive(torch.zeros(0, 4)).stats().silent == 0


@pytest.mark.parametrize(
    ("x", "arguments", "words"),
    [
        (torch.ones(3, dtype=torch.int64), {}, "x: expected a floating-point tensor, got torch.int64"),
        (torch.ones(3, 0), {}, r"x: expected \(..., n\) with n >= 1, got \(3, 0\)"),
        (torch.tensor([1.0, math.nan]), {}, "x: expected finite numbers"),
        (torch.tensor([1.0, math.inf]), {}, "x: "),
        (torch.ones(3), {"k": 0.0}, "k: expected a positive number, got 0.0"),
        (torch.ones(3), {"limit": 0}, "limit: expected at least 1, got 0"),
        (torch.tensor([1e30, 1.0]), {}, "would need more than"),
    ],
)
def test_bad_input(x: Tensor, arguments: dict[str, float], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        coding.adaptive(x, **arguments)


def test_bad_expansion() -> None:
    with pytest.raises(TypeError, match="counts: expected integers"):
        coding.expand(torch.ones(2), "ternary")
    with pytest.raises(ValueError, match="code: expected one of binary"):
        coding.expand(torch.ones(2, dtype=torch.int32), "morse")
