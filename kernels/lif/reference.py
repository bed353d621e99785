"""The integrate-and-fire family in plain PyTorch: the specification that every other backend is held to.

op.py gives the equations; the symbols here are theirs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spiking.kernels.lif.rule import Flags
from spiking.kernels.surrogate import Surrogate, spike
from spiking.kernels.surrogate.reference import Spike


def lif(
    current: Tensor,
    params: Tensor,
    state: Tensor,
    flags: Flags,
    surrogate: Surrogate | Spike,
    recurrent: Tensor | None = None,
    lengths: Tensor | None = None,
    spikes: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The recurrence, step by step, differentiable by autograd in any floating dtype.

    Arguments:
        current: (T, B, N) input currents.
        params: (10, N), rows as in rule.py.
        state: (5, B, N), rows as in rule.py.
        flags: the switches.
        surrogate: derivative of the spike, or a callable.
        recurrent: (N, N), row n is the fan-out of neuron n.
        lengths: (B,) valid steps; the state stops at the end of each recording and outputs after it are 0.
        spikes: (T, B, N) a train to replay in place of the threshold's decisions.

    Returns:
        spikes (T, B, N); membrane potentials before the reset, as the threshold saw them (T, B, N); state (5, B, N).
    """
    T = current.shape[0]
    a, s, theta, c, k, b, p, q, r, bias = params
    u, i, w, z, rest = state
    rest = rest.detach()  # a number of steps has no gradient
    trains, traces = [], []
    for t in range(T):
        I = current[t] + bias
        if recurrent is not None:
            I = I + z @ recurrent
        i_new = c * i + k * I if flags.synapse else i
        J = (I, i_new, i)[flags.synapse]
        drive = J - w if flags.adaptation == 1 else J
        theta_t = theta + r * w if flags.adaptation == 2 else theta

        u_hat = a * u + s * drive
        if flags.reset_next:
            z_reset = z.detach() if flags.detach_reset else z
            u_hat = _reset(u_hat, z_reset, theta_t, flags.reset)
        resting = rest > 0
        if flags.refractory and not flags.mute:
            u_hat = torch.where(resting, u, u_hat)
        z_new = spike(u_hat - theta_t, surrogate, bool(flags.inclusive), None if spikes is None else spikes[t])
        if flags.refractory:
            z_new = torch.where(resting, 0.0, z_new)
        u_new = u_hat
        if not flags.reset_next:
            u_new = _reset(u_hat, z_new.detach() if flags.detach_reset else z_new, theta_t, flags.reset)
        w_new = w
        if flags.adaptation:
            w_new = b * w + (p * u + q * z if flags.adapt_previous else p * u_new + q * z_new)
        rest_new = rest
        if flags.refractory:
            rest_new = torch.where(z_new > 0, float(flags.refractory), (rest - 1).clamp(min=0))

        if lengths is None:
            u, i, w, z, rest = u_new, i_new, w_new, z_new, rest_new
            trains.append(z_new)
            traces.append(u_hat)
        else:
            valid = (t < lengths)[:, None]
            trains.append(torch.where(valid, z_new, 0.0))
            traces.append(torch.where(valid, u_hat, 0.0))
            u, i, w, z, rest = (
                torch.where(valid, new, old)
                for new, old in ((u_new, u), (i_new, i), (w_new, w), (z_new, z), (rest_new, rest))
            )
    empty = current.new_zeros(current.shape)
    last = torch.stack(torch.broadcast_tensors(u, i, w, z, rest))
    return torch.stack(trains) if trains else empty, torch.stack(traces) if traces else empty.clone(), last


def _reset(u: Tensor, z: Tensor, theta: Tensor, kind: int) -> Tensor:
    if kind == 0:
        return u - theta * z
    return u * (1 - z) if kind == 1 else u
