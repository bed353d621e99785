"""Fields of a preset: each has the form that presets.py gives it, and finite numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from spiking.reservoir.presets import Preset

AT_LEAST_0 = ("lam", "spread", "delay_spread", "refractory", "adapt")


def check(preset: Preset) -> None:
    """Raise unless every field has its form.

    Raises:
        ValueError: naming the field, what came and what was wanted.
    """
    for field in fields(preset):
        value, form = getattr(preset, field.name), str(field.type)
        if form.endswith("| None") and value is None:
            continue
        wanted, fits = FORMS[form.removesuffix(" | None")]
        if not fits(value):
            raise ValueError(f"{field.name}: expected {wanted}, got {value!r}")
        if field.name in AT_LEAST_0 and not min(value if isinstance(value, (tuple, list)) else (value,)) >= 0:
            raise ValueError(f"{field.name}: expected {wanted}, 0 or more, got {value!r}")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _row(count: int | None, each: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether a value is so many of something; `None` is any number but none."""

    def fits(value: Any) -> bool:
        if not isinstance(value, (tuple, list)) or (len(value) != count if count is not None else not value):
            return False
        return all(map(each, value))

    return fits


def _short_term(value: Any) -> bool:
    return value in ((), []) or _row(4, _row(3, _number))(value)


FORMS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("a whole number", _whole),
    "float": ("a finite number", _number),
    "str": ("a word", lambda value: isinstance(value, str)),
    "bool": ("True or False", lambda value: isinstance(value, bool)),
    "Pair": ("two finite numbers, such as [1.0, 2.0]", _row(2, _number)),
    "Four": ("four finite numbers, such as [1.0, 1.0, 1.0, 1.0] for E->E, E->I, I->E, I->I", _row(4, _number)),
    "tuple[float, ...]": ("one or more finite numbers, such as [1.0]", _row(None, _number)),
    "tuple[int, int, int]": ("three whole numbers, such as [3, 3, 15]", _row(3, _whole)),
    "tuple[tuple[float, float, float], ...]": (
        "U, D and F of E->E, E->I, I->E and I->I, such as [[0.5, 1100.0, 50.0], ...], or []", _short_term
    ),
}  # fmt: skip
