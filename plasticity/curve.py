"""Curve: what theory says along an axis, beside what was measured there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Curve:
    """One line of a figure.

    Attributes:
        name: in the legend.
        x: where.
        theory: of each x.
        measured: of each x, NaN where nothing was measured.
        error: standard error of each measurement as theory has it, NaN where it has none.
        published: an approximation of the theory by its authors, where it differs from it.
    """

    name: str
    x: list[float]
    theory: list[float]
    measured: list[float]
    error: list[float]
    published: list[float] = field(default_factory=list)

    @property
    def z(self) -> list[float]:
        """Measured less theory in standard errors, where there are both."""
        rows = zip(self.theory, self.measured, self.error, strict=True)
        return [(seen - said) / error for said, seen, error in rows if error > 0 and math.isfinite(seen)]

    def rows(self, figure: str) -> list[dict[str, object]]:
        """A mapping for each x, as a table has them."""
        published = self.published or [math.nan] * len(self.x)
        columns = zip(self.x, self.theory, published, self.measured, self.error, strict=True)
        names = ("x", "theory", "published", "measured", "error")
        return [{"figure": figure, "curve": self.name, **dict(zip(names, row, strict=True))} for row in columns]
