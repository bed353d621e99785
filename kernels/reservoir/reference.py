"""The reservoir in plain PyTorch, step by step and dense: the specification. op.py has the equations."""

from __future__ import annotations

import torch
from torch import Tensor

from spiking.kernels.reservoir.neuron import (
    ADAPT,
    ADAPTIVE,
    AT_ONCE,
    BIAS,
    DECAY,
    DRIVE,
    EACH,
    FALL,
    GAIN,
    H_TO_V,
    I_TO_V,
    IZHIKEVICH,
    JUMP,
    KINETICS,
    NEURON,
    PEAK,
    RECEPTORS,
    RESET,
    RISE,
    SUBSTEPS,
    SUBTRACT,
    SYNAPSE,
    THRESHOLD,
    A,
    B,
    C,
    D,
    Setup,
)  # fmt: skip
from spiking.kernels.reservoir.state import ReservoirState
from spiking.kernels.reservoir.synapses import Synapses

Matrices = list[tuple[int, Tensor]]


def reservoir(
    x: Tensor, lengths: Tensor, inputs: Synapses, recurrent: Synapses | None, setup: Setup, table: Tensor,
    group: Tensor, dt: float, state: ReservoirState,
) -> tuple[Tensor, ReservoirState]:
    """Run over dense input.

    Arguments:
        x: (T, B, sources).
        table, group: of short-term plasticity, as `shortterm.resolve` gives them.
        state: changes in place; its trace does not.

    Returns:
        spikes (T, B, N), 0 or 1, and the state.
    """
    params, hold, flags = setup
    T, N, groups = x.shape[0], params.shape[1], table.shape[2]
    arriving, fed = matrices(inputs, params), [] if recurrent is None else matrices(recurrent, params)
    clock, v, slow, current, refractory, pending, u, resources, last, _ = state
    row, slots, out = torch.arange(x.shape[1], device=x.device), pending.shape[1], []
    for t in range(T):
        valid = t < lengths
        send(pending, clock, arriving, x[t].to(params.dtype) * valid[:, None])
        slot = clock % slots
        felt = pending[row, slot]
        pending[row, slot] = torch.where(valid[:, None, None], 0, felt)
        awake = (refractory == 0) & valid[:, None]
        drive = currents(current, felt, params, flags, awake, valid)
        z, new, rise = neurons(v, slow, drive, felt, params, flags, awake, dt)
        v.copy_(torch.where(awake, new, v))
        slow.copy_(torch.where(awake | ((flags[NEURON] == ADAPTIVE) & valid[:, None]), rise, slow))
        refractory.copy_(torch.where(z, hold, refractory - ((refractory > 0) & valid[:, None]).to(torch.int32)))
        if groups:
            strength(z, clock, u, resources, last, table)
            for g in range(groups):
                to = group == g
                some = [(d, matrix * to) for d, matrix in fed]
                send(pending, clock, some, z.to(v.dtype) * u[:, :, g] * resources[:, :, g])
        else:
            send(pending, clock, fed, z.to(v.dtype))
        last.copy_(torch.where(z, clock[:, None], last))
        clock += valid
        out.append(z)
    spikes = torch.stack(out) if out else x.new_zeros(0, x.shape[1], N, dtype=torch.bool)
    return spikes, state


def matrices(synapses: Synapses, params: Tensor) -> Matrices:
    """The weights (sources, N) of each delay that occurs."""
    out, delay, sparse = [], synapses.delay, synapses.sparse()
    for d in delay.unique().tolist():
        chosen = sparse.with_values(torch.where(delay == d, sparse.values, 0).to(params.dtype))
        out.append((d, chosen.to_dense()))
    return out


def send(pending: Tensor, clock: Tensor, weights: Matrices, x: Tensor) -> None:
    """Let spikes x (B, sources) of step `clock` arrive d steps later; currents below 0 have a receptor of their own."""
    row = torch.arange(x.shape[0], device=x.device)
    for d, w in weights:
        slot = (clock + d) % pending.shape[1]
        if pending.shape[2] == 1:
            pending[row, slot, 0] += x @ w
        else:
            up, down, plus, minus = x.clamp(min=0), x.clamp(max=0), w.clamp(min=0), w.clamp(max=0)
            pending[row, slot, 0] += up @ plus + down @ minus
            pending[row, slot, 1] += up @ minus + down @ plus


def currents(current: Tensor, felt: Tensor, params: Tensor, flags: list[int], awake: Tensor, valid: Tensor) -> Tensor:
    """What the synaptic currents add to V in this step (B, N); the currents change in place."""
    kind, drive = flags[SYNAPSE], torch.zeros_like(felt[:, 0])
    for r in range(flags[RECEPTORS] if kind else 0):
        p = params[KINETICS + r * EACH : KINETICS + (r + 1) * EACH]
        i = current[:, r * kind + kind - 1]
        arrived = p[GAIN] * felt[:, r]
        if kind == 1:
            new = p[FALL] * i + arrived
            drive = drive + p[I_TO_V] * (new if flags[AT_ONCE] else i)
        else:
            h = current[:, r * kind]
            drive = drive + (p[H_TO_V] * h + p[I_TO_V] * i)
            new = p[RISE] * h + p[FALL] * i
            h.copy_(torch.where(valid[:, None], p[FALL] * h + arrived, h))
        i.copy_(torch.where(valid[:, None], new, i))
    return drive


def neurons(
    v: Tensor, slow: Tensor, drive: Tensor, felt: Tensor, params: Tensor, flags: list[int], awake: Tensor, dt: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes, V and the slow variable after a step, each (B, N)."""
    p = params
    jump = felt[:, 0] if flags[SYNAPSE] == 0 else 0.0
    if flags[NEURON] == IZHIKEVICH:
        new, u, h = v, slow, dt / flags[SUBSTEPS]
        for _ in range(flags[SUBSTEPS]):
            slope = 0.04 * new * new + 5.0 * new + 140.0 - u + drive + p[BIAS]
            new, u = new + h * slope, u + h * p[A] * (p[B] * new - u)
        new = new + jump
        z = awake & (new >= p[PEAK])
        return z, torch.where(z, p[C], new), u + torch.where(z, p[D], 0)
    new = p[DECAY] * v + drive + p[DRIVE] + jump
    theta = p[THRESHOLD] + slow if flags[NEURON] == ADAPTIVE else p[THRESHOLD]
    z = awake & (new >= theta)
    after = new - theta if flags[SUBTRACT] else p[RESET]
    return z, torch.where(z, after, new), p[ADAPT] * slow + torch.where(z, p[JUMP], 0)


def strength(z: Tensor, clock: Tensor, u: Tensor, resources: Tensor, last: Tensor, table: Tensor) -> None:
    """Bring u and R of the neurons that spike to this spike, in place."""
    use, recovery, release = table
    interval = (clock[:, None] - last)[:, :, None].to(u.dtype)
    first = (last < 0)[:, :, None]
    new = torch.where(first, use, use + u * (1 - use) * torch.exp(-interval * release))
    left = torch.where(first, 1, 1 + (resources - u * resources - 1) * torch.exp(-interval * recovery))
    u.copy_(torch.where(z[:, :, None], new, u))
    resources.copy_(torch.where(z[:, :, None], left, resources))
