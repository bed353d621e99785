"""d[b, i] = u[i, j*] . c[b],  j* = argmax_j |u[i, j] . c[b]|: the segment of a dendrite that answers a context most.

Iyer et al. 2022, "Avoiding catastrophe: active dendrites enable multi-task learning in dynamic environments". The sign
is kept; of equal segments the first is chosen; only the chosen one learns. Neither pass builds (contexts, units,
segments): the forward pass takes the segments one after the other, the backward pass adds one row for each context and
unit. Samples that share a context should share its row: `strongest(contexts, segments)[which]`.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from spiking.kernels.backend import resolve
from spiking.kernels.dendrites import reference


def strongest(context: Tensor, segments: Tensor, backend: str | None = None) -> Tensor:
    """The strongest segment's activity.

    Arguments:
        context: (B, n), one row for each different context.
        segments: (units, segments, n).
        backend: "reference", "numba", "triton"; `None` follows `set_backend` and the device.

    Returns:
        (B, units).

    Raises:
        ValueError: naming the argument that does not fit.
    """
    if segments.ndim != 3 or not segments.shape[1] or segments.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"segments: expected (units, 1 or more, n) of 32 or 64 bits, got {tuple(segments.shape)} {segments.dtype}"
        )
    if context.ndim != 2 or context.shape[1] != segments.shape[2]:
        raise ValueError(f"context: expected (B, {segments.shape[2]}), got {tuple(context.shape)}")
    name = resolve(backend, segments.device)
    context = context.to(segments.dtype)
    if name == "reference":
        return reference.strongest(context, segments)
    value, _ = torch.ops.spiking.strongest(context, segments, name)
    return value


def _kernels(backend: str) -> ModuleType:
    if backend == "triton":
        from spiking.kernels.dendrites import gpu

        return gpu
    from spiking.kernels.dendrites import cpu

    return cpu


@torch.library.custom_op("spiking::strongest", mutates_args=())
def _strongest(context: Tensor, segments: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    """(B, units) the activity, and which segment's it is."""
    value, index = _kernels(backend).forward(context.contiguous(), segments.contiguous())
    return value, index


@_strongest.register_fake
def _(context: Tensor, segments: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    shape = context.shape[0], segments.shape[0]
    return context.new_empty(shape), context.new_empty(shape, dtype=torch.int32)


@torch.library.custom_op("spiking::strongest_backward", mutates_args=())
def _backward(
    grad: Tensor, index: Tensor, context: Tensor, segments: Tensor, backend: str
) -> tuple[Tensor, Tensor]:
    """Gradients of context and segments."""
    given = grad.contiguous(), index, context.contiguous(), segments.contiguous()
    dc, du = _kernels(backend).backward(*given)
    return dc, du


@_backward.register_fake
def _(grad: Tensor, index: Tensor, context: Tensor, segments: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    return torch.empty_like(context), torch.empty_like(segments)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    context, segments, ctx.backend = inputs
    ctx.save_for_backward(output[1], context, segments)


def _differentiate(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    dc, du = torch.ops.spiking.strongest_backward(grad, *ctx.saved_tensors, ctx.backend)
    return dc, du, None


torch.library.register_autograd("spiking::strongest", _differentiate, setup_context=_keep)
