"""Ridge regression block by block: scikit-learn's solution, whatever the blocks and the type of the counts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from spiking.reservoir import ridge
from spiking.reservoir.ridge import BlockRidge, Roots


def counts(m: int = 400, features: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(m) % classes
    x = rng.poisson(rng.gamma(1.0, 2.0, (classes, features))[y]).astype(np.uint8)
    x[:, 0] = 0  # a neuron that never fires
    return x, y + 3


def test_it_is_ridge_regression_of_standardised_roots() -> None:
    x, y = counts()
    found = BlockRidge(alphas=(30.0,)).fit(x, y)
    r = np.sqrt(x.astype(float))
    r = (r - r.mean(0)) / np.maximum(r.std(0), 0.1)
    wanted = RidgeClassifier(alpha=30.0).fit(r, y)
    assert np.allclose(found.coef_.T, wanted.coef_, atol=1e-5)
    assert np.allclose(found.intercept_, wanted.intercept_, atol=1e-5)
    assert np.array_equal(found.predict(x), wanted.predict(r)) and set(found.predict(x)) == set(y)


def test_blocks_and_types_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = counts()
    one = BlockRidge(alphas=(10.0, 1e3, 1e5)).fit(x, y)
    monkeypatch.setattr(ridge, "BLOCK", 60 * 7)
    other = BlockRidge(alphas=(10.0, 1e3, 1e5)).fit(x.astype(np.float32), y)
    assert one.alpha_ == other.alpha_ and np.allclose(one.coef_, other.coef_, rtol=1e-4, atol=1e-6)
    assert np.allclose(Roots().fit(x).scale_, np.maximum(np.sqrt(x.astype(float)).std(0), 0.1), rtol=1e-5)
    assert other.predict(x[:0]).shape == (0,)


def test_the_penalty_is_chosen_on_recordings_that_are_held_out() -> None:
    """Labels by chance and nearly as many features as recordings: all is learned by heart, and held out it shows."""
    rng = np.random.default_rng(1)
    x, y = rng.poisson(3.0, (600, 500)), rng.integers(0, 2, 600)
    found = BlockRidge(alphas=(1e-3, 1e6)).fit(x, y)
    assert (BlockRidge(alphas=(1e-3,)).fit(x, y).predict(x) == y).mean() > 0.9
    assert max(found.scores_) < 0.7 and found.alpha_ == found.alphas[int(np.argmax(found.scores_))]


def test_neurons_that_fire_alike_are_solved_without_a_warning() -> None:
    x, y = counts()
    twice = BlockRidge(alphas=(1.0,)).fit(np.repeat(x, 2, 1), y)
    assert np.allclose(twice.coef_[::2], twice.coef_[1::2], atol=1e-4)


def test_a_class_of_one_recording_cannot_be_held_out() -> None:
    x, y = counts()
    with pytest.raises(ValueError, match="least populated class"):
        BlockRidge().fit(x, np.where(np.arange(len(y)) == 0, 99, y))
