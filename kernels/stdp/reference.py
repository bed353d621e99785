"""The learning network in plain PyTorch, step by step, every synapse in every step: the specification; see op.py."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spiking.kernels.reservoir.neuron import ADAPTIVE, NEURON, THRESHOLD, Setup
from spiking.kernels.reservoir.reference import currents, matrices, neurons, send, strength
from spiking.kernels.stdp.plastic import Plastic
from spiking.kernels.stdp.rule import Rule, brought
from spiking.kernels.stdp.state import LearningState

if TYPE_CHECKING:
    from spiking.kernels.stdp.op import PlasticNetwork


def stdp(
    x: Tensor, network: PlasticNetwork, rule: Rule | None, rows: Tensor, made: Setup, table: Tensor, group: Tensor,
    dt: float, state: LearningState, reward: Tensor, most: int,
) -> tuple[Tensor, LearningState]:
    """Run over dense input.

    Arguments:
        x: (T, sources).
        rows: of homeostasis, as `rule.homeostasis_rows` gives them.
        table, group: of short-term plasticity.
        state: changes in place.
        reward: (T,) g of each step, or none.
        most: spikes after which it stops.

    Returns:
        spikes (steps, N) bool, and the state.
    """
    params, hold, flags = made[0].clone(), made.hold, made.flags
    N, groups, recurrent = params.shape[1], table.shape[2], network.recurrent
    arriving = matrices(network.inputs.expand(), params)
    clock, v, slow, current, refractory, pending, u, resources, last, _ = state.network
    slots, out, row = pending.shape[1], [x.new_zeros(0, N, dtype=torch.bool)], torch.zeros(1, dtype=torch.int64)
    every = torch.ones(1, dtype=torch.bool)
    for t in range(len(x)):
        if rows.numel():
            params[THRESHOLD] = state.threshold
        send(pending, clock, arriving, x[t : t + 1].to(params.dtype))
        felt = pending[row, clock % slots]
        pending[row, clock % slots] = 0
        awake = refractory == 0
        drive = currents(current, felt, params, flags, awake, every)
        z, new, rise = neurons(v, slow, drive, felt, params, flags, awake, dt)
        v.copy_(torch.where(awake, new, v))
        slow.copy_(torch.where(awake | (flags[NEURON] == ADAPTIVE), rise, slow))
        refractory.copy_(torch.where(z, hold, refractory - (refractory > 0).to(torch.int32)))
        learn(z[0], int(clock), recurrent, rule, dt, state, float(reward[t]) if len(reward) else 0.0)
        fed = matrices(recurrent.synapses.with_weight(state.weight), params)
        if groups:
            strength(z, clock, u, resources, last, table)
            for g in range(groups):
                some = [(d, matrix * (group == g)) for d, matrix in fed]
                send(pending, clock, some, z.to(v.dtype) * u[:, :, g] * resources[:, :, g])
        else:
            send(pending, clock, fed, z.to(v.dtype))
        if rows.numel():
            risen = state.threshold + rows[0] * z[0] + rows[1]
            state.threshold.copy_(torch.minimum(torch.maximum(risen, rows[2]), rows[3]))
        last.copy_(torch.where(z, clock[:, None], last))
        clock += 1
        out.append(z)
        if sum(int(part.sum()) for part in out) > most:
            break
    return torch.cat(out), state


def learn(
    z: Tensor, now: int, recurrent: Plastic, rule: Rule | None, dt: float, state: LearningState, reward: float
) -> None:
    """What the spikes z (N,) of step `now`, earlier ones that come to synapses now, and a reward change; in place."""
    state.past[now % len(state.past)] = z
    if rule is None:
        return
    e, synapses = recurrent.learning, recurrent.synapses
    source, target = synapses.sparse().rows()[e], synapses.target[e].long()
    delay = synapses.delay[e].long()
    k = recurrent.which[delay].long()
    weak, strong = recurrent.weak[e].to(state.weight.dtype), recurrent.strong[e].to(state.weight.dtype)
    span, waits = strong - weak, rule.tau_eligibility is not None
    low, high = torch.minimum(weak, strong), torch.maximum(weak, strong)
    w, c = state.weight[e], state.eligibility[e] if waits else torch.zeros_like(span)
    if rule.tau_eligibility is not None:
        c = c * math.exp(-dt / rule.tau_eligibility)
        w = torch.minimum(torch.maximum(w + c * reward, low), high)

    def since(step: Tensor, tau: float) -> Tensor:
        return torch.exp(-(now - step).to(w.dtype) * (dt / tau))

    def change(w: Tensor, c: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
        return (w, c + by) if waits else (torch.minimum(torch.maximum(w + by, low), high), c)

    r1, r2 = state.pre[0] * since(state.seen, rule.tau_plus), state.pre[1] * since(state.seen, rule.tau_x)
    o1 = state.post[:, 0] * since(state.came, rule.tau_minus)
    o2 = state.post[:, 1] * since(state.came, rule.tau_y)
    comes = state.past[(now - delay) % len(state.past), target]
    more = r1[source] * (rule.a_plus + rule.a3_plus * o2[k, target])
    w, c = change(w, c, span * more * ((strong - w) / span).clamp(min=0) ** rule.mu_plus * comes)
    less = o1[k, target] * (rule.a_minus + rule.a3_minus * r2[source]) * state.post[k, 3, target]
    w, c = change(w, c, -span * less * ((w - weak) / span).clamp(min=0) ** rule.mu_minus * z[source])
    state.weight[e] = w
    if waits:
        state.eligibility[e] = c
    for n, d in enumerate(recurrent.delays.tolist()):
        there = state.past[(now - d) % len(state.past)]
        grown = torch.stack([o1[n], o2[n]]) * (not rule.nearest) + 1
        state.post[n, :2] = torch.where(there, grown, state.post[n, :2])
        if rule.sliding is not None:
            y, theta = brought(
                state.post[n, 2], state.post[n, 3], (now - state.came[n]).to(w.dtype) * dt, rule.sliding
            )
            y = y + 1e3 / (rule.sliding.tau_rate * rule.sliding.rate)
            state.post[n, 2:] = torch.where(there, torch.stack([y, theta]), state.post[n, 2:])
        state.came[n] = torch.where(there, now, state.came[n])
    grown = torch.stack([r1, r2]) * (not rule.nearest) + 1
    state.pre.copy_(torch.where(z, grown, state.pre))
    state.seen.copy_(torch.where(z, now, state.seen))
