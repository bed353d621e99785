"""The code selection algorithm in Triton; op.py gives the equations.

A program is a mac and a share of the items, or all of them in order where it learns; its tile is modules by units. It
sums a case's evidence again when that case is chosen, instead of keeping all of them.

Proven under the interpreter and compiled ahead of time; speed on a GPU is unmeasured.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from spiking.kernels.aot import Variant
from spiking.kernels.tile import check

SHARE = 16  # items of one program
GAMMA, MIX_A, MIX_B = (tl.constexpr(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
LOOSE = ["B", "M", "W", "Q", "K", "S", "C", "share", "fan_in"]


@triton.jit
def popcount(word):
    """Bits of int32 words that are set."""
    x = word.to(tl.uint32, bitcast=True)
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    x = x + (x >> 8)
    return ((x + (x >> 16)) & 0x3F).to(tl.int32)


@triton.jit
def mix(x):
    """splitmix64's finish."""
    x = (x ^ (x >> 30)) * MIX_A
    x = (x ^ (x >> 27)) * MIX_B
    return x ^ (x >> 31)


@triton.jit
def evidence(  # type: ignore[no-untyped-def]
    x, weight, norm, gain, mask, cases, bounds, case, item, m, W, Q, K, S, QB: tl.constexpr, KB: tl.constexpr
):
    """V (QB, KB) of one case, -1 outside, and G."""
    q, k = tl.arange(0, QB), tl.arange(0, KB)
    inside = (q[:, None] < Q) & (k[None, :] < K)
    unit = q[:, None] * K + k[None, :]
    V = tl.full((QB, KB), 1.0, tl.float64)
    some = 0
    for s in range(0, S):
        power = tl.load(cases + case * S + s)
        total = tl.zeros((QB, KB), tl.float64)
        count = tl.zeros((QB,), tl.int32)
        for w in range(tl.load(bounds + s).to(tl.int32), tl.load(bounds + s + 1).to(tl.int32)):
            word = tl.load(x + item * W + w)
            if word != 0:
                bits = popcount(tl.load(weight + (m * W + w) * Q * K + unit, inside, 0) & word).to(tl.float64)
                if gain is not None:
                    bits = bits * tl.load(gain + item * W + w)
                total += bits
                if mask is not None:
                    count += popcount(tl.load(mask + q * W + w, q < Q, 0) & word)
                else:
                    count += popcount(word)
        there = tl.max(count, 0)
        n = count.to(tl.float64)
        if norm is not None:
            given = tl.load(norm + item * S + s)
            n = tl.where(given > 0, given, n)
        share = tl.minimum(total / tl.where(n > 0, n, 1.0)[:, None], 1.0)
        share = tl.where((n > 0)[:, None], share, 0.0)
        if (there > 0) & (power > 0):
            V *= tl.where(share > 0, tl.exp(power * tl.log(tl.where(share > 0, share, 1.0))), 0.0)
            some = 1
    V = tl.where(inside, tl.where(some > 0, V, 0.0).to(tl.float32), -1.0)
    best = tl.where(q < Q, tl.max(V, 1), 0.0).to(tl.float64)
    return V, tl.sum(best, 0) / Q


