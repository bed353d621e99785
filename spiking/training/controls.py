"""Linear controls: what a classifier without time or neurons gets out of the same recordings.

    counts: logistic regression on each channel's number of events
    bins:   ridge regression on the number of events in five equal parts of time, one target in {-1, 1} per class

Both see the whole training split, validation recordings included. The penalty of the first is fixed, at what served
best on digits among 1e-4, 1e-3 and 1e-2; the second's is the best in leave-one-out.
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=1e-2, max_iter=200, tol=1e-3)
        return model.fit(train.counts(), train.labels.numpy())
