"""Linear controls: what a classifier without time or neurons gets out of the same recordings.

    counts: logistic regression on each channel's number of events
    bins:   ridge regression on the number of events in five equal parts of time, one target in {-1, 1} per class

Both see the whole training split, validation recordings included. The penalty of the first is the best of a few on a
fifth of that split, the second's the best in leave-one-out; the test recordings decide nothing.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV

from spiking.datasets import EventStore

Array = np.ndarray[Any, Any]
BINS = 5
MOST = 10_000


def controls(train: EventStore, test: EventStore) -> dict[str, float]:
    """Test accuracy of both controls.

    Arguments:
        train: the training split; of more than 10,000 recordings, every k-th.
        test: what is measured.

    Returns:
        `control_counts_accuracy` and `control_bins_accuracy`, 0 to 1.
    """
    train = train.select(slice(None, None, -(-len(train) // MOST)))
    truth = test.labels.numpy()
    counts = _logistic(train).predict(test.counts()) == truth
    ridge = RidgeClassifierCV(np.logspace(1, 5, 9)).fit(train.counts(BINS), train.labels.numpy())
    bins = ridge.predict(test.counts(BINS)) == truth
    return {"control_counts_accuracy": float(counts.mean()), "control_bins_accuracy": float(bins.mean())}


def _logistic(train: EventStore) -> LogisticRegression:
    def fit(store: EventStore, C: float) -> LogisticRegression:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return LogisticRegression(C=C, max_iter=300, tol=1e-3).fit(store.counts(), store.labels.numpy())

    try:
        rest, held = train.split(hold_out=0.2)
    except ValueError:  # too few recordings of some class to hold any out
        return fit(train, 1e-3)
    truth, features = held.labels.numpy(), held.counts()
    penalties = (1e-4, 1e-3, 1e-2)
    scores = [float((fit(rest, C).predict(features) == truth).mean()) for C in penalties]
    return fit(train, penalties[int(np.argmax(scores))])