@triton.jit(do_not_specialize=LOOSE)
def choose(  # type: ignore[no-untyped-def]
    x, weight, used, norm, gain, mask, active, cases, thresholds, rule, bounds, levels, limits, start,
    winners, familiarity, hypotheses, case, B, M, W, Q, K, S, C, share, fan_in,
    RANDOM: tl.constexpr, LEARN: tl.constexpr, QB: tl.constexpr, KB: tl.constexpr,
):  # fmt: skip
    """Codes of a share of the items in one mac."""
    m = tl.program_id(0).to(tl.int64)
    q, k = tl.arange(0, QB), tl.arange(0, KB)
    inside = (q[:, None] < Q) & (k[None, :] < K)
    seed, step = tl.load(start).to(tl.uint64, bitcast=True), tl.load(start + 1).to(tl.uint64, bitcast=True)
    first = tl.program_id(1) * share
    for b in range(first, tl.minimum(first + share, B)):
        item = b * M + m
        if tl.load(active + item) == 0:
            tl.store(winners + item * Q + q, tl.full((QB,), -1, tl.int32), q < Q)
            tl.store(familiarity + item, 0.0)
            tl.store(hypotheses + item, 0)
            tl.store(case + item, 0)
        else:
            chosen, clears, settled = 0, 0, 0
            most = tl.zeros((), tl.float64) - 1.0
            level = tl.load(levels)
            for c in range(0, C):
                own = tl.load(levels + c)
                settled = tl.where(own != level, clears, settled)
                level = own
                if settled == 0:
                    _, found = evidence(
                        x, weight, norm, gain, mask, cases, bounds, c, item, m, W, Q, K, S, QB, KB
                    )
                    reaches = found >= tl.load(thresholds + c)
                    take = (reaches & ((clears == 0) | (found > most))) | (c == 0)
                    chosen, most = tl.where(take, c, chosen), tl.where(take, found, most)
                    clears = tl.where(reaches, 1, clears)
            V, G = evidence(x, weight, norm, gain, mask, cases, bounds, chosen, item, m, W, Q, K, S, QB, KB)
            state = mix(mix(seed + GAMMA) + GAMMA * (step + tl.cast(b + 1 if RANDOM else 1, tl.uint64)))
            lot = mix(state + GAMMA * (m * Q + q + 1).to(tl.uint64)) >> 11
            lot = lot.to(tl.float64) * 1.1102230246251565e-16  # 2^-53
            if RANDOM:
                floor, units = tl.load(rule), tl.zeros((), tl.float64) + K
                above = tl.maximum(G - floor, 0.0) / (1.0 - floor)
                gamma = tl.load(rule + 1)
                raised = tl.where(above > 0, tl.exp(gamma * tl.log(tl.where(above > 0, above, 1.0))), 0.0)
                raised = tl.where(gamma > 0, raised, 1.0)
                scale, s2, s3, s4 = tl.load(rule + 3), tl.load(rule + 4), tl.load(rule + 5), tl.load(rule + 6)
                slope = tl.exp(s4 * (tl.log(scale) - s2 * (V.to(tl.float64) - s3)))
                psi = raised * tl.load(rule + 2) * units / (1.0 + slope) + 1.0
                total = tl.cumsum(tl.where(inside, psi, 0.0), 1)
                winner = tl.sum(((total <= (lot * tl.max(total, 1))[:, None]) & inside).to(tl.int32), 1)
                winner = tl.minimum(winner, K - 1)
            else:
                equal = tl.cumsum(((V == tl.max(V, 1)[:, None]) & inside).to(tl.int32), 1)
                count = tl.max(equal, 1)
                wanted = tl.minimum((lot * count.to(tl.float64)).to(tl.int32), count - 1)
                winner = tl.sum(((equal <= wanted[:, None]) & inside).to(tl.int32), 1)
            tl.store(winners + item * Q + q, winner, q < Q)
            tl.store(familiarity + item, G)
            likely = (V.to(tl.float64) > tl.load(rule + 7)) & inside
            tl.store(hypotheses + item, tl.sum(tl.sum(likely.to(tl.int32), 1), 0))
            tl.store(case + item, chosen)
            if LEARN:
                held = tl.zeros((QB,), tl.int32)
                for w in range(0, W):
                    held += popcount(tl.load(weight + (m * W + w) * Q * K + q * K + winner, q < Q, 0))
                grows = (q < Q) & (held <= fan_in)
                tl.debug_barrier()
                for s in range(0, S):
                    old = tl.load(used + m * S + s)
                    if old <= tl.load(limits + m * S + s):
                        new = 0
                        for w in range(tl.load(bounds + s).to(tl.int32), tl.load(bounds + s + 1).to(tl.int32)):
                            word = tl.load(x + item * W + w)
                            if word != 0:
                                row = weight + (m * W + w) * Q * K + q * K + winner
                                had = tl.load(row, grows, -1)
                                fresh = word & ~had
                                if mask is not None:
                                    fresh = fresh & tl.load(mask + q * W + w, q < Q, 0)
                                tl.debug_barrier()
                                tl.store(row, had | fresh, grows)
                                new += tl.sum(popcount(fresh), 0)
                        tl.debug_barrier()
                        tl.store(used + m * S + s, old + new)
                    tl.debug_barrier()


def csa(
    x: Tensor, weight: Tensor, used: Tensor, norm: Tensor | None, gain: Tensor | None, mask: Tensor | None,
    active: Tensor, modules: int, parts: list[int], exponents: list[float], thresholds: list[float],
    levels: list[int], limits: Tensor, fan_in: int, rule: list[float], random: bool, learn: bool, seed: int,
    step: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Winners, familiarity, hypotheses and case; arguments as in op.py, rule as its numbers."""
    check(x.device)
    (B, M, W), S, C = x.shape, len(parts), len(thresholds)
    K = weight.shape[2] // modules

    def whole(*numbers: int) -> Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=x.device)

    def real(numbers: list[float]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64, device=x.device)

    bounds = whole(*(sum(parts[:s]) for s in range(S + 1)))
    given = (
        active.to(torch.uint8), real(exponents), real(thresholds), real(rule), bounds, whole(*levels), limits.long(),
        whole(seed, step),
    )  # fmt: skip
    winners, hypotheses, case = (
        torch.empty(shape, dtype=torch.int32, device=x.device) for shape in ((B, M, modules), (B, M), (B, M))
    )
    familiarity = torch.empty(B, M, dtype=torch.float64, device=x.device)
    if B and M:
        share = B if learn else SHARE
        tile = triton.next_power_of_2(modules), triton.next_power_of_2(K)
        with torch.cuda.device_of(x):
            choose[(M, triton.cdiv(B, share))](
                x, weight, used, norm, gain, mask, *given, winners, familiarity, hypotheses, case,
                B, M, W, modules, K, S, C, share, fan_in, random, learn, *tile, **_options(*tile),
            )  # fmt: skip
    return winners, familiarity, hypotheses, case


def _options(rows: int, columns: int) -> dict[str, int | bool]:
    """Doubles of a tile in the registers of one to eight warps."""
    return {"num_warps": min(8, max(1, rows * columns // 128)), "enable_fp_fusion": False}


def _variants() -> Iterator[Variant]:
    types = {name: "*i32" for name in ("x", "weight", "used", "winners", "hypotheses", "case")}
    types |= {name: "*fp64" for name in ("cases", "thresholds", "rule", "familiarity")}
    types |= {"active": "*u8"} | {name: "*i64" for name in ("bounds", "levels", "limits", "start")}
    types |= {name: "i32" for name in LOOSE}
    more = {"norm": "*fp64", "gain": "*fp64", "mask": "*i32"}
    for name, extra, random, learn in (
        ("recognise", {}, False, False), ("recognise, weighed", more, False, False), ("learn", {}, True, True),
        ("learn, weighed", more, True, True),
    ):  # fmt: skip
        constants = {"RANDOM": random, "LEARN": learn, "QB": 32, "KB": 16}
        scratch = ("weight", "used") if learn else ()
        yield Variant(f"csa: {name}", choose, types | extra, constants, scratch, _options(32, 16))


AOT = list(_variants())
