"""Memories by name: the settings with which the published experiments are repeated.

The numbers of "mnist" were chosen on 1,500 of the last 10,000 training images, held out; those of "weizmann" are the
same in other windows, the first that were tried; the exponents of "capacity" are those of the best of several nets.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from spiking.plasticity.sparsey.fields import around, tiles
from spiking.plasticity.sparsey.plan import LevelPlan

Plans = tuple[int, list[LevelPlan]]
SHAPE = (24, 16)  # rows and columns of a thinned digit
FIGURE = (32, 24)  # of a silhouette


def mnist(units: int = 2048, modules: int = 2) -> Plans:
    """Twelve macs over windows of 12 x 8 of a 24 x 16 image, with off cells and ten labels."""
    level = LevelPlan(
        tiles(SHAPE, (12, 8), (4, 4)), modules, units, labels=10, off=True, band=(2, 96),
        exponents={"U": 8.0, "O": 8.0, "L": 1.0}, fan_in=0,
    )  # fmt: skip
    return SHAPE[0] * SHAPE[1], [level]


def weizmann(units: int = 1024, modules: int = 2) -> Plans:
    """Nine macs over windows of 16 x 12 of a 32 x 24 edge image, with off cells and ten labels."""
    level = LevelPlan(
        tiles(FIGURE, (16, 12), (8, 6)), modules, units, labels=10, off=True, band=(2, 192),
        exponents={"U": 8.0, "O": 8.0, "L": 1.0}, fan_in=0,
    )  # fmt: skip
    return FIGURE[0] * FIGURE[1], [level]


def capacity(
    inputs: int = 144, modules: int = 9, units: int = 16, exponents: tuple[float, float] = (4.0, 4.0),
    normalise: str = "active", least: int = 9, hypotheses: str | None = None,
) -> Plans:
    """One mac that hears itself: by default the net of Rinkus' capacity study, 39,168 weights."""
    level = LevelPlan(
        torch.arange(inputs)[None], modules, units, beside=around((1, 1)), band=(least, inputs),
        exponents=dict(zip("UH", exponents, strict=True)), normalise=normalise, hypotheses=hypotheses,
    )  # fmt: skip
    return inputs, [level]


PRESETS: dict[str, Callable[..., Plans]] = {"mnist": mnist, "weizmann": weizmann, "capacity": capacity}


def plans(name: str, **changes: object) -> Plans:
    """Inputs and plans of a preset.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name](**changes)
