"""Continual-learning metrics against sums written out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiking.plasticity.continual.metrics import forgetting_matrix, metrics

R = [[0.9, 0.2, 0.1], [0.7, 0.8, 0.3], [0.8, 0.6, 0.95]]


def test_by_hand() -> None:
    within = [[0.9, math.nan, math.nan], [0.5, 0.8, math.nan]]
    found = metrics(R, before=[0.1, 0.1, 0.1], joint=[0.9, 0.9, 1.0], within=within)
    expected = {
        "ACC": (0.8 + 0.6 + 0.95) / 3, "BWT": ((0.8 - 0.9) + (0.6 - 0.8)) / 2, "FWT": ((0.2 - 0.1) + (0.3 - 0.1)) / 2,
        "forgetting": ((0.9 - 0.8) + (0.8 - 0.6)) / 2, "learning": (0.9 + 0.8 + 0.95) / 3,
        "incremental": (0.9 + (0.7 + 0.8) / 2 + (0.8 + 0.6 + 0.95) / 3) / 3,
        "A": (0.9 + 0.7 + 0.8 + 0.8 + 0.6 + 0.95) / 6, "BWT_DR": ((0.7 - 0.9) + (0.8 - 0.9) + (0.6 - 0.8)) / 3,
        "intransigence": (0.0 + 0.1 + 0.05) / 3, "min_ACC": (0.5 + 0.6) / 2,
    }  # fmt: skip
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert math.isclose(found[name], value, abs_tol=1e-12), name
    assert np.allclose(forgetting_matrix(R), [[0, 0, 0], [0.2, 0, 0], [0.1, 0.2, 0]])


def test_the_minimum_begins_after_a_task_s_end() -> None:
    assert math.isclose(metrics([[0.5, 0.5], [0.9, 0.9]], within=[[0.8, math.nan]])["min_ACC"], 0.8)


@given(st.integers(1, 6), st.integers(0, 99))
def test_bounds(T: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).random((T, T))
    found = metrics(matrix)
    assert 0 <= found["ACC"] <= 1 and ("BWT" in found) == (T > 1)
    if T > 1:
        assert found["forgetting"] >= -found["BWT"] - 1e-12  # the maximum over rows is at least the first
    steady = metrics(np.tile(matrix[-1], (T, 1)))
    assert abs(steady.get("BWT", 0.0)) < 1e-12 and abs(steady.get("forgetting", 0.0)) < 1e-12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"R": [[0.1, 0.2]]}, r"R: expected \(T, T\) with T >= 1, got \(1, 2\)"),
        ({"R": [[math.nan]]}, "R: expected accuracies on and below the diagonal, got NaN"),
        ({"R": [[91.0]]}, r"R: expected accuracies in \[0, 1\], got 91.0"),
        ({"R": [[0.5, math.nan], [0.5, 0.5]], "before": [0.1, 0.1]}, "R: FWT needs the accuracy"),
        ({"R": [[0.5, 91.0], [0.5, 0.5]]}, r"R: expected accuracies in \[0, 1\], got 0.5 to 91.0"),
        ({"R": R, "before": [0.1]}, r"before: expected \(3,\) accuracies in \[0, 1\], got \(1,\)"),
        ({"R": R, "joint": [0.1, math.nan, 2.0]}, r"joint: expected \(3,\) .* in \[0, 1\], got \[0.1, nan, 2.0\]"),
        ({"R": R, "within": [[0.1]]}, r"within: expected \(n, 3\), got \(1, 1\)"),
    ],
)
def test_bad_input(arguments: dict[str, list[float]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        metrics(**arguments)
