"""The recurrence of the expressive leaky memory neuron in plain PyTorch: the specification."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import relu, silu

from spiking.kernels.elm.rule import MLP, SATURATION, SLOPE, MemoryState


def elm(
    drive: Tensor, state: MemoryState, mlp: MLP, decay: Tensor, gain: Tensor, leak: Tensor, activation: str,
    lengths: Tensor | None,
) -> tuple[Tensor, MemoryState]:
    """All steps of a batch, one after the other.

    Arguments:
        drive: (T, B, h), what arrives at the hidden layer, not yet filtered.
        state: where to go on from.
        mlp: of the update.
        decay, gain: kappa and gamma (d,).
        leak: kappa_b, one number.
        activation: "relu" or "silu".
        lengths: (B,) valid steps.

    Returns:
        m (T, B, d), 0 beyond the valid steps, and the state after each sample's last valid step.
    """
    current, memory = state
    out = []
    for t in range(drive.shape[0]):
        arrived = leak * current + drive[t]
        after = step(arrived, memory, mlp, decay, gain, activation)
        if lengths is None:
            current, memory = arrived, after
            out.append(after)
        else:
            valid = (t < lengths)[:, None]
            current, memory = torch.where(valid, arrived, current), torch.where(valid, after, memory)
            out.append(torch.where(valid, after, 0.0))
    m = torch.stack(out) if out else (decay * memory)[None][:0]
    return m, MemoryState(current.clone(), memory.clone())


def step(current: Tensor, memory: Tensor, mlp: MLP, decay: Tensor, gain: Tensor, activation: str) -> Tensor:
    """m_t from the filtered current (..., h) and m_{t-1} (..., d)."""
    kept = decay * memory
    z = current + mlp.bias + kept @ mlp.memory
    hidden = relu(z) if activation == "relu" else silu(z)
    return kept + gain * SATURATION * torch.tanh(SLOPE * (hidden @ mlp.update + mlp.update_bias))
