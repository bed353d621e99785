"""Ridge regression of many recordings: the table of counts is read block by block and never copied as a whole.

With R the roots of counts, standardised (`Roots`), and Y one target in {-1, 1} for each class, less its mean,

    W = (R^T R + alpha I)^-1 R^T Y,        R^T R = sum over blocks of R_b^T R_b,

so that memory holds R^T R, a block, and the counts themselves. R^T R is summed, and the equation solved, in double
precision: in single precision neurons that fire alike leave a matrix too ill-conditioned for small penalties. alpha is
the best on a tenth of the recordings that is held out, whose share of R^T R is added afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.linalg import solve
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.model_selection import StratifiedShuffleSplit

Array = np.ndarray[Any, Any]
ALPHAS = tuple(float(alpha) for alpha in np.logspace(1, 5, 9))
BLOCK = 1 << 25  # numbers of a block
LEAST = 0.1  # spread of a neuron that hardly ever fires


class Roots(TransformerMixin, BaseEstimator):
    """Square roots of counts, standardised."""

    def fit(self, X: Any, y: Any = None) -> Roots:
        """Take mean and spread from counts (m, features)."""
        total, square = np.zeros(X.shape[1]), np.zeros(X.shape[1])
        for at in _blocks(np.arange(len(X)), X.shape[1]):
            counts = np.asarray(X[at], np.float32)
            total += np.sqrt(counts).sum(0, np.float64)
            square += counts.sum(0, np.float64)
        mean = total / len(X)
        spread = np.sqrt(np.maximum(square / len(X) - mean**2, 0))
        self.mean_, self.scale_ = mean.astype(np.float32), np.maximum(spread, LEAST).astype(np.float32)
        return self

    def transform(self, X: Any) -> Array:
        """(m, features) float32."""
        out = np.sqrt(np.asarray(X, np.float32))
        out -= self.mean_
        out /= self.scale_
        return out


class BlockRidge(ClassifierMixin, BaseEstimator):
    """A classifier of counts by ridge regression of their roots.

    Arguments:
        alphas: penalties, of which the best on held-out recordings is taken.
        seed: of what is held out.
    """

    def __init__(self, alphas: tuple[float, ...] = ALPHAS, seed: int = 0) -> None:
        self.alphas, self.seed = alphas, seed

    def fit(self, X: Any, y: Any) -> BlockRidge:
        """Learn counts (m, features), of any type of number, and labels (m,).

        Raises:
            ValueError: if no recording of a class can be held out.
        """
        self.classes_, label = np.unique(y, return_inverse=True)
        self.roots_ = Roots().fit(X)
        target = np.where(label[:, None] == np.arange(len(self.classes_)), 1.0, -1.0)
        self.intercept_ = target.mean(0)
        target -= self.intercept_
        kept, held = next(StratifiedShuffleSplit(1, test_size=0.1, random_state=self.seed).split(label, label))
        gram, product = np.zeros((X.shape[1],) * 2), np.zeros((X.shape[1], len(self.classes_)))
        self._add(gram, product, X, target, kept)
        self.scores_ = []
        for alpha in self.alphas:
            self.coef_ = _solve(gram, product, alpha)
            self.scores_.append(float((self._guess(X, held) == label[held]).mean()))
        self.alpha_ = self.alphas[int(np.argmax(self.scores_))]
        self._add(gram, product, X, target, held)
        self.coef_ = _solve(gram, product, self.alpha_)
        return self

    def predict(self, X: Any) -> Array:
        """Labels (m,) of counts (m, features)."""
        guess: Array = self.classes_[self._guess(X, np.arange(len(X)))]
        return guess

    def _add(self, gram: Array, product: Array, X: Any, target: Array, rows: Array) -> None:
        for at in _blocks(rows, X.shape[1]):
            block = self.roots_.transform(X[at])
            gram += block.T @ block
            product += block.T @ target[at].astype(np.float32)

    def _guess(self, X: Any, rows: Array) -> Array:
        found = [
            (self.roots_.transform(X[at]) @ self.coef_ + self.intercept_).argmax(1)
            for at in _blocks(rows, X.shape[1])
        ]  # fmt: skip
        return np.concatenate(found) if found else np.zeros(0, np.int64)


def _solve(gram: Array, product: Array, alpha: float) -> Array:
    matrix = gram.copy()
    matrix.flat[:: len(gram) + 1] += alpha
    weight: Array = solve(matrix, product, assume_a="pos", overwrite_a=True, check_finite=False)
    return weight.astype(np.float32)


def _blocks(rows: Array, features: int) -> Iterator[Array]:
    size = max(1, BLOCK // max(features, 1))
    return (rows[k : k + size] for k in range(0, len(rows), size))
