"""Sparse synapses: `event_linear` and `lif` with a SparseWeight against the same ops with the dense matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking import Events
from spiking.kernels import Adaptation, Rule, SparseWeight, event_linear, lif
from spiking.kernels.jit import jit, meet, together
from spiking.kernels.lif import cpu_fan, cpu_sparse
from spiking.kernels.sparse_linear import cpu

from .cases import Case, assert_close, specified
from .guard import poison
from .sparse_cases import SOME, check_linear, masked, sparse, through_sparse, trains


@settings(max_examples=40)
@given(
    sizes=st.tuples(*(st.integers(0, 7) for _ in range(2)), *(st.integers(1, 9) for _ in range(2))),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]), reach=st.sampled_from([0.0, 0.2, 1.0]), counts=st.booleans(),
    seed=st.integers(0, 99), backend=st.sampled_from(["numba", "reference"]),
)  # fmt: skip
def test_event_linear_is_the_dense_product(
    sizes: tuple[int, int, int, int], density: float, reach: float, counts: bool, seed: int, backend: str
) -> None:
    """Empty rows, no synapse at all, no event, no sample and no step among them."""
    T, B, inputs, N = sizes
    check_linear(trains(T, B, inputs, density, counts, seed), sparse(inputs, N, reach, seed), backend)


@pytest.mark.parametrize(("T", "B", "inputs", "N"), [(1, 1, 9, 3 * cpu.TILE + 5), (9, 5, 30, 301), (37, 3, 60, 17)])
def test_every_cut_writes_everything(T: int, B: int, inputs: int, N: int, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)
    check_linear(trains(T, B, inputs, counts=True), sparse(inputs, N), "numba")


def test_many_events_share_the_synapses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients in shares of rows, which are added up."""
    poison(monkeypatch)
    check_linear(trains(40, 9, 12, 0.9), sparse(12, 7), "numba")


def test_events_that_share_a_step_and_a_channel_add_up() -> None:
    x = Events(torch.tensor([0, 3]), torch.tensor([1, 1, 0]), (1, 1, 2), 1.0)
    weight = SparseWeight.from_dense(torch.tensor([[1.0], [10.0]]))
    weight = weight.with_values(weight.values.requires_grad_())
    out = event_linear(x, weight)
    out.sum().backward()
    assert out.flatten().tolist() == [21.0] and weight.values.grad.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("team", [False, True], ids=["by_samples", "by_neurons"])
@pytest.mark.parametrize("case", SOME, ids=lambda case: case.name)
def test_lif_is_the_specification(case: Case, team: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)
    monkeypatch.setattr(cpu_sparse, "TEAM", 1 if team else 2048)
    p, kept = masked(case)
    found = through_sparse(case, p)
    assert torch.equal(found.spikes, specified(case, p).spikes)
    wanted = specified(case, p, found.spikes)
    assert_close(case, found, wanted._replace(grad_recurrent=wanted.grad_recurrent * kept), 1e-11)


@pytest.mark.parametrize("N", [1, 19, 130])
def test_both_ways_of_an_adjoint_through_synapses(N: int) -> None:
    """A group at once, and some neurons of each sample, against a matrix product."""
    g, fan = np.random.default_rng(0), sparse(N, N)
    V, indptr, index = fan.to_dense().detach().numpy(), fan.indptr.numpy(), fan.index.numpy()
    values, d = fan.values.detach().numpy(), g.standard_normal((cpu_fan.GROUP + 2, N))
    tile, felt = np.zeros(N * cpu_fan.GROUP), np.full(N * cpu_fan.GROUP, np.nan)
    for count in (1, 5, cpu_fan.GROUP):
        cpu_fan.push_all(tile, d.ravel(), 2 * N, N, count, N, indptr, index, values, felt)
        for lane in range(count):
            wanted, slope = V @ d[2 + lane], (g.random(N) < 0.5).astype(float)
            for lo in range(0, N, 128):
                n = min(128, N - lo)
                at_once, some = np.ones(128), np.ones(128)
                cpu_fan.take(at_once, n, lo, lane, felt)
                cpu_fan.push(some, slope, lo, n, lo, indptr, index, values, d.ravel(), (2 + lane) * N)
                np.testing.assert_allclose(at_once[:n], 1 + wanted[lo : lo + n], atol=1e-12)
                near = slope[lo : lo + n] != 0
                np.testing.assert_allclose(some[:n], np.where(near, 1 + wanted[lo : lo + n], 1), atol=1e-12)


