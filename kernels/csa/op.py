"""The code selection algorithm (CSA): one winner in each of Q modules of K units, at random where an item is new.

For a mac with binary synapses w, sources s (bottom-up, horizontal, top-down) of active features x_s and each unit i:

    V(i)   = prod_s min(1, sum_j g_j x_j w_ji / n_s)^lambda_s     evidence, over the sources with active features that a
                                                                  module may hear
    G      = mean_q max_{i in q} V(i)                             familiarity
    eta    = 1 + (max(0, G - G-) / (1 - G-))^gamma chi K          expansivity
    psi(i) = (eta - 1) / (1 + (s1 exp(-s2 (V(i) - s3)))^s4) + 1
    rho(i) = psi(i) / sum_{k in q} psi(k)
    winner of q ~ rho, or the largest V, by lot among equals      learning draws, recognition takes the largest
    w_ji  <- 1 for active j and winners i                         while source and unit are not frozen

Rinkus 2010, "A cortical sparse distributed coding model linking mini- and macrocolumn-scale functionality"; Rinkus
2014, "Sparsey: event recognition via deep hierarchical sparse distributed codes", table 1. The 1 in psi makes the
choice uniform at G = 0; of the two readings of the exponent s4 this one lets psi reach eta at V = 1. n_s is the number
of active features (SparseyCore) or given (the paper's pi-). A mac's matrix of a source freezes once it has more
synapses than a limit (the paper's critical period), a unit once it has more than another, of all sources: with 0 a unit
keeps the first item that it won and is never a mixture.

Several rows of exponents lambda, the cases, make recognition back off: the cases of the first level in which one has G
at its threshold, and of those the one with the largest G; where none has, the first case.

Synapses are bits of words along the inputs: a sum is a population count over the words in which something is active.
V is kept in single precision, so that equal evidence stays equal in every backend; the rest is double. Random numbers
are splitmix64 (Steele, Lea & Flood 2014) of (seed, step, mac, module): every backend draws the same code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from spiking.kernels.backend import resolve

MOST = (1 << 31) - 1  # synapses, where there is no limit


class Rule(NamedTuple):
    """Numbers of the choice.

    Attributes:
        floor: G-, familiarity below which an item is all new.
        gamma, chi: exponent and factor of the expansivity.
        sigma: s1 to s4 of the sigmoid.
        hypothesis: V above which a unit counts as one of several equal hypotheses.
    """

    floor: float = 0.1
    gamma: float = 2.0
    chi: float = 100.0
    sigma: tuple[float, float, float, float] = (0.1, 4.0, 1.0, 8.0)
    hypothesis: float = 0.95

    def expansivity(self, familiarity: float, units: int) -> float:
        """eta."""
        above = max(0.0, familiarity - self.floor) / (1 - self.floor)
        return float(1 + above**self.gamma * self.chi * units)

    def check(self) -> None:
        """Raise unless the numbers are in range.

        Raises:
            ValueError: with the rule.
        """
        known = len(self.sigma) == 4 and all(map(math.isfinite, (*self[:3], *self.sigma, self.hypothesis)))
        if not known or not 0 <= self.floor < 1 or min(self.gamma, self.chi, *self.sigma) < 0 or not self.sigma[0]:
            raise ValueError(
                "rule: expected finite numbers, 0 <= floor < 1, four of sigma, the first above 0, none below 0, got "
                f"{self}"
            )


class Wiring(NamedTuple):
    """How a level is built.

    Attributes:
        modules: Q.
        parts: words of each source, in the order in which they stand in x; `None` is one source.
        mask: (Q, W) int32, which inputs a module's units may have synapses from; `None` is all.
        limits: (S,) or (M, S), synapses of each source beyond which a mac's matrix is frozen; `None` is never.
        fan_in: synapses beyond which a unit is frozen; `None` is never.
    """

    modules: int
    parts: tuple[int, ...] | None = None
    mask: Tensor | None = None
    limits: tuple[int, ...] | Tensor | None = None
    fan_in: int | None = None


class Evidence(NamedTuple):
    """How sources are weighed.

    Attributes:
        exponents: lambda, a row for each case, a column for each source; 0 leaves a source out.
        thresholds: the familiarity a case must reach.
        levels: not falling, which cases compete.
        norm: (B, M, S) n_s, finite and not below 0, which is not looked at; 0, or `None` altogether, is the number of
            active features.
        gain: (B, M, W) g of each word's features, likewise; `None` is 1.
        active: (B, M) bool, macs that choose at all; `None` is all.
    """

    exponents: Sequence[Sequence[float]]
    thresholds: Sequence[float] = (0.0,)
    levels: Sequence[int] = (0,)
    norm: Tensor | None = None
    gain: Tensor | None = None
    active: Tensor | None = None


class Draw(NamedTuple):
    """Random numbers: item b of a batch draws winners by those of step + b; ties go by those of step in all items."""

    seed: int = 0
    step: int = 0


class Choice(NamedTuple):
    """What the macs chose.

    Attributes:
        winners: (B, M, Q) int32, -1 for macs that are not active.
        familiarity: G, (B, M) double, 0 for those.
        hypotheses: (B, M) int32, units of all modules with V above `Rule.hypothesis`.
        case: (B, M) int32, the row of exponents that was used.
    """

    winners: Tensor
    familiarity: Tensor
    hypotheses: Tensor
    case: Tensor


@torch.no_grad()
def csa(
    x: Tensor,
    weight: Tensor,
    wiring: Wiring,
    evidence: Evidence | None = None,
    rule: Rule = Rule(),  # noqa: B008  it can't change
    draw: Draw | None = None,
    *,
    learn: bool = False,
    used: Tensor | None = None,
    backend: str | None = None,
    ties: Draw = Draw(),  # noqa: B008
) -> Choice:
    """Choose the codes of B items one after the other, and learn them.

    Arguments:
        x: (B, M, W) int32 words of active features (`pack`).
        weight: (M, W, Q K) int32 words of synapses; changes in place.
        wiring, evidence, rule: how, see there; without evidence all sources count with exponent 1.
        draw: random numbers to draw winners by; `None` takes the largest V.
        learn: set synapses; item b + 1 then meets what item b has left.
        used: (M, S) int32, synapses of each matrix that are set; changes in place; needed to learn.
        backend: "reference", "numba", "triton"; `None` follows `set_backend` and the device.
        ties: random numbers to choose among equals by.

    Returns:
        the choice.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    if not isinstance(x, Tensor) or not isinstance(weight, Tensor):
        raise ValueError(f"x, weight: expected tensors, got {type(x).__name__} and {type(weight).__name__}")
    if x.ndim != 3 or weight.ndim != 3 or x.dtype != torch.int32 or weight.dtype != torch.int32:
        raise ValueError(
            f"x, weight: expected int32 (B, M, W) and (M, W, Q K), got {x.dtype} {tuple(x.shape)} and "
            f"{weight.dtype} {tuple(weight.shape)}"
        )
    B, M, W = x.shape
    if weight.shape[:2] != (M, W):
        raise ValueError(f"weight: expected ({M}, {W}, Q K) for x {tuple(x.shape)}, got {tuple(weight.shape)}")
    Q = wiring.modules
    _whole("modules", Q)
    if Q < 1 or not weight.shape[2] or weight.shape[2] % Q:
        raise ValueError(f"modules: expected a divisor of {weight.shape[2]} units, got {Q}")
    if not weight.is_contiguous():
        raise ValueError("weight: expected a contiguous tensor, which can change in place")
    parts = (W,) if wiring.parts is None else tuple(wiring.parts)
    _whole("parts", *parts)
    if sum(parts) != W or min(parts) < 0:
        raise ValueError(f"parts: expected words that make {W}, got {parts}")
    S = len(parts)
    evidence = Evidence([[1.0] * S]) if evidence is None else evidence
    cases = [list(map(float, row)) for row in evidence.exponents]
    thresholds, levels = list(map(float, evidence.thresholds)), list(evidence.levels)
    if not cases or any(len(row) != S or not all(0 <= own < math.inf for own in row) for row in cases):
        raise ValueError(f"exponents: expected rows of {S} numbers of 0 or more, got {evidence.exponents}")
    _whole("levels", *levels)
    known = len(cases) == len(thresholds) == len(levels) and all(map(math.isfinite, thresholds))
    if not known or levels != sorted(levels):
        raise ValueError(
            f"thresholds, levels: expected {len(cases)} finite numbers each, levels not falling, got {evidence[1:3]}"
        )
    rule.check()
    for name, given, shape, dtype in (
        ("mask", wiring.mask, (Q, W), torch.int32), ("norm", evidence.norm, (B, M, S), None),
        ("gain", evidence.gain, (B, M, W), None), ("active", evidence.active, (B, M), torch.bool),
        ("used", used, (M, S), torch.int32), ("weight", weight, weight.shape, torch.int32),
    ):  # fmt: skip
        if given is None:
            continue
        if tuple(given.shape) != shape or (dtype is not None and given.dtype != dtype):
            kind = "" if dtype is None else f"{dtype} ".removeprefix("torch.")
            raise ValueError(f"{name}: expected {kind}{tuple(shape)}, got {given.dtype} {tuple(given.shape)}")
        if given.device != x.device:
            raise ValueError(f"{name}: expected a tensor on {x.device}, where x lies, got {given.device}")
    if used is not None and not used.is_contiguous():
        raise ValueError("used: expected a contiguous tensor, which can change in place")
    if learn and used is None:
        raise ValueError("used: expected a tensor (M, S) to count synapses in, got None, but learn is on")
    fan_in = MOST if wiring.fan_in is None else wiring.fan_in
    limits: Tensor | Sequence[int] = [MOST] * S if wiring.limits is None else wiring.limits
    limits = limits if isinstance(limits, Tensor) else torch.tensor(limits)
    if tuple(limits.shape) not in ((S,), (M, S)) or limits.is_floating_point():
        raise ValueError(f"limits: expected whole ({S},) or ({M}, {S}), got {limits.dtype} {tuple(limits.shape)}")
    limits = limits.to(x.device, torch.long)
    seed, step = ties if draw is None else draw
    _whole("fan_in, draw, ties", fan_in, seed, step)
    if used is None:
        used = torch.zeros(M, S, dtype=torch.int32, device=x.device)
    numbers = [rule.floor, rule.gamma, rule.chi, *rule.sigma, rule.hypothesis]
    found = torch.ops.spiking.csa(
        x, weight, used, evidence.norm, evidence.gain, wiring.mask, evidence.active, Q, list(parts),
        [number for row in cases for number in row], thresholds, levels, limits.expand(M, S).contiguous(),
        min(fan_in, MOST), numbers, draw is not None, learn, _signed(seed), _signed(step), resolve(backend, x.device),
    )  # fmt: skip
    return Choice(*found)


