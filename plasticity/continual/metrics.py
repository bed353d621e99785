"""How much a learner of tasks in turn keeps: functions of the accuracy matrix R.

R[i, j] is the accuracy on task j after training on tasks 0 to i, for all j, later tasks too; T tasks. b[j] is the
accuracy on task j before any training. The same names mean different things in different libraries, so each metric here
says whose it is:

    ACC           mean_j R[T-1, j]                                       Lopez-Paz & Ranzato 2017 (GEM)
    BWT           mean_{j<T-1} R[T-1, j] - R[j, j]                       GEM; Mammoth, GPM and HLOP use it too
    FWT           mean_{j>0} R[j-1, j] - b[j]                            GEM, with the random baseline
    forgetting    mean_{j<T-1} max_{j<=l<T-1} R[l, j] - R[T-1, j]        Chaudhry et al. 2018; Mammoth's maximum takes
                                                                         the last row in, Avalanche's is -BWT
    learning      mean_j R[j, j]                                         learning accuracy, Riemer et al. 2019
    incremental   mean_i mean_{j<=i} R[i, j]                             average incremental, Rebuffi et al. 2017
    A             mean_{i>=j} R[i, j]                                    Diaz-Rodriguez et al. 2018
    BWT_DR        mean_{i>j} R[i, j] - R[j, j]                           the same; Continuum calls it BWT
    intransigence mean_j a[j] - R[j, j], a of a joint model              Chaudhry et al. 2018
    min_ACC       mean_{j<T-1} min accuracy on j after its own end       De Lange et al. 2023 (stability gap)
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def metrics(R: Any, before: Any = None, joint: Any = None, within: Any = None) -> dict[str, float]:
    """Every metric that the given accuracies allow.

    Arguments:
        R: (T, T) accuracies, rows are time; what was not measured, above the diagonal, is NaN.
        before: (T,) accuracies before any training, for FWT.
        joint: (T,) accuracies on task j of a model trained jointly on tasks 0 to j, for intransigence.
        within: (n, T) accuracies measured inside tasks, for `min_ACC`: NaN for tasks that are not over.

    Returns:
        by name; one task has neither transfer nor forgetting.

    Raises:
        ValueError: naming the argument whose shape does not fit or which lacks what a metric needs.
    """
    R = _square(R)
    T = len(R)
    kept, learned = R[-1], np.diag(R)
    lower = np.tril(np.ones((T, T), bool))
    found = {
        "ACC": kept.mean(), "learning": learned.mean(), "A": R[lower].mean(),
        "incremental": np.mean([R[i, : i + 1].mean() for i in range(T)]),
    }  # fmt: skip
    if T > 1:
        below = np.tril(np.ones((T, T), bool), -1)
        best = np.array([R[j : T - 1, j].max() for j in range(T - 1)])
        found |= {
            "BWT": (kept - learned)[:-1].mean(), "forgetting": (best - kept[:-1]).mean(),
            "BWT_DR": (R - learned)[below].mean(),
        }  # fmt: skip
        if before is not None:
            ahead = np.diag(R, 1)
            if np.isnan(ahead).any():
                raise ValueError("R: FWT needs the accuracy on each task just before it is learned; it is NaN")
            found["FWT"] = (ahead - _row("before", before, T)[1:]).mean()
        if within is not None:
            inside = np.asarray(within, float)
            if inside.ndim != 2 or inside.shape[1] != T:
                raise ValueError(f"within: expected (n, {T}), got {inside.shape}")
            found["min_ACC"] = np.nanmin(np.concatenate([inside, np.where(below, R, np.nan)])[:, :-1], 0).mean()
    if joint is not None:
        found["intransigence"] = (_row("joint", joint, T) - learned).mean()
    return {name: float(value) for name, value in found.items()}


def forgetting_matrix(R: Any) -> Array:
    """(T, T), R[j, j] - R[i, j] for i > j and 0 elsewhere: how much of task j is lost after task i."""
    R = _square(R)
    return np.where(np.tril(np.ones(R.shape, bool), -1), np.diag(R) - R, 0.0)


def _square(R: Any) -> Array:
    R = np.asarray(R, float)
    if R.ndim != 2 or R.shape[0] != R.shape[1] or not len(R):
        raise ValueError(f"R: expected (T, T) with T >= 1, got {R.shape}")
    if np.isnan(R[np.tril(np.ones(R.shape, bool))]).any():
        raise ValueError("R: expected accuracies on and below the diagonal, got NaN")
    least, most = np.nanmin(R), np.nanmax(R)
    if least < 0 or most > 1:
        raise ValueError(f"R: expected accuracies in [0, 1], got {least} to {most}")
    return R


def _row(name: str, values: Any, T: int) -> Array:
    row = np.asarray(values, float)
    if row.shape != (T,) or not ((row >= 0) & (row <= 1)).all():
        got = row.shape if row.shape != (T,) else row.tolist()
        raise ValueError(f"{name}: expected ({T},) accuracies in [0, 1], got {got}")
    return row
