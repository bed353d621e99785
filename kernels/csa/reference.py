"""The code selection algorithm in plain PyTorch, with every synapse as a number of its own: the specification."""

from __future__ import annotations

import torch
from torch import Tensor

from spiking.kernels.csa.bits import WORD, pack, unpack

GAMMA, A, B = (n - (1 << 64) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def csa(
    x: Tensor, weight: Tensor, used: Tensor, norm: Tensor | None, gain: Tensor | None, mask: Tensor | None,
    active: Tensor, modules: int, parts: list[int], exponents: list[float], thresholds: list[float],
    levels: list[int], limits: Tensor, fan_in: int, rule: list[float], random: bool, learn: bool, seed: int,
    step: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Winners, familiarity, hypotheses and case; arguments as in op.py, rule as its numbers."""
    S = len(parts)
    cases = torch.tensor(exponents, dtype=torch.float64, device=x.device).view(-1, S)
    bits = unpack(x, x.shape[2] * WORD)
    allowed = None if mask is None else unpack(mask, mask.shape[1] * WORD)
    rows = []
    for b in range(x.shape[0]):
        synapses = unpack(weight.transpose(1, 2), x.shape[2] * WORD).unflatten(1, (modules, -1))  # M, Q, K, N
        words = None if gain is None else gain[b].repeat_interleave(WORD, -1)
        factors, there = _factors(bits[b], synapses, words, allowed, None if norm is None else norm[b], parts)
        chosen = [_choice(factors, there, lam) for lam in cases]
        case = _back_off(torch.stack([G for _, G in chosen]), thresholds, levels)
        V = torch.stack([V for V, _ in chosen])[case, torch.arange(len(case), device=x.device)]
        G = V.amax(2).double().mean(1)
        lot = uniform(seed, step + b * random, V.shape[0], modules, x.device)
        winners = _draw(V.double(), G, lot, rule) if random else _largest(V, lot)
        hypotheses = (V.double() > rule[7]).flatten(1).sum(1)
        if learn:
            _learn(bits[b], weight, used, allowed, active[b], winners, parts, limits, fan_in)
        on = active[b]
        rows.append(
            (
                torch.where(on[:, None], winners, -1).int(), torch.where(on, G, 0.0),
                torch.where(on, hypotheses, 0).int(), torch.where(on, case, 0).int(),
            )
        )  # fmt: skip
    if not rows:
        none = x.new_empty(0, x.shape[1])
        return x.new_empty(0, x.shape[1], modules), none.double(), none, none.clone()
    winners, G, hypotheses, case = (torch.stack(part) for part in zip(*rows, strict=True))
    return winners, G, hypotheses, case


def _factors(
    x: Tensor, synapses: Tensor, gain: Tensor | None, allowed: Tensor | None, norm: Tensor | None, parts: list[int]
) -> tuple[Tensor, Tensor]:
    """(S, M, Q, K) evidence of each source, and (S, M) whether it has active features."""
    factors, there, begin = [], [], 0
    for s, part in enumerate(parts):
        piece = slice(begin, begin + part * WORD)
        begin += part * WORD
        active = x[:, piece].double()
        signal = active if gain is None else active * gain[:, piece]
        total = torch.einsum("mn,mqkn->mqk", signal, synapses[..., piece].double())
        if allowed is None:
            count = active.sum(1)[:, None]
        else:
            count = active @ allowed[:, piece].t().double()
        there.append((count > 0).any(1))
        if norm is not None:
            count = torch.where(norm[:, s, None] > 0, norm[:, s, None], count)
        factors.append(torch.where(count[..., None] > 0, (total / count[..., None]).clamp(max=1), 0.0))
    return torch.stack(factors), torch.stack(there)


def _choice(factors: Tensor, there: Tensor, exponents: Tensor) -> tuple[Tensor, Tensor]:
    """(M, Q, K) V in single precision, (M,) G."""
    counts = there & (exponents > 0)[:, None]
    powers = torch.where(counts[..., None, None], factors ** exponents[:, None, None, None], 1.0)
    V = torch.where(counts.any(0)[:, None, None], powers.prod(0), 0.0).float()
    return V, V.amax(2).double().mean(1)


def _back_off(G: Tensor, thresholds: list[float], levels: list[int]) -> Tensor:
    """(M,) which of the cases; G (C, M)."""
    case = torch.zeros(G.shape[1], dtype=torch.long, device=G.device)
    found = torch.zeros_like(case).bool()
    for level in sorted(set(levels)):
        which = [c for c, own in enumerate(levels) if own == level]
        clears = torch.stack([torch.where(G[c] >= thresholds[c], G[c], -1.0) for c in which])
        best, place = clears.max(0)
        take = ~found & (best >= 0)
        case = torch.where(take, torch.tensor(which, device=G.device)[place], case)
        found |= take
    return case


def _draw(V: Tensor, G: Tensor, lot: Tensor, rule: list[float]) -> Tensor:
    """(M, Q) winners by rho; V (M, Q, K), lot (M, Q)."""
    floor, gamma, chi, s1, s2, s3, s4, _ = rule
    gained = ((G - floor).clamp(min=0) / (1 - floor)) ** gamma * chi * V.shape[2]
    psi = gained[:, None, None] / (1 + (s1 * torch.exp(-s2 * (V - s3))) ** s4) + 1
    total = psi.cumsum(2)
    return (total <= lot[..., None] * total[..., -1:]).sum(2).clamp(max=V.shape[2] - 1)


def _largest(V: Tensor, lot: Tensor) -> Tensor:
    """(M, Q) winners with the largest V, by lot among equals."""
    equal = (V == V.amax(2, keepdim=True)).cumsum(2)
    wanted = (lot * equal[..., -1]).floor().clamp(max=equal[..., -1] - 1)
    return (equal <= wanted[..., None]).sum(2)


def _learn(
    x: Tensor, weight: Tensor, used: Tensor, allowed: Tensor | None, active: Tensor, winners: Tensor,
    parts: list[int], limits: Tensor, fan_in: int,
) -> None:
    """Set the synapses from active features to winners, of the sources and units that are not frozen."""
    K = weight.shape[2] // winners.shape[1]
    open_ = (used <= limits) & active[:, None]  # M, S
    source = torch.arange(len(parts), device=x.device).repeat_interleave(torch.tensor(parts, device=x.device) * WORD)
    new = x[:, None] & open_[:, source][:, None]  # M, 1, N
    if allowed is not None:
        new = new & allowed[None]
    new = new.expand(-1, winners.shape[1], -1)
    unit = (torch.arange(winners.shape[1], device=x.device) * K + winners)[:, None].expand(-1, weight.shape[1], -1)
    old = weight.gather(2, unit)  # M, W, Q
    held = unpack(old.transpose(1, 2), x.shape[1]).sum(2)  # M, Q
    fresh = pack(new & (held <= fan_in)[..., None]).transpose(1, 2) & ~old
    weight.scatter_(2, unit, old | fresh)
    added = unpack(fresh.transpose(1, 2), x.shape[1]).sum(1)  # M, N
    for s in range(len(parts)):
        used[:, s] += added[:, source == s].sum(1).to(used.dtype)


def uniform(seed: int, step: int, macs: int, modules: int, device: torch.device) -> Tensor:
    """(M, Q) doubles in [0, 1) of one item."""
    start, item = torch.tensor([[seed], [step]], device=device)
    state = _mix(_mix(start + GAMMA) + GAMMA * (item + 1))
    place = torch.arange(1, macs * modules + 1, device=device).view(macs, modules)
    return _shift(_mix(state + GAMMA * place), 11).double() * 2.0**-53


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * A
    x = (x ^ _shift(x, 27)) * B
    return x ^ _shift(x, 31)


def _shift(x: Tensor, by: int) -> Tensor:
    """To the right without the sign."""
    return (x >> by) & ((1 << (64 - by)) - 1)