def _whole(name: str, *numbers: int) -> None:
    if any(not isinstance(number, int) for number in numbers):
        raise ValueError(f"{name}: expected whole numbers, got {', '.join(map(repr, numbers))}")


def _signed(number: int) -> int:
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >> 63 else number


# Not by custom_op, whose layers in Python take 100 us a call: four times the choice of a mac's code.
torch.library.define(
    "spiking::csa",
    "(Tensor x, Tensor(a!) weight, Tensor(b!) used, Tensor? norm, Tensor? gain, Tensor? mask, Tensor? active, "
    "SymInt modules, SymInt[] parts, float[] exponents, float[] thresholds, SymInt[] levels, Tensor limits, "
    "SymInt fan_in, float[] rule, bool random, bool learn, SymInt seed, SymInt step, str backend) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    tags=torch.Tag.pt2_compliant_tag,
)


@torch.library.impl("spiking::csa", "default")  # every device: where no backend is at home the reference runs
def _csa(
    x: Tensor, weight: Tensor, used: Tensor, norm: Tensor | None, gain: Tensor | None, mask: Tensor | None,
    active: Tensor | None, modules: int, parts: Sequence[int], exponents: Sequence[float], thresholds: Sequence[float],
    levels: Sequence[int], limits: Tensor, fan_in: int, rule: Sequence[float], random: bool, learn: bool,
    seed: int, step: int, backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Winners, familiarity, hypotheses and case."""
    from spiking.kernels.csa import cpu, reference

    torch.autograd.graph.increment_version((weight, used))  # so that a graph that keeps them sees that they changed
    device = x.device
    norm = None if norm is None else norm.to(device, torch.float64).contiguous()
    gain = None if gain is None else gain.to(device, torch.float64).contiguous()
    mask = None if mask is None else mask.to(device).contiguous()
    active = torch.ones(x.shape[:2], dtype=torch.bool, device=device) if active is None else active.to(device)
    given = (
        x.contiguous(), weight, used, norm, gain, mask, active.contiguous(), modules, list(parts), list(exponents),
        list(thresholds), list(levels), limits, fan_in, list(rule), random, learn, seed, step,
    )  # fmt: skip
    if backend == "triton":
        from spiking.kernels.csa import gpu

        return gpu.csa(*given)
    return cpu.csa(*given) if backend == "numba" else reference.csa(*given)


@torch.library.register_fake("spiking::csa")
def _(
    x: Tensor, weight: Tensor, used: Tensor, norm: Tensor | None, gain: Tensor | None, mask: Tensor | None,
    active: Tensor | None, modules: int, parts: Sequence[int], exponents: Sequence[float], thresholds: Sequence[float],
    levels: Sequence[int], limits: Tensor, fan_in: int, rule: Sequence[float], random: bool, learn: bool,
    seed: int, step: int, backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    B, M, _ = x.shape
    whole = [x.new_empty(shape, dtype=torch.int32) for shape in ((B, M, modules), (B, M), (B, M))]
    return whole[0], x.new_empty(B, M, dtype=torch.float64), whole[1], whole[2]
