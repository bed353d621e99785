"""The flat ops `torch.ops.spiking.lif` and `lif_backward`: tensors and numbers only, for autograd and torch.compile.

op.py gives the equations and the arguments; a backend's module does the work.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from spiking.kernels.lif.rule import CHECKPOINT, saved_rows


def _kernels(backend: str) -> ModuleType:
    if backend == "triton":
        from spiking.kernels.lif import gpu

        return gpu
    from spiking.kernels.lif import cpu

    return cpu


@torch.library.custom_op("spiking::lif", mutates_args=())
def lif(
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    params: Tensor,
    state: Tensor,
    lengths: Tensor,
    steps: int,
    flags: list[int],
    surrogate: list[float],
    trace: bool,
    save: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """spikes, membrane (empty unless `trace`), state, and for the backward pass bits and checkpoints."""
    result: tuple[Tensor, Tensor, Tensor, Tensor, Tensor] = _kernels(backend).forward(
        current, indptr, index, value, weight, params, state, lengths, steps, flags, trace, save
    )
    return result


@lif.register_fake
def _(
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    params: Tensor,
    state: Tensor,
    lengths: Tensor,
    steps: int,
    flags: list[int],
    surrogate: list[float],
    trace: bool,
    save: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    _, B, N = state.shape
    like = weight if current is None else current
    assert like is not None
    spikes = like.new_empty(steps, B, N)
    membrane = state.new_empty((steps, B, N) if trace else (0,))
    shape = (-(-steps // CHECKPOINT), saved_rows(flags), B, N)
    rows = shape[0] if backend == "numba" else steps
    bits = state.new_empty((rows, B, -(-N // 8)) if save else (0,), dtype=torch.uint8)
    return spikes, membrane, torch.empty_like(state), bits, state.new_empty(shape if save else (0,))


@torch.library.custom_op("spiking::lif_backward", mutates_args=())
def lif_backward(
    grad_spikes: Tensor,
    grad_membrane: Tensor | None,
    grad_last: Tensor,
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    params: Tensor,
    state: Tensor,
    lengths: Tensor,
    bits: Tensor,
    checkpoints: Tensor,
    steps: int,
    flags: list[int],
    surrogate: list[float],
    learn: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the input (the currents, or the weight), the parameters if they `learn`, and the initial state."""
    result: tuple[Tensor, Tensor, Tensor] = _kernels(backend).backward(
        grad_spikes, grad_membrane, grad_last, current, indptr, index, value, weight, params, state, lengths, bits,
        checkpoints, steps, flags, surrogate, learn,
    )
    return result


@lif_backward.register_fake
def _(
    grad_spikes: Tensor,
    grad_membrane: Tensor | None,
    grad_last: Tensor,
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    params: Tensor,
    state: Tensor,
    lengths: Tensor,
    bits: Tensor,
    checkpoints: Tensor,
    steps: int,
    flags: list[int],
    surrogate: list[float],
    learn: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    like = weight if current is None else current
    assert like is not None
    return torch.empty_like(like), torch.empty_like(params), torch.empty_like(state)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, steps, flags, surrogate, trace, _, backend = inputs
    ctx.save_for_backward(*tensors, *output[3:])
    ctx.steps, ctx.flags, ctx.surrogate, ctx.trace, ctx.backend = steps, flags, surrogate, trace, backend


def _differentiate(
    ctx: Any, grad_spikes: Tensor, grad_membrane: Tensor, grad_last: Tensor, *_: Tensor
) -> tuple[Tensor | None, ...]:
    current, indptr, index, value, weight, params, state, lengths, bits, checkpoints = ctx.saved_tensors
    grad_input, grad_params, grad_state = lif_backward(
        grad_spikes.contiguous(), grad_membrane.contiguous() if ctx.trace else None, grad_last.contiguous(),
        current, indptr, index, value, weight, params, state, lengths, bits, checkpoints,
        ctx.steps, ctx.flags, ctx.surrogate, ctx.needs_input_grad[5], ctx.backend,
    )
    grad_current, grad_weight = (grad_input, None) if weight is None else (None, grad_input)
    none = (None,) * 7
    return grad_current, None, None, None, grad_weight, grad_params, grad_state, *none


torch.library.register_autograd("spiking::lif", _differentiate, setup_context=_setup)
