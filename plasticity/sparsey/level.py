"""A level: macs that choose their codes together, by what is below, beside, above them, and by a label.

Sources, in this order, with a letter each: U the active features (or codes of macs) in the receptive field; O, at the
first level, the features of it that are not active ("off cells"): U alone does not see what is missing; H the codes
that neighbours and the mac itself had at the frame before, from every module but a unit's own; D the codes that macs
above had; L a label. A mac is active while its code is younger than its persistence, or if the number of active
features in its field lies within its band. Rinkus 2014, table 1; kernels/csa has the equations.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from spiking.kernels.csa import WORD, Choice, Draw, Evidence, Wiring, csa, pack, unpack, words
from spiking.kernels.csa.op import MOST
from spiking.plasticity.sparsey.backoff import LETTERS, BackOff
from spiking.plasticity.sparsey.permanence import Permanence
from spiking.plasticity.sparsey.plan import LevelPlan, code_words
from spiking.plasticity.sparsey.signals import Codes, Signal, there_are, wired

ALL = BackOff((LETTERS,), (0.0,), (0,))  # of which learning never backs off
WIRES = ("fields", "beside", "above")
TIES = 0x5DEECE66D  # turns the seed into that of ties in recognition


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
        seen = there_are(plan.fields)
        parts, sizes = {"U": words(R)}, {"U": seen * (Q * K)}
        if below is not None:
            parts["U"], sizes["U"] = R * code_words(below), seen * (below.modules * below.units * Q * K)
            if plan.off:
                raise ValueError("off: only features have off cells, not the macs of a level below")
        if plan.off:
            parts["O"], sizes["O"] = words(R), seen * (Q * K)
        if plan.beside is not None:
            n = plan.beside.shape[1]
            parts["H"], sizes["H"] = n * code_words(plan), there_are(plan.beside) * (Q * K) ** 2 - Q * K * K
        if plan.above is not None:
            if higher is None:
                raise ValueError("above: there is no level above")
            if int(plan.above.max()) >= len(higher.fields):
                raise ValueError(f"above: expected macs 0 to {len(higher.fields) - 1}, got {int(plan.above.max())}")
            n = plan.above.shape[1]
            parts["D"] = n * code_words(higher)
            sizes["D"] = there_are(plan.above) * (higher.modules * higher.units * Q * K)
        if plan.labels:
            parts["L"], sizes["L"] = words(plan.labels), torch.full((M,), plan.labels * Q * K)
        for letter in plan.exponents:
            if letter not in parts:
                raise ValueError(f"exponents: {letter} weighs no source of this level, which has {', '.join(parts)}")
        for case in () if plan.back_off is None else plan.back_off.cases:
            if not set(case) & set(parts):
                raise ValueError(f"back_off: case {case} has no source of this level, which has {', '.join(parts)}")
        self.wires = wired({name: getattr(plan, name) for name in WIRES})
        self.parts, self.sizes = parts, torch.stack(list(sizes.values()), 1)
        self.limits = torch.full_like(self.sizes, MOST)  # synapses beyond which a matrix is frozen
        if plan.freeze is not None:
            self.limits = (self.sizes.double() * plan.freeze).long().clamp(max=MOST)
        W = sum(parts.values())
        self.weight = torch.zeros(M, W, Q * K, dtype=torch.int32)
        self.used = torch.zeros(M, len(parts), dtype=torch.int32)
        self.permanence = Permanence(M, W * WORD, Q * K, persistence=plan.persistence) if plan.fades else None
        self._tried: dict[tuple[bool, bool], tuple[BackOff, list[list[float]]]] = {}
        self.mask = None
        if "H" in parts:
            own = torch.arange(Q * K) // K != torch.arange(Q)[:, None]  # (Q, Q K)
            first = sum(size for letter, size in parts.items() if letter in "UO")
            self.mask = torch.full((Q, W), -1, dtype=torch.int32)
            self.mask[:, first : first + code_words(plan)] = pack(own)

    def to(self, device: torch.device | str) -> Level:
        """The same level on another device."""
        moved = object.__new__(Level)
        moved.__dict__ |= self.__dict__
        for name in ("sizes", "limits", "weight", "used", "mask", "permanence"):
            part = getattr(self, name)
            setattr(moved, name, None if part is None else part.to(device))
        wires: dict[str, Any] = {name: getattr(self.plan, name) for name in WIRES}
        wires = {name: None if which is None else which.to(device) for name, which in wires.items()}
        moved.plan, moved.wires = replace(self.plan, **wires), wired(wires)
        return moved

    @property
    def synapses(self) -> int:
        """How many there could be, of all macs."""
        return int(self.sizes.sum())

    @property
    def frozen(self) -> Tensor:
        """(M, sources) bool, matrices whose critical period is over, or that have no place for a synapse."""
        return (self.used > self.limits) | (self.sizes == 0)

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
        holds = None  # with a persistence of 1 no code is held
        if plan.persistence > 1:
            holds = (before.age > 0) & (before.age < plan.persistence)
            active = active & ~holds
        if learn and self.permanence is not None:
            self._fade(step)
        cases, exponents = self._cases(learn, first)
        evidence = Evidence(
            exponents, cases.thresholds, cases.levels, self._norm(count), self._gain(signals), active
        )
        wiring = Wiring(plan.modules, tuple(self.parts.values()), self.mask, self.limits, plan.fan_in)
        x = torch.cat([signals[letter].words for letter in self.parts], -1)
        draw, ties = Draw(self.seed, step), Draw(self.seed ^ TIES, step)  # what was learned in a step must not win ties
        found = csa(
            x, self.weight, wiring, evidence, plan.rule, draw if learn else None, learn=learn, used=self.used,
            backend=backend, ties=draw if learn else ties,
        )
        if learn and self.permanence is not None:
            self._note(x, found.winners, step)
        return self._next(found, active, holds, before, plain)

    def _cases(self, learn: bool, first: bool) -> tuple[BackOff, list[list[float]]]:
        """The cases to try, and their exponents."""
        kind = learn, first
        if kind not in self._tried:
            full = {letter: self.plan.exponents.get(letter, 1.0) for letter in self.parts}
            if self.plan.start is not None and first:
                full["U"] = self.plan.start
            cases = ALL if learn or self.plan.back_off is None else self.plan.back_off
            self._tried[kind] = cases, cases.exponents(full)
        return self._tried[kind]

    def _fade(self, frame: int) -> None:
        """Forget the synapses of weight 0, in all macs, and count the rest of the matrices that are not frozen."""
        assert self.permanence is not None
        self.weight &= pack(self.permanence.alive(frame).transpose(1, 2)).transpose(1, 2)
        self.used = torch.where(self.frozen, self.used, self.counted())

    def counted(self) -> Tensor:
        """(M, sources) int32, the synapses that are set, counted."""
        rows = self.weight.split(tuple(self.parts.values()), 1)
        return torch.stack([unpack(part, part.shape[2] * WORD).flatten(1).sum(1) for part in rows], 1).int()

    def _note(self, x: Tensor, winners: Tensor, frame: int) -> None:
        """Note the coincidences of one item (1, M, ...); what a frozen matrix has is permanent."""
        assert self.permanence is not None
        units, device = self.weight.shape[2], x.device
        unit = torch.arange(units, device=device)
        won = winners[0][:, unit // self.plan.units] == unit % self.plan.units  # none of a mac with winners -1
        self.permanence.learn(unpack(x[0], x.shape[2] * WORD), won, frame)
        source = torch.arange(len(self.parts), device=device)
        source = source.repeat_interleave(WORD * torch.tensor(list(self.parts.values()), device=device))
        self.permanence.freeze(frame, self.frozen[:, source])

    def _next(self, found: Choice, new: Tensor, holds: Tensor | None, before: Codes, plain: bool) -> Codes:
        Q, age, worth = self.plan.modules, new.long(), before.worth
        winners, familiarity = found.winners, found.familiarity
        if self.plan.hypotheses is not None:
            worth = torch.where(new, self._worth(found.hypotheses), worth)
        if holds is not None:
            winners = torch.where(holds[..., None], before.winners, winners)
            age = torch.where(holds, before.age + 1, age)
            familiarity = torch.where(holds, before.familiarity, familiarity)
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
