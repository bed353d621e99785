"""The op `elm` as PyTorch's library knows it: tensors and numbers in and out, with fakes and gradients."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from spiking.kernels import finite


def _kernels(backend: str) -> ModuleType:
    if backend == "triton":
        from spiking.kernels.elm import gpu

        return gpu
    from spiking.kernels.elm import cpu

    return cpu


@torch.library.custom_op("spiking::elm_checked", mutates_args=())
def checked(
    decay: Tensor, gain: Tensor, leak: Tensor, weights: list[Tensor], lengths: Tensor | None, T: int
) -> Tensor:
    """The decay, once all numbers are seen to be in their range; an op, so that compiled graphs look, too."""
    names = ("mlp.memory", "mlp.bias", "mlp.update", "mlp.update_bias", "readout", "weight")
    finite.weights(decay=decay, gain=gain, leak=leak, **dict(zip(names, weights, strict=False)))
    if lengths is not None and lengths.numel() and lengths.device.type == "cpu":
        low, high = (int(n) for n in lengths.aminmax())
        if not 0 <= low <= high <= T:
            raise ValueError(f"lengths: expected 0 to {T} steps, got {lengths.tolist()}")
    return decay.clone()


@checked.register_fake
def _(decay: Tensor, gain: Tensor, leak: Tensor, weights: list[Tensor], lengths: Tensor | None, T: int) -> Tensor:
    return torch.empty_like(decay)


def _keep_decay(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.weights = len(inputs[3])


def _differentiate_decay(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return grad, None, None, [None] * ctx.weights, None, None


torch.library.register_autograd("spiking::elm_checked", _differentiate_decay, setup_context=_keep_decay)


@torch.library.custom_op("spiking::elm", mutates_args=())
def memory(
    indptr: Tensor | None, index: Tensor | None, value: Tensor | None, weight: Tensor | None, drive: Tensor | None,
    current: Tensor, memory: Tensor, w_m: Tensor, b_h: Tensor, w_u: Tensor, b_u: Tensor, decay: Tensor, gain: Tensor,
    leak: Tensor, readout: Tensor | None, lengths: Tensor | None, T: int, activation: int, save: bool, backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """m (T, B, d), the last current (B, h) and memory (B, d), what the backward pass needs of the currents, and y.

    From events and weight (in, h), or from the drive (T, B, h); y (T, B, out), without numbers if no readout is given.
    """
    given = indptr, index, value, weight, drive
    found = _kernels(backend).forward(
        given, current, memory, [w_m, b_h, w_u, b_u], decay, gain, leak, lengths, T, activation, save
    )
    m = found[0]
    return *found, m.new_empty(0) if readout is None else torch.matmul(m, readout)


@memory.register_fake
def _(
    indptr: Tensor | None, index: Tensor | None, value: Tensor | None, weight: Tensor | None, drive: Tensor | None,
    current: Tensor, memory: Tensor, w_m: Tensor, b_h: Tensor, w_u: Tensor, b_u: Tensor, decay: Tensor, gain: Tensor,
    leak: Tensor, readout: Tensor | None, lengths: Tensor | None, T: int, activation: int, save: bool, backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    B, h = current.shape
    kept = _kernels(backend).kept(T) if save else 0
    y = memory.new_empty(0) if readout is None else memory.new_empty(T, B, readout.shape[1])
    return (
        memory.new_empty(T, *memory.shape), torch.empty_like(current), torch.empty_like(memory),
        memory.new_empty(kept, B, h), y,
    )


@torch.library.custom_op("spiking::elm_backward", mutates_args=())
def _backward(
    d_out: Tensor | None, d_current: Tensor | None, d_memory: Tensor | None, d_y: Tensor | None, out: Tensor,
    kept: Tensor, indptr: Tensor | None, index: Tensor | None, value: Tensor | None, weight: Tensor | None,
    drive: Tensor | None, current: Tensor, memory: Tensor, w_m: Tensor, b_h: Tensor, w_u: Tensor, b_u: Tensor,
    decay: Tensor, gain: Tensor, leak: Tensor, readout: Tensor | None, lengths: Tensor | None, T: int, activation: int,
    backend: str,
) -> list[Tensor]:
    """The gradients of weight, drive, current, memory, w_m, b_h, w_u, b_u, decay, gain, leak and readout."""
    given = indptr, index, value, weight, drive
    d_current = torch.zeros_like(current) if d_current is None else d_current.contiguous()
    d_memory = torch.zeros_like(memory) if d_memory is None else d_memory.contiguous()
    d_out = None if d_out is None else d_out.contiguous()
    read = None if d_y is None or readout is None else (d_y.contiguous(), readout)
    found: list[Tensor] = _kernels(backend).backward(
        d_out, read, d_current, d_memory, out, kept, given, current, memory, [w_m, b_h, w_u, b_u], decay, gain, leak,
        lengths, T, activation,
    )
    if readout is None or d_y is None:
        return [*found, out.new_zeros((0, 0) if readout is None else readout.shape)]
    return [*found, out.flatten(0, 1).t() @ d_y.flatten(0, 1)]


@_backward.register_fake
def _(
    d_out: Tensor | None, d_current: Tensor | None, d_memory: Tensor | None, d_y: Tensor | None, out: Tensor,
    kept: Tensor, indptr: Tensor | None, index: Tensor | None, value: Tensor | None, weight: Tensor | None,
    drive: Tensor | None, current: Tensor, memory: Tensor, w_m: Tensor, b_h: Tensor, w_u: Tensor, b_u: Tensor,
    decay: Tensor, gain: Tensor, leak: Tensor, readout: Tensor | None, lengths: Tensor | None, T: int, activation: int,
    backend: str,
) -> list[Tensor]:
    B, h = current.shape
    like = (current, memory, w_m, b_h, w_u, b_u, decay, gain, leak)
    return [
        current.new_empty(0, h) if weight is None else current.new_empty(weight.shape),
        current.new_empty(0, B, h) if drive is None else current.new_empty(drive.shape),
        *(x.new_empty(x.shape) for x in like),
        current.new_empty((0, 0) if readout is None else readout.shape),
    ]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.T, ctx.activation, _, ctx.backend = inputs
    ctx.save_for_backward(output[0], output[3], *tensors)
    ctx.set_materialize_grads(False)  # of m nobody may ask for a gradient where y does


def _differentiate(
    ctx: Any, d_out: Tensor | None, d_current: Tensor | None, d_memory: Tensor | None, _: Any, d_y: Tensor | None
) -> tuple[Any, ...]:
    saved = ctx.saved_tensors
    *found, readout = torch.ops.spiking.elm_backward(
        d_out, d_current, d_memory, d_y, *saved, ctx.T, ctx.activation, ctx.backend
    )
    weight, drive = (g if x is not None else None for g, x in zip(found[:2], saved[5:7], strict=True))
    read = None if saved[-2] is None else readout
    return None, None, None, weight, drive, *found[2:], read, None, None, None, None, None


torch.library.register_autograd("spiking::elm", _differentiate, setup_context=_keep)
