"""Ensemble: several liquids that hear the same input, whose counts stand side by side (Wijesinghe et al. 2019)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from spiking.datasets.errors import DataError
from spiking.reservoir.file import check_format, check_name, from_dict, to_dict
from spiking.reservoir.lsm import LSM

Array = np.ndarray[Any, Any]
FORMAT = "spiking.reservoir ensemble 1"


class Ensemble(TransformerMixin, BaseEstimator):
    """Liquids side by side; a transformer of scikit-learn as each of them is.

    Arguments:
        members: the liquids.

    Raises:
        ValueError: if there is none.
    """

    def __init__(self, members: Sequence[LSM]) -> None:
        if not members:
            raise ValueError("members: expected at least one liquid, got none")
        self.members = members

    @classmethod
    def from_preset(cls, name: str, members: int, seed: int = 0, **options: Any) -> Ensemble:
        """`members` liquids of one preset with seeds 1000 seed, 1000 seed + 1, ..."""
        return cls([LSM.from_preset(name, seed=1000 * seed + k, **options) for k in range(members)])

    def calibrate(self, events: Any, **targets: Any) -> Ensemble:
        """Calibrate each by itself; arguments as `LSM.calibrate`."""
        for lsm in self.members:
            lsm.calibrate(events, **targets)
        return self

    def features(self, x: Any, bins: int | None = None, progress: bool = False) -> Array:
        """(B, members * bins * N) counts, one liquid after the other; arguments as `LSM.features`."""
        first = self.members[0].features(x, bins, progress)
        if len(self.members) == 1:
            return first
        widths = [lsm.size * (lsm.bins if bins is None else bins) for lsm in self.members]
        found = np.empty((len(first), sum(widths)), first.dtype)  # one member's counts beside it, not all of them
        found[:, : widths[0]] = first
        del first
        for k, lsm in enumerate(self.members[1:], 1):
            found[:, sum(widths[:k]) : sum(widths[: k + 1])] = lsm.features(x, bins, progress)
        return found

    def fit(self, x: Any, y: Any = None) -> Ensemble:
        """Fit each, see `LSM.fit`."""
        for lsm in self.members:
            lsm.fit(x, y)
        return self

    def transform(self, x: Any) -> Array:
        """`features(x)`."""
        return self.features(x)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what rebuilds them all as one JSON file, beside it for each that has learned an .npz file.

        Raises:
            ValueError: if the name is that of an .npz file.
        """
        path = Path(path)
        check_name(path)
        members = [to_dict(lsm, path.with_suffix(f".{k}.npz")) for k, lsm in enumerate(self.members)]
        path.write_text(json.dumps({"format": FORMAT, "members": members}, indent=2) + "\n")

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Ensemble:
        """Saved liquids, rebuilt bit for bit.

        Raises:
            DataError: if the file is no ensemble, or what is built from it is another than was saved.
        """
        try:
            given = json.loads(Path(path).read_text())
            check_format(given, FORMAT)
            return cls([from_dict(LSM, each, Path(path).parent) for each in given["members"]])
        except (OSError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: expected a saved ensemble ({error})") from error
