"""The recurrence of a layer of expressive leaky memory neurons in plain PyTorch: the specification."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import relu, silu

from spiking.kernels.elm.rule import SATURATION, SLOPE
from spiking.kernels.surrogate.reference import Surrogate, spike


def elm_layer(
    drive: Tensor, state: tuple[Tensor, Tensor, Tensor], weights: tuple[Tensor, ...], recurrent: Tensor | None,
    lengths: Tensor | None, activation: str, output: str, surrogate: Surrogate,
) -> tuple[Tensor, Tensor, Tensor]:
    """All steps of a batch, one after the other.

    Arguments:
        drive: (T, B, N, h).
        state: memory (B, N, d), slow part (B, N), activity (B, N).
        weights: W_m, b_h, W_u, b_u, kappa, gamma, w_y, b and k, as op.py names them.
        recurrent: R (N, N, h).
        lengths: (B,) valid steps; from then on everything stays as it is.
        activation, output: by name.
        surrogate: of spikes.

    Returns:
        a (T, B, N), m (T, B, N, d) and r (T, B, N).
    """
    into, hidden_bias, update, update_bias, decay, gain, read, bias, k = weights
    m, r, a = state
    kept: tuple[list[Tensor], ...] = ([], [], [])
    for t in range(drive.shape[0]):
        old = decay * m
        z = drive[t] + hidden_bias + torch.einsum("bnd,ndh->bnh", old, into)
        if recurrent is not None:
            z = z + torch.einsum("bs,snh->bnh", a, recurrent)
        change = torch.einsum("bnh,nhd->bnd", act(z, activation), update) + update_bias
        memory = old + gain * SATURATION * torch.tanh(SLOPE * change)
        p = (memory * read).sum(2)
        slow = k * r + (1 - k) * p
        u = p - slow + bias
        activity = relu(u) if output == "relu" else u if output == "identity" else spike(u, surrogate)
        if lengths is not None:
            valid = (t < lengths)[:, None]
            memory = torch.where(valid[:, :, None], memory, m)
            slow, activity = torch.where(valid, slow, r), torch.where(valid, activity, a)
        m, r, a = memory, slow, activity
        for parts, part in zip(kept, (a, m, r), strict=True):
            parts.append(part)
    if not drive.shape[0]:
        return tuple(part.new_empty(0, *part.shape) for part in (a, m, r))  # type: ignore[return-value]
    return torch.stack(kept[0]), torch.stack(kept[1]), torch.stack(kept[2])


def act(z: Tensor, activation: str) -> Tensor:
    """The hidden layer's activation."""
    if activation == "silu":
        return silu(z)
    return relu(z).square() if activation == "relu_squared" else relu(z)
