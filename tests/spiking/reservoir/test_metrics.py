"""Metrics against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from spiking import Events
from spiking.kernels import SparseWeight
from spiking.reservoir.counts import bin_counts
from spiking.reservoir.dynamics import branching_factor, divergence
from spiking.reservoir.metrics import class_separation, memory_capacity, rank, some
from spiking.reservoir.readouts import KINDS, readout, score

rng = np.random.default_rng


def test_rank_of_states_that_span_three_directions() -> None:
    states = rng(0).standard_normal((50, 3)) @ rng(1).standard_normal((3, 20))
    found = rank(states)
    assert found.rank == 3 and 1 < found.effective <= 3
    orthogonal = np.linalg.qr(rng(2).standard_normal((50, 20)))[0]
    assert rank(orthogonal).rank == 20 and rank(orthogonal).effective == pytest.approx(20)
    noisy = np.outer(np.ones(50), np.ones(20)) + 1e-3 * rng(3).standard_normal((50, 20))
    assert rank(noisy).rank == 20 and rank(noisy).effective < 1.3  # noise adds to the rank, hardly to the effective one
    assert rank(np.zeros((5, 2))).rank == 0


def test_rank_wants_more_samples_than_neurons() -> None:
    with pytest.raises(ValueError, match="states: expected more samples than neurons, got 20 of 20"):
        rank(np.eye(20))
    assert some(np.ones((20, 30)), 10).shape == (20, 10) and some(np.ones((20, 5)), 10).shape == (20, 5)
    with pytest.raises(ValueError, match="states: expected finite"):
        rank(np.full((3, 2), np.nan))


def test_class_separation() -> None:
    labels = np.repeat([0, 1], 10)
    states = np.repeat([[0.0, 0.0], [3.0, 4.0]], 10, axis=0)
    assert class_separation(states, labels) == pytest.approx(2.5)  # (0 + 5 + 5 + 0) / 4, no spread
    wide = states + rng(0).standard_normal(states.shape)
    assert class_separation(wide, labels) < 2
    assert class_separation(states, np.zeros(20)) == 0
    with pytest.raises(ValueError, match=r"labels: expected \(20,\)"):
        class_separation(states, labels[:5])


def test_memory_of_a_delay_line_is_its_length() -> None:
    u = rng(0).standard_normal(4000)
    line = np.stack([np.roll(u, k) for k in range(8)], 1)
    found = memory_capacity(line, u, delays=20, washout=20, ridge=1e-9)
    assert found.curve[:8] == pytest.approx(1) and found.curve[8:].max() < 0.02
    assert found.total == pytest.approx(8, abs=0.1)
    leak = lfilter([1], [1, -0.5], u)[:, None]
    assert memory_capacity(leak, u, delays=5).curve == pytest.approx(0.75 * 0.25 ** np.arange(5), abs=0.05)
    with pytest.raises(ValueError, match="signal: expected at least"):
        memory_capacity(line[:60], u[:60])


def chain(steps: list[list[int]], T: int = 20, N: int = 4) -> Events:
    dense = torch.zeros(T, 1, N, dtype=torch.bool)
    for neuron, times in enumerate(steps):
        dense[times, 0, neuron] = True
    return Events.from_dense(dense, dt=1.0)


def test_branching_factor_by_hand() -> None:
    W = torch.zeros(4, 4)
    W[0, 1] = W[1, 2] = W[1, 3] = 1.0  # 0 -> 1 -> {2, 3}
    spikes = chain([[8, 9], [10], [11], [12, 13]])
    found = branching_factor(spikes, SparseWeight.from_dense(W), window=4, trim=0)
    # neuron 1 at 10: three spikes of its targets after, two of its source before; neuron 0: one after each, none before
    assert found.neurons[1] == pytest.approx(1.5) and found.neurons[0] == pytest.approx(1.0)
    assert found.neurons[2] == 0 and found.neurons[3] == 0 and found.mean == pytest.approx(2.5 / 4)
    silent = branching_factor(chain([[], [], [], []]), SparseWeight.from_dense(W))
    assert np.isnan(silent.mean) and np.isnan(silent.neurons).all()
    with pytest.raises(ValueError, match=r"recurrent: expected \(4, 4\)"):
        branching_factor(spikes, SparseWeight.from_dense(torch.zeros(3, 3)))


def test_divergence_of_a_difference_that_grows_and_one_that_fades() -> None:
    base = torch.zeros(200, 1, 300, dtype=torch.bool)
    grows, fades = base.clone(), base.clone()
    for t in range(50, 200):
        grows[t, 0, : int(2 ** ((t - 50) / 25))] = True  # doubles in 25 ms
    fades[50:60, 0, :5] = True
    same = Events.from_dense(base, dt=1.0)
    up = divergence(same, Events.from_dense(grows, dt=1.0), 50, tau=5.0)
    assert up.exponent == pytest.approx(np.log(2) / 2 / 0.025, rel=0.15)  # the distance is a square root of counts
    assert divergence(same, Events.from_dense(fades, dt=1.0), 50).exponent == pytest.approx(-1 / 0.020, rel=0.01)
    assert divergence(same, same, 50).exponent == -np.inf
    with pytest.raises(ValueError, match="start: expected a step"):
        divergence(same, same, 190)


def test_counts_by_recording_and_by_time() -> None:
    dense = torch.zeros(10, 2, 3)
    dense[0, 0, 0] = dense[9, 0, 1] = 1
    dense[3, 1, 2] = 2
    events = Events.from_dense(dense, dt=1.0, lengths=torch.tensor([10, 4]))
    own = bin_counts(events, 2)
    assert own.reshape(2, 2, 3).tolist() == [[[1, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 0, 2]]]
    assert bin_counts(events, 2, "time").reshape(2, 2, 3)[1].tolist() == [[0, 0, 2], [0, 0, 0]]
    assert np.array_equal(bin_counts(events), events.counts().numpy())
    with pytest.raises(ValueError, match="parts: expected one of recording, time"):
        bin_counts(events, 2, "days")
    with pytest.raises(ValueError, match="bins: expected a whole number"):
        bin_counts(events, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_readouts_learn(kind: str) -> None:
    y = rng(0).integers(0, 3, 300)
    counts = rng(1).poisson(np.eye(3)[y] @ rng(2).uniform(0, 4, (3, 20))).astype(np.float32)
    assert score(kind, (counts[:200], y[:200]), (counts[200:], y[200:])) > 0.85


def test_large_ridge_chooses_on_held_out_recordings() -> None:
    assert type(readout("ridge", 20_000, 1000)[-1]).__name__ == "BlockRidge"
    for samples, features in ((100, 1000), (2700, 15_000)):
        assert type(readout("ridge", samples, features)[-1]).__name__ == "RidgeClassifierCV"
    with pytest.raises(ValueError, match="readout: expected one of ridge, logistic, sgd"):
        readout("forest", 10, 10)
