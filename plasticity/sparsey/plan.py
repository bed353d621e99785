"""What a level is made of, checked before anything is built of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from spiking.kernels.csa import Rule, words
from spiking.plasticity.arguments import real, whole
from spiking.plasticity.sparsey.backoff import LETTERS, BackOff

NORMALISE = ("active", "band")
HYPOTHESES = ("boost", "divide")
DEFAULT = Rule()
ANY = 1 << 30  # features: no upper end of a band


@dataclass(frozen=True, eq=False)
class LevelPlan:
    """What a level is made of.

    Arguments:
        fields: (M, R) features that a mac sees, or macs of the level below; -1 for none.
        modules, units: Q and K.
        beside: (M, n) macs of this level whose last codes a mac hears, itself first (`around`); `None` is none.
        above: (M, n) macs of the level above, likewise; -1 for none.
        labels: how many labels there are; 0 is no label source.
        off: whether what is not active in a field is a source too; only at the first level.
        band: least and most active features (or macs) in the field of an active mac.
        persistence: frames that a code is held.
        exponents: lambda of U, O, H, D and L; `start` replaces U's at a first frame.
        normalise: n_s is the number of "active" features, or the "band"'s least number (table 1; more count as 1).
        freeze: share of a matrix's synapses beyond which it is frozen; `None` is never.
        fan_in: synapses beyond which a unit is frozen; `None` is never.
        fades: whether synapses fade unless what made them recurs (permanence.py); one counts until its weight is 0.
        rule: of the choice.
        back_off: cases to try in recognition.
        hypotheses: what codes of zeta equal hypotheses are worth to others: "boost" zeta^A (the paper), "divide"
            1 / zeta (the Java code); nothing above B either way. `None` is 1.
        ambiguity: A and B.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    fields: Tensor
    modules: int
    units: int
    beside: Tensor | None = None
    above: Tensor | None = None
    labels: int = 0
    off: bool = False
    band: tuple[int, int] = (1, ANY)
    persistence: int = 1
    exponents: dict[str, float] = field(default_factory=dict)
    start: float | None = None
    normalise: str = "active"
    freeze: float | None = None
    fan_in: int | None = None
    fades: bool = False
    rule: Rule = DEFAULT
    back_off: BackOff | None = None
    hypotheses: str | None = None
    ambiguity: tuple[float, int] = (1.0, 4)

    def __post_init__(self) -> None:
        self._numbers()
        fields = _places("fields", self.fields)
        M = len(fields)
        self._set("fields", fields)
        for name in ("beside", "above"):
            if getattr(self, name) is not None:
                self._set(name, _places(name, getattr(self, name), M))
        if not bool((fields >= 0).any(1).all()):
            raise ValueError(f"fields: mac {int((fields >= 0).any(1).int().argmin())} sees nothing")
        if self.beside is not None:
            if not torch.equal(self.beside[:, 0].cpu(), torch.arange(M)):
                raise ValueError("beside: expected each mac itself in the first column, as `around` gives it")
            if int(self.beside.max()) >= M:
                raise ValueError(f"beside: expected macs 0 to {M - 1}, got {int(self.beside.max())}")
            if self.modules == 1 and not bool((self.beside[:, 1:] >= 0).any()):
                raise ValueError(
                    "beside: a unit hears no unit of its own module: expected 2 modules or neighbours, got 1"
                )
        for name, word, choices in (
            ("normalise", self.normalise, NORMALISE), ("hypotheses", self.hypotheses, (None, *HYPOTHESES)),
        ):  # fmt: skip
            if word not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(map(str, choices))}, got {word!r}")
        if not isinstance(self.rule, Rule):
            raise ValueError(f"rule: expected a Rule, got {self.rule!r}")
        self.rule.check()
        if self.back_off is not None:
            if not isinstance(self.back_off, BackOff):
                raise ValueError(f"back_off: expected a BackOff, got {self.back_off!r}")
            self.back_off.check()

    def _numbers(self) -> None:
        """Check numbers, and keep them as Python's own, which a file can hold."""
        for name in ("modules", "units", "persistence"):
            self._set(name, whole(name, getattr(self, name), 1))
        self._set("labels", whole("labels", self.labels, 0))
        for name in ("off", "fades"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}: expected True or False, got {getattr(self, name)!r}")
        band = _two("band", self.band, "1 <= least <= most")
        self._set("band", tuple(whole("band", own) for own in band))
        if not 1 <= self.band[0] <= self.band[1]:
            raise ValueError(f"band: expected 1 <= least <= most, got {self.band}")
        if not isinstance(self.exponents, dict) or set(self.exponents) - set(LETTERS):
            raise ValueError(f"exponents: expected numbers of 0 or more for letters of {LETTERS}, got {self.exponents}")
        said = "an exponent of 0 or more"
        powers = {letter: real(f"exponents: {letter}", own, 0, said=said) for letter, own in self.exponents.items()}
        self._set("exponents", powers)
        if self.start is not None:
            self._set("start", real("start", self.start, 0, said=said))
        if self.freeze is not None:
            self._set("freeze", real("freeze", self.freeze, 0, 1, "a share from 0 to 1"))
        if self.fan_in is not None:
            self._set("fan_in", whole("fan_in", self.fan_in, 0))
        A, B = _two("ambiguity", self.ambiguity, "A and B")
        self._set("ambiguity", (real("ambiguity: A", A, 0, said=said), whole("ambiguity: B", B, 1)))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


def code_words(plan: LevelPlan) -> int:
    """Words of one mac's code."""
    return words(plan.modules * plan.units)


def _two(name: str, given: Any, said: str) -> tuple[Any, Any]:
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise ValueError(f"{name}: expected {said}, got {given!r}")
    return given[0], given[1]


def _places(name: str, given: Any, macs: int | None = None) -> Tensor:
    """(macs, n) long, of -1 and places, none of them twice in a row."""
    if not isinstance(given, Tensor):
        raise ValueError(f"{name}: expected a tensor of whole numbers, got {type(given).__name__}")
    x, rows = given, "macs" if macs is None else macs
    kind = x.is_floating_point() or x.is_complex() or x.dtype == torch.bool
    if x.ndim != 2 or not x.numel() or kind or (macs is not None and len(x) != macs):
        raise ValueError(f"{name}: expected whole numbers ({rows}, n), got {x.dtype} {tuple(x.shape)}")
    x = x.long()
    if int(x.min()) < -1:
        raise ValueError(f"{name}: expected -1 for none, or a place, got {int(x.min())}")
    ordered = x.sort(1).values
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if bool(twice.any()):
        m, place = twice.nonzero()[0].tolist()
        raise ValueError(f"{name}: mac {m} has {int(ordered[m, place])} twice")
    return x
