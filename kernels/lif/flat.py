"""The flat ops `torch.ops.spiking.lif` and `lif_backward`: tensors and numbers only, for autograd and torch.compile.

op.py gives the equations and the arguments; a backend's module does the work. They are registered on a `Library`, with
an autograd function of their own: `custom_op` and `register_autograd` look each of the arguments up in the schema on
every call, which takes longer than all else of a call on a GPU.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from spiking.kernels.lif.rule import CHECKPOINT, CHUNK, looks_back, saved_rows


def _kernels(backend: str) -> ModuleType:
    if backend == "triton":
        from spiking.kernels.lif import gpu

        return gpu
    from spiking.kernels.lif import cpu

    return cpu


_LIBRARY = torch.library.Library("spiking", "FRAGMENT")


def _lif(
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    params: Tensor,
    state: Tensor,
    lengths: Tensor | None,
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


def _lif_fake(
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    params: Tensor,
    state: Tensor,
    lengths: Tensor | None,
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
    if backend == "triton":  # the spikes before a chunk are a row of its checkpoint
        chunks, rows, octets = -(-steps // CHUNK), saved_rows(flags) + looks_back(flags), False
    else:
        chunks, rows, octets = -(-steps // CHECKPOINT), saved_rows(flags), save
    bits = state.new_empty((chunks, B, -(-N // 8)) if octets else (0,), dtype=torch.uint8)
    checkpoints = state.new_empty((chunks, rows, B, N) if save else (0,))
    return spikes, membrane, state.new_empty(state.shape), bits, checkpoints


def _lif_backward(
    grad_spikes: Tensor | None,
    grad_membrane: Tensor | None,
    grad_last: Tensor | None,
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    params: Tensor,
    state: Tensor,
    lengths: Tensor | None,
    bits: Tensor,
    checkpoints: Tensor,
    steps: int,
    flags: list[int],
    surrogate: list[float],
    learn: bool,
    carry: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the input (the currents, or the weight), the parameters if `learn`, the initial state if `carry`."""
    result: tuple[Tensor, Tensor, Tensor] = _kernels(backend).backward(
        grad_spikes, grad_membrane, grad_last, current, indptr, index, value, weight, params, state, lengths, bits,
        checkpoints, steps, flags, surrogate, learn, carry,
    )
    return result


def _lif_backward_fake(
    grad_spikes: Tensor | None,
    grad_membrane: Tensor | None,
    grad_last: Tensor | None,
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    params: Tensor,
    state: Tensor,
    lengths: Tensor | None,
    bits: Tensor,
    checkpoints: Tensor,
    steps: int,
    flags: list[int],
    surrogate: list[float],
    learn: bool,
    carry: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    like = weight if current is None else current
    assert like is not None
    return (
        torch.empty_like(like),
        params.new_empty(params.shape if learn else (0,)),
        state.new_empty(state.shape if carry else (0,)),
    )


class _Lif(torch.autograd.Function):
    """The op below autograd, and its derivative."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        *tensors, ctx.steps, ctx.flags, ctx.surrogate, ctx.trace, _, ctx.backend = inputs
        with torch._C._AutoDispatchBelowAutograd():
            output: tuple[Tensor, ...] = lif(*inputs)
        ctx.set_materialize_grads(False)  # outputs that no loss reads need no zeros
        ctx.save_for_backward(*tensors, *output[3:])
        ctx.mark_non_differentiable(*output[3:])
        return output

    @staticmethod
    def backward(
        ctx: Any, grad_spikes: Tensor | None, grad_membrane: Tensor | None, grad_last: Tensor | None, *_: None
    ) -> tuple[Tensor | None, ...]:
        current, indptr, index, value, weight, params, state, lengths, bits, checkpoints = ctx.saved_tensors
        learn, carry = ctx.needs_input_grad[5:7]
        given = (grad_spikes, grad_membrane if ctx.trace else None, grad_last)
        grad_input, grad_params, grad_state = lif_backward(
            *(None if x is None else x.contiguous() for x in given),
            current, indptr, index, value, weight, params, state, lengths, bits, checkpoints,
            ctx.steps, ctx.flags, ctx.surrogate, learn, carry, ctx.backend,
        )
        grad_current, grad_weight = (grad_input, None) if weight is None else (None, grad_input)
        none = (None,) * 7
        return (
            grad_current, None, None, None, grad_weight, grad_params if learn else None, grad_state if carry else None,
            *none,
        )


def _differentiable(*inputs: Any) -> tuple[Tensor, ...]:
    if torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
        result: tuple[Tensor, ...] = _Lif.apply(*inputs)
        return result
    with torch._C._AutoDispatchBelowAutograd():
        return lif(*inputs)


for _name, _run, _fake in (("lif", _lif, _lif_fake), ("lif_backward", _lif_backward, _lif_backward_fake)):
    _LIBRARY.define(_name + torch.library.infer_schema(_run, mutates_args=()))
    _LIBRARY.impl(_name, _run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"spiking::{_name}", _fake, lib=_LIBRARY)
_LIBRARY.impl("lif", _differentiable, "Autograd")
lif, lif_backward = torch.ops.spiking.lif.default, torch.ops.spiking.lif_backward.default
