"""What theories, memories and methods demand of a number before they count with it."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any


def whole(name: str, value: Any, low: int | None = None, high: int | None = None, limit: str = "") -> int:
    """A whole number within a range.

    Arguments:
        name: of the argument.
        value: what came; a whole number of any type.
        low, high: the range, both included; `None` is without an end.
        limit: the name of the upper end, for the message.

    Raises:
        ValueError: naming the argument, its range and what came.
    """
    ends = f", {low} to {limit + '=' if limit else ''}{high}" if high is not None else f" of at least {low}"
    wanted = f"{name}: expected a whole number{'' if low is None else ends}, got {value!r}"
    if isinstance(value, bool):
        raise ValueError(wanted)
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ValueError(wanted) from error
    if (low is not None and number < low) or (high is not None and number > high):
        raise ValueError(wanted)
    return number


def real(name: str, value: Any, low: float = -math.inf, high: float = math.inf, said: str = "a finite number") -> float:
    """A finite number within a range.

    Arguments:
        name: of the argument.
        value: what came; a number of any type.
        low, high: the range, both included.
        said: the range in words.

    Raises:
        ValueError: naming the argument, its range and what came.
    """
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not math.isfinite(number) or not low <= number <= high:
        raise ValueError(f"{name}: expected {said}, got {value!r}")
    return number
