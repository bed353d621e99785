"""A level: macs that choose their codes together, by what is below, beside, above them, and by a label.

Sources, in this order, with a letter each: U the active features (or codes of macs) in the receptive field; O, at the
first level, the features of it that are not active ("off cells"): U alone does not see what is missing; H the codes
that neighbours and the mac itself had at the frame before, from every module but a unit's own; D the codes that macs
above had; L a label. A mac is active while its code is younger than its persistence, or if the number of active
features in its field lies within its band. Rinkus 2014, table 1; kernels/csa has the equations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spiking.kernels.csa import WORD, Choice, Draw, Evidence, Rule, Wiring, csa, pack, unpack, words
from spiking.plasticity.sparsey.backoff import LETTERS, BackOff
from spiking.plasticity.sparsey.permanence import Permanence

NORMALISE = ("active", "band")
HYPOTHESES = ("boost", "divide")
DEFAULT = Rule()
TIES = 0x5DEECE66D  # turns the seed into that of ties in recognition


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
    band: tuple[int, int] = (1, 1 << 30)
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
        for name in ("modules", "units", "persistence"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        if self.fields.ndim != 2 or self.fields.is_floating_point() or not self.fields.numel():
            raise ValueError(f"fields: expected whole numbers (macs, features), got {tuple(self.fields.shape)}")
        for name, given in (("beside", self.beside), ("above", self.above)):
            if given is not None and (given.ndim != 2 or len(given) != len(self.fields)):
                raise ValueError(f"{name}: expected ({len(self.fields)}, n), got {tuple(given.shape)}")
        if self.beside is not None and not torch.equal(self.beside[:, 0].cpu(), torch.arange(len(self.fields))):
            raise ValueError("beside: expected each mac itself in the first column, as `around` gives it")
        if not 1 <= self.band[0] <= self.band[1]:
            raise ValueError(f"band: expected 1 <= least <= most, got {self.band}")
        powers = [*self.exponents.values(), 0.0 if self.start is None else self.start]
        if set(self.exponents) - set(LETTERS) or not all(0 <= power < math.inf for power in powers[:-1]):
            raise ValueError(f"exponents: expected numbers of 0 or more for letters of {LETTERS}, got {self.exponents}")
        if not 0 <= powers[-1] < math.inf:
            raise ValueError(f"start: expected an exponent of 0 or more, got {self.start}")
        if self.modules == 1 and self.beside is not None and not bool((self.beside[:, 1:] >= 0).any()):
            raise ValueError("beside: a unit hears no unit of its own module: expected 2 modules or neighbours, got 1")
        for name, word, choices in (
            ("normalise", self.normalise, NORMALISE), ("hypotheses", self.hypotheses, (None, *HYPOTHESES)),
        ):  # fmt: skip
            if word not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(map(str, choices))}, got {word!r}")
        if self.freeze is not None and not 0 <= self.freeze <= 1:
            raise ValueError(f"freeze: expected a share from 0 to 1, got {self.freeze}")


class Codes(NamedTuple):
    """The state of a level for B items.

    Attributes:
        winners: (B, M, Q) int32, -1 for macs that are not active.
        bits: (B, M, words) int32, the same as bits; 0 where the mac is not active.
        age: (B, M) frames for which the code has been held; 0 for macs that are not active.
        worth: (B, M) what the code is worth to others, F(zeta).
        familiarity: (B, M) G, of the time when the code was chosen.
    """

    winners: Tensor
    bits: Tensor
    age: Tensor
    worth: Tensor
    familiarity: Tensor


class Signal(NamedTuple):
    """Words (B, M, W) of one source, and what they are worth, (B, M, W) or `None` for 1."""

    words: Tensor
    worth: Tensor | None = None


class Level:
    """Macs with their synapses.

    Arguments:
        plan: what it is made of.
        below, higher: the plans of the levels below and above, `None` where there is none.
        seed: of the draws.

    `weight` (M, W, Q K) has the synapses as bits, `used` (M, sources) how many of them are set, `sizes` how many there
    could be.
    """

    def __init__(self, plan: LevelPlan, below: LevelPlan | None, higher: LevelPlan | None, seed: int) -> None:
        self.plan, self.below, self.seed = plan, below, seed
        M, R = plan.fields.shape
        Q, K = plan.modules, plan.units
        seen = _there(plan.fields)
        parts, sizes = {"U": words(R)}, {"U": seen * (Q * K)}
        if below is not None:
            parts["U"], sizes["U"] = R * code_words(below), seen * (below.modules * below.units * Q * K)
            if plan.off:
                raise ValueError("off: only features have off cells, not the macs of a level below")
        if plan.off:
            parts["O"], sizes["O"] = words(R), seen * (Q * K)
        if plan.beside is not None:
            n = plan.beside.shape[1]
            parts["H"], sizes["H"] = n * code_words(plan), _there(plan.beside) * (Q * K) ** 2 - Q * K * K
        if plan.above is not None:
            if higher is None:
                raise ValueError("above: there is no level above")
            n = plan.above.shape[1]
            parts["D"] = n * code_words(higher)
            sizes["D"] = _there(plan.above) * (higher.modules * higher.units * Q * K)
        if plan.labels:
            parts["L"], sizes["L"] = words(plan.labels), torch.full((M,), plan.labels * Q * K)
        self.parts, self.sizes = parts, torch.stack(list(sizes.values()), 1)
        W = sum(parts.values())
        self.weight = torch.zeros(M, W, Q * K, dtype=torch.int32)
        self.used = torch.zeros(M, len(parts), dtype=torch.int32)
        self.permanence = [Permanence(W * WORD, Q * K, plan.persistence) for _ in range(M)] if plan.fades else []
        self.mask = None
        if "H" in parts:
            own = torch.arange(Q * K) // K != torch.arange(Q)[:, None]  # (Q, Q K)
            first = sum(size for letter, size in parts.items() if letter in "UO")
            self.mask = torch.full((Q, W), -1, dtype=torch.int32)
            self.mask[:, first : first + code_words(plan)] = pack(own)

    @property
    def synapses(self) -> int:
        """How many there could be, of all macs."""
        return int(self.sizes.sum())

    @property
    def limits(self) -> Tensor:
        """(M, sources) synapses beyond which a matrix is frozen."""
        most, share = (1 << 31) - 1, self.plan.freeze
        if share is None:
            return torch.full_like(self.sizes, most)
        return (self.sizes.double() * share).long().clamp(max=most)

    @property
    def frozen(self) -> Tensor:
        """(M, sources) bool, matrices whose critical period is over, or that have no place for a synapse."""
        return (self.used > self.limits.to(self.used.device)) | (self.sizes == 0).to(self.used.device)

    @property
    def full(self) -> Tensor:
        """(M,) bool, macs all of whose units have more than `fan_in` synapses, none of which can fade."""
        fan_in, units = self.plan.fan_in, self.weight.shape[2]
        full = torch.zeros(len(self.weight), dtype=torch.bool, device=self.weight.device)
        if fan_in is None or self.plan.fades:
            return full
        for m in (self.used.sum(1) > fan_in * units).nonzero().flatten().tolist():  # with fewer they can't be
            full[m] = bool((unpack(self.weight[m].t(), self.weight.shape[1] * WORD).sum(1) > fan_in).all())
        return full

    def silent(self, B: int) -> Codes:
        """The state before the first frame."""
        M, device = len(self.plan.fields), self.weight.device
        return Codes(
            torch.full((B, M, self.plan.modules), -1, dtype=torch.int32, device=device),
            torch.zeros(B, M, code_words(self.plan), dtype=torch.int32, device=device),
            torch.zeros(B, M, dtype=torch.long, device=device),
            torch.zeros(B, M, dtype=torch.float64, device=device),
            torch.zeros(B, M, dtype=torch.float64, device=device),
        )

    def in_band(self, count: Tensor) -> Tensor:
        """Which macs have so many active features that they become active."""
        return (count >= self.plan.band[0]) & (count <= self.plan.band[1])

    def choose(
        self, signals: dict[str, Signal], count: Tensor, active: Tensor, before: Codes, learn: bool, step: int,
        backend: str | None, first: bool = False, plain: bool = False,
    ) -> Codes:
        """The next codes.

        Arguments:
            signals: letter -> what arrives, of every source.
            count: (B, M) active features or macs in each field.
            active: (B, M) macs that would choose; those that hold a code do not.
            before: the state.
            learn: draw, and set synapses.
            step: of the draws.
            first: whether it is the first frame, which has an exponent of its own (`start`).
            plain: leave out the codes as bits, where nobody reads them.

        Returns:
            the new state.
        """
        plan = self.plan
        holds = (before.age > 0) & (before.age < plan.persistence)
        new = active & ~holds
        full = {letter: plan.exponents.get(letter, 1.0) for letter in self.parts}
        if plan.start is not None and first:
            full["U"] = plan.start
        if learn and self.permanence:
            self._fade(step)
        cases = BackOff((LETTERS,), (0.0,), (0,)) if learn or plan.back_off is None else plan.back_off
        evidence = Evidence(
            cases.exponents(full), cases.thresholds, cases.levels, self._norm(count), self._gain(signals), new
        )
        wiring = Wiring(plan.modules, tuple(self.parts.values()), self.mask, self.limits, plan.fan_in)
        x = torch.cat([signals[letter].words for letter in self.parts], -1)
        draw, ties = Draw(self.seed, step), Draw(self.seed ^ TIES, step)  # what was learned in a step must not win ties
        found = csa(
            x, self.weight, wiring, evidence, plan.rule, draw if learn else None, learn=learn, used=self.used,
            backend=backend, ties=draw if learn else ties,
        )
        if learn and self.permanence:
            self._note(x, found.winners, new, step)
        return self._next(found, new, holds, before, plain)

    def _fade(self, frame: int) -> None:
        """Forget the synapses of weight 0, in all macs, and count the rest of the matrices that are not frozen."""
        for m, synapses in enumerate(self.permanence):
            self.weight[m] &= pack((synapses.weight(frame) > 0).t()).t()
            for s, (rows, frozen) in enumerate(zip(self._rows(), self.frozen[m].tolist(), strict=True)):
                if not frozen:
                    self.used[m, s] = int(unpack(self.weight[m, rows].t(), (rows.stop - rows.start) * WORD).sum())

    def _note(self, x: Tensor, winners: Tensor, new: Tensor, frame: int) -> None:
        """Note the coincidences of one item (1, M, ...); what a frozen matrix has is permanent."""
        units = torch.arange(self.weight.shape[2])
        for m in new[0].nonzero().flatten().tolist():
            synapses = self.permanence[m]
            won = winners[0, m][units // self.plan.units] == units % self.plan.units
            synapses.learn(unpack(x[0, m], len(synapses.last)), won, frame)
            for rows, frozen in zip(self._rows(), self.frozen[m].tolist(), strict=True):
                if frozen:
                    synapses.freeze(frame, slice(rows.start * WORD, rows.stop * WORD))

    def _rows(self) -> list[slice]:
        """Words of each source."""
        ends = list(accumulate(self.parts.values()))
        return [slice(end - part, end) for end, part in zip(ends, self.parts.values(), strict=True)]

    def _next(self, found: Choice, new: Tensor, holds: Tensor, before: Codes, plain: bool) -> Codes:
        Q = self.plan.modules
        winners = torch.where(new[..., None], found.winners, torch.where(holds[..., None], before.winners, -1))
        age = torch.where(new, 1, torch.where(holds, before.age + 1, 0))
        worth = torch.where(new, self._worth(found.hypotheses), before.worth)
        familiarity = torch.where(new, found.familiarity, before.familiarity)
        bits = before.bits
        if not plain:
            B, M, _ = winners.shape
            code = torch.zeros(B, M, Q * self.plan.units, dtype=torch.bool, device=winners.device)
            place = torch.arange(Q, device=winners.device) * self.plan.units + winners.clamp(min=0)
            code.scatter_(2, place, (winners >= 0))
            bits = pack(code)
        return Codes(winners, bits, age, worth, familiarity)

    def _worth(self, hypotheses: Tensor) -> Tensor:
        """F(zeta), zeta the mean number of equal hypotheses of a module, rounded, at least 1."""
        zeta = (hypotheses.double() / self.plan.modules).round().clamp(min=1)
        if self.plan.hypotheses is None:
            return torch.ones_like(zeta)
        A, B = self.plan.ambiguity
        value = zeta**A if self.plan.hypotheses == "boost" else 1 / zeta
        return torch.where(zeta > B, 0.0, value)

    def _norm(self, count: Tensor) -> Tensor | None:
        """(B, M, sources) n_s, 0 for the number of active features."""
        if self.plan.normalise == "active":
            return None
        least = count.clamp(max=self.plan.band[0]).double()
        norm = torch.zeros(*count.shape, len(self.parts), dtype=torch.float64, device=count.device)
        norm[..., 0] = least if self.below is None else least * self.below.modules
        return norm

    def _gain(self, signals: dict[str, Signal]) -> Tensor | None:
        if all(signal.worth is None for signal in signals.values()):
            return None
        ones = [
            torch.ones(signal.words.shape, dtype=torch.float64, device=signal.words.device)
            if signal.worth is None else signal.worth
            for signal in (signals[letter] for letter in self.parts)
        ]  # fmt: skip
        return torch.cat(ones, -1)


def _there(which: Tensor) -> Tensor:
    """(M,) how many of a mac's features or macs there are; -1 is none."""
    return (which >= 0).sum(1).cpu()


def code_words(plan: LevelPlan) -> int:
    """Words of one mac's code."""
    return words(plan.modules * plan.units)


def gather(codes: Codes, which: Tensor, weigh: bool) -> Signal:
    """The codes of other macs as one source; which (M, n), -1 for none."""
    there = (which >= 0)[None, :, :, None]
    bits = torch.where(there, codes.bits[:, which.clamp(min=0)], 0)
    if not weigh:
        return Signal(bits.flatten(2))
    worth = codes.worth[:, which.clamp(min=0)][..., None].expand(bits.shape)
    return Signal(bits.flatten(2), worth.flatten(2).contiguous())


def active_below(codes: Codes, fields: Tensor) -> Tensor:
    """(B, M) how many macs of each field are active."""
    return ((codes.age > 0)[:, fields.clamp(min=0)] & (fields >= 0)).sum(2)


def seen(frame: Tensor, plan: LevelPlan) -> tuple[Any, ...]:
    """U and O of a first level and the number of active features, from frames (B, N) bool."""
    inside = plan.fields >= 0
    on = frame[:, plan.fields.clamp(min=0)] & inside
    signals = {"U": Signal(pack(on))}
    if plan.off:
        signals["O"] = Signal(pack(~on & inside))
    return signals, on.sum(2)
