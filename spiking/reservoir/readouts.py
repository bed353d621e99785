"""Readouts of a liquid's spike counts, by scikit-learn.

    ridge      one target in {-1, 1} for each class; the penalty is the best in leave-one-out, and for more samples than
               features and more than CELLS numbers, which are read block by block (`ridge.BlockRidge`), the best on
               a tenth that is held out
    logistic   multinomial logistic regression, its penalty the best on a held-out tenth
    sgd        logistic regression by stochastic gradients with averaged weights, for what does not fit the others

Counts enter as square roots, whose noise does not grow with the count, standardised by the training recordings' mean
and spread (`ridge.Roots`). Neurons that hardly ever fire are not blown up: the spread counts as at least 0.1.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV, SGDClassifier
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline

from spiking.reservoir.ridge import BlockRidge, Roots

Array = np.ndarray[Any, Any]
KINDS = ("ridge", "logistic", "sgd")
CELLS = 10_000_000


def readout(kind: str, samples: int, features: int, seed: int = 0) -> Pipeline:
    """A readout to `fit(counts, labels)` and `predict(counts)`.

    Arguments:
        kind: "ridge", "logistic" or "sgd".
        samples, features: of the training data, by which ridge chooses how to choose its penalty.
        seed: of what is held out, and of the order of "sgd".

    Raises:
        ValueError: if there is no such readout.
    """
    check_readout(kind)
    held_out = StratifiedShuffleSplit(1, test_size=0.1, random_state=seed)
    if kind == "sgd":
        model: Any = SGDClassifier(
            loss="log_loss", alpha=1e-4, average=True, max_iter=20, tol=1e-4, random_state=seed, early_stopping=False
        )
    elif kind == "logistic":
        model = GridSearchCV(LogisticRegression(max_iter=200, tol=1e-3), {"C": [1e-3, 1e-2, 1e-1]}, cv=held_out)
    elif samples * features <= CELLS or samples <= features:  # then a matrix of samples is the smaller one
        model = RidgeClassifierCV(np.logspace(0, 5, 11))
    else:
        return make_pipeline(BlockRidge(seed=seed))
    return make_pipeline(Roots(), model)


def check_readout(kind: str) -> None:
    """Raise unless there is such a readout.

    Raises:
        ValueError: naming what there is.
    """
    if kind not in KINDS:
        raise ValueError(f"readout: expected one of {', '.join(KINDS)}, got {kind!r}")


def score(kind: str, train: tuple[Array, Array], test: tuple[Array, Array], seed: int = 0) -> float:
    """Accuracy on `test` of a readout fitted on `train`, each (counts, labels)."""
    return float((predictions(kind, train, test[0], seed) == test[1]).mean())


def predictions(kind: str, train: tuple[Array, Array], counts: Array, seed: int = 0) -> Array:
    """Labels that a readout fitted on `train`, (counts, labels), gives to other counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        guess: Array = readout(kind, train[0].shape[0], train[0].shape[1], seed).fit(*train).predict(counts)
    return guess