OPTIONS: dict[str, Any] = dict(
    tau_mem=8.0, tau_syn=5.0, adaptation=Adaptation("threshold", strength=1.0), rule=Rule(refractory=2.0),
    surrogate="triangle",
)  # fmt: skip


@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize("which", ["weight", "recurrent", "both"])
def test_lif_is_that_of_the_dense_matrices(which: str, backend: str) -> None:
    """Spikes, state and all gradients; Events of different lengths; a recording in two parts."""
    x = Events.from_dense(trains(30, 3, 20, 0.2), 1.0, torch.tensor([30, 0, 17]))
    found = []
    for thin in (False, True):
        weight, recurrent = sparse(20, 13), sparse(13, 13, seed=3)
        dense = [w.to_dense().detach().requires_grad_() for w in (weight, recurrent)]
        W: Any = weight if thin and which != "recurrent" else dense[0]
        V: Any = recurrent if thin and which != "weight" else dense[1]
        first, state = lif(x[:11], weight=W, recurrent=V, backend=backend, **OPTIONS)
        second, state = lif(x[11:], state, weight=W, recurrent=V, backend=backend, **OPTIONS)
        assert isinstance(first, Tensor) and isinstance(second, Tensor)
        spikes = torch.cat([first, second])
        loss = (spikes * torch.linspace(-1, 1, 13)).sum() + state.membrane.sum()
        leaves = [w.values if isinstance(w, SparseWeight) else w for w in (W, V)]
        gradients = [
            g if isinstance(w, SparseWeight) else g[full.rows(), full.index.long()]
            for g, w, full in zip(torch.autograd.grad(loss, leaves), (W, V), (weight, recurrent), strict=True)
        ]
        found.append([spikes.detach(), *(s.detach() for s in state), *gradients])
    assert 0 < found[0][0].sum() < found[0][0].numel() / 2
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_a_train_drawn_from_dyadic_weights_is_the_same_spike_for_spike() -> None:
    """Sums of multiples of 1/64 are exact in any order: sparse and dense must agree in float32, too."""
    g = torch.Generator().manual_seed(0)
    matrix = torch.randint(-8, 9, (300, 300), generator=g) / 64 * (torch.rand(300, 300, generator=g) < 0.1)
    x = Events.from_dense(torch.rand(40, 2, 300, generator=g) < 0.1, 1.0)
    rule = Rule(input_scale="one")
    trains = [
        lif(x, weight=w, recurrent=w, rule=rule, threshold=0.5)[0] for w in (matrix, SparseWeight.from_dense(matrix))
    ]
    assert torch.equal(*trains) and 0.01 < trains[0].mean() < 0.5


def test_single_precision() -> None:
    case = next(case for case in SOME if case.name == "recurrent_everything_long")
    p, kept = masked(case, torch.float32)
    found = through_sparse(case, p)
    wanted = specified(case, p, found.spikes)
    assert found.spikes.dtype == torch.float32
    assert_close(case, found, wanted._replace(grad_recurrent=wanted.grad_recurrent * kept), 2e-5)


@pytest.mark.parametrize("team", [False, True], ids=["by_samples", "by_neurons"])
def test_threads_do_not_change_a_bit(team: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_sparse, "TEAM", 1 if team else 2048)
    case = next(case for case in SOME if case.name == "recurrent_several_blocks_adlif")
    p, _ = masked(case, torch.float32)
    linear = [(trains(*sizes).float(), sparse(*sizes[2:], dtype=torch.float32)) for sizes in LINEAR]
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found = list(through_sparse(case, p))
            for dense, weight in linear:
                x = dense.clone().requires_grad_()
                out = event_linear(x, weight)
                found += [out, *torch.autograd.grad(out.square().sum(), [x, weight.values])]
            results.append(found)
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


LINEAR = [(1, 1, 9, 5 * cpu.TILE), (20, 9, 30, 12)]


def test_together_lets_threads_wait_for_each_other() -> None:
    """Each thread writes its place and reads its neighbour's after the barrier, many times over."""

    @jit
    def go_round(k, n, barrier, seen, wrong):
        for turn in range(1, 2000):
            seen[turn % 2, k] = turn
            if barrier:
                meet(barrier)
            wrong[k] += seen[turn % 2, (k + 1) % n] != turn

    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            seen, wrong = np.zeros((2, threads), np.int64), np.zeros(threads, np.int64)
            together(go_round, seen, wrong)
            assert seen[1, 0] == 1999 and not wrong.any()

            def fails(k: int, n: int, barrier: int) -> None:
                raise RuntimeError("task")

            with pytest.raises(RuntimeError, match="task"):
                together(fails)
    finally:
        torch.set_num_threads(before)
