"""The flat ops `torch.ops.spiking.lif_sparse` and `lif_sparse_backward`: sparse recurrent weights.

op.py gives the equations. The recurrent weights come as the arrays of a `SparseWeight`, the input as currents, which
`sparse_linear` or `event_linear` made: a fan-out scatters, so currents must be somewhere.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from spiking.kernels import finite
from spiking.kernels.lif.flat import demand
from spiking.kernels.lif.rule import CHECKPOINT, saved_rows


def _kernels(backend: str) -> ModuleType:
    if backend == "triton":
        from spiking.kernels.lif import gpu_sparse

        return gpu_sparse
    from spiking.kernels.lif import cpu_sparse

    return cpu_sparse


@torch.library.custom_op("spiking::lif_sparse", mutates_args=())
def lif_sparse(
    current: Tensor, indptr: Tensor, index: Tensor, values: Tensor, params: Tensor, state: Tensor, lengths: Tensor,
    flags: list[int], surrogate: list[float], trace: bool, save: bool, backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """spikes, membrane (empty unless `trace`), state, and for the backward pass bits and checkpoints."""
    if values.device.type == "cpu":
        finite.demand("recurrent", values, "synapse")
    demand(None, None, params, lengths, len(current))
    result: tuple[Tensor, Tensor, Tensor, Tensor, Tensor] = _kernels(backend).forward(
        current, indptr, index, values, params, state, lengths, flags, trace, save
    )
    return result


@lif_sparse.register_fake
def _(
    current: Tensor, indptr: Tensor, index: Tensor, values: Tensor, params: Tensor, state: Tensor, lengths: Tensor,
    flags: list[int], surrogate: list[float], trace: bool, save: bool, backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    T, B, N = current.shape
    bits = state.new_empty((T, B, -(-N // 8)) if save else (0,), dtype=torch.uint8)
    checkpoints = state.new_empty((-(-T // CHECKPOINT), saved_rows(flags), B, N) if save else (0,))
    membrane = state.new_empty((T, B, N) if trace else (0,))
    return torch.empty_like(current), membrane, torch.empty_like(state), bits, checkpoints


@torch.library.custom_op("spiking::lif_sparse_backward", mutates_args=())
def lif_sparse_backward(
    grad_spikes: Tensor, grad_membrane: Tensor | None, grad_last: Tensor, current: Tensor, indptr: Tensor,
    index: Tensor, values: Tensor, params: Tensor, state: Tensor, lengths: Tensor, bits: Tensor, checkpoints: Tensor,
    flags: list[int], surrogate: list[float], learn: bool, backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of the currents, of the values, of the parameters if they `learn`, and of the initial state."""
    result: tuple[Tensor, Tensor, Tensor, Tensor] = _kernels(backend).backward(
        grad_spikes, grad_membrane, grad_last, current, indptr, index, values, params, state, lengths, bits,
        checkpoints, flags, surrogate, learn,
    )  # fmt: skip
    return result


@lif_sparse_backward.register_fake
def _(
    grad_spikes: Tensor, grad_membrane: Tensor | None, grad_last: Tensor, current: Tensor, indptr: Tensor,
    index: Tensor, values: Tensor, params: Tensor, state: Tensor, lengths: Tensor, bits: Tensor, checkpoints: Tensor,
    flags: list[int], surrogate: list[float], learn: bool, backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    return torch.empty_like(current), torch.empty_like(values), torch.empty_like(params), torch.empty_like(state)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.flags, ctx.surrogate, ctx.trace, _, ctx.backend = inputs
    ctx.save_for_backward(*tensors, *output[3:])


def _differentiate(
    ctx: Any, grad_spikes: Tensor, grad_membrane: Tensor, grad_last: Tensor, *_: Tensor
) -> tuple[Tensor | None, ...]:
    current, values, params, state = lif_sparse_backward(
        grad_spikes.contiguous(), grad_membrane.contiguous() if ctx.trace else None, grad_last.contiguous(),
        *ctx.saved_tensors, ctx.flags, ctx.surrogate, ctx.needs_input_grad[4], ctx.backend,
    )  # fmt: skip
    return current, None, None, values, params, state, *(None,) * 6


torch.library.register_autograd("spiking::lif_sparse", _differentiate, setup_context=_setup)
