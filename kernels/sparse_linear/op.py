"""y[t, b, m] = sum over the events n of step t in sample b of value * W[n, m], where only some synapses n -> m exist.

Each event scatters its fan-out, row n of W, into the currents of its targets. For the gradients,

    dW[n, m]     = sum over the events of n of value * dy[t, b, m]      at the synapses that exist
    dx[t, b, n]  = sum over the targets m of n of W[n, m] * dy[t, b, m]    for a dense x; Events carry no gradient

A dense x is compressed to its non-zero entries, whatever their share. `event_linear` calls this op for a SparseWeight.
Work is cut so that one task owns what it writes, rows of y, tiles of their targets, or synapses: nothing is added
atomically, and any number of threads gives the same bits.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels import finite
from spiking.kernels.backend import resolve
from spiking.kernels.sparse_linear import reference
from spiking.kernels.sparse_linear.weight import SparseWeight


def sparse_linear(x: Events | Tensor, weight: SparseWeight, backend: str | None = None) -> Tensor:
    """The product of a batch of spike trains with sparse synapses, at the cost of the synapses that its events reach.

    Arguments:
        x: Events (T, B, in), or a dense (T, B, in) whose zeros are skipped.
        weight: (in, out).
        backend: "reference", "numba", "triton"; `None` follows `set_backend` and the device.

    Returns:
        (T, B, out) in the dtype of `weight`, accumulated in float32 (float64 for float64).

    Raises:
        ValueError: if shapes or devices do not fit.
        TypeError: if x is neither Events nor a tensor.
    """
    if not isinstance(x, (Tensor, Events)):
        raise TypeError(f"x: expected Events or a tensor, got {type(x).__name__}")
    if len(x.shape) != 3:
        raise ValueError(f"x: expected (T, B, in), got {tuple(x.shape)}")
    T, B, inputs = x.shape
    if weight.shape[0] != inputs:
        raise ValueError(f"weight: expected (in={inputs}, out), got {weight.shape}")
    if x.device != weight.device:
        raise ValueError(f"weight: expected it on {x.device}, as x is, got {weight.device}")
    name = resolve(backend, weight.device)
    if isinstance(x, Tensor):
        x = x.to(weight.dtype)
    if name == "reference":
        return reference.sparse_linear(x, weight)
    columns, values = weight.shape[1], weight.values
    storage = values.dtype
    if storage != torch.float64:
        values = values.to(torch.float32)
    if values.device.type == "cpu" and not torch.compiler.is_compiling():
        finite.demand("weight", values, "synapse")
    if isinstance(x, Events):
        out = torch.ops.spiking.sparse_linear(
            x.indptr, x.index, x.value, weight.indptr, weight.index, values, T * B, columns, name
        )
    else:
        flat = x.to(values.dtype).reshape(T * B, inputs)
        out, _, _, _ = torch.ops.spiking.sparse_linear_dense(flat, weight.indptr, weight.index, values, columns, name)
    return out.view(T, B, columns).to(storage)


def _kernels(backend: str) -> ModuleType:
    if backend == "triton":
        from spiking.kernels.sparse_linear import gpu

        return gpu
    from spiking.kernels.sparse_linear import cpu

    return cpu


@torch.library.custom_op("spiking::sparse_linear", mutates_args=())
def _events(
    indptr: Tensor, index: Tensor, value: Tensor | None, fan_indptr: Tensor, fan_index: Tensor, values: Tensor,
    rows: int, columns: int, backend: str,
) -> Tensor:  # fmt: skip
    """(rows, columns) from events and synapses."""
    out: Tensor = _kernels(backend).forward(indptr, index, value, fan_indptr, fan_index, values, rows, columns)
    return out


@_events.register_fake
def _(
    indptr: Tensor, index: Tensor, value: Tensor | None, fan_indptr: Tensor, fan_index: Tensor, values: Tensor,
    rows: int, columns: int, backend: str,
) -> Tensor:  # fmt: skip
    return values.new_empty(rows, columns)


@torch.library.custom_op("spiking::sparse_linear_backward", mutates_args=())
def _backward(
    indptr: Tensor, index: Tensor, value: Tensor | None, fan_indptr: Tensor, fan_index: Tensor, grad: Tensor,
    backend: str,
) -> Tensor:  # fmt: skip
    """(nnz,), the gradient of the values from that of the product, (rows, columns); an empty value counts 1."""
    value = value if value is not None and value.numel() else None
    out: Tensor = _kernels(backend).backward(indptr, index, value, fan_indptr, fan_index, grad.contiguous())
    return out


@_backward.register_fake
def _(
    indptr: Tensor, index: Tensor, value: Tensor | None, fan_indptr: Tensor, fan_index: Tensor, grad: Tensor,
    backend: str,
) -> Tensor:  # fmt: skip
    return grad.new_empty(fan_index.shape)


@torch.library.custom_op("spiking::sparse_linear_inputs", mutates_args=())
def _inputs(grad: Tensor, fan_indptr: Tensor, fan_index: Tensor, values: Tensor, backend: str) -> Tensor:
    """(rows, in), the gradient of a dense x from that of the product, (rows, columns)."""
    out: Tensor = _kernels(backend).inputs(grad.contiguous(), fan_indptr, fan_index, values)
    return out


@_inputs.register_fake
def _(grad: Tensor, fan_indptr: Tensor, fan_index: Tensor, values: Tensor, backend: str) -> Tensor:
    return grad.new_empty(grad.shape[0], fan_indptr.shape[0] - 1)


@torch.library.custom_op("spiking::sparse_linear_dense", mutates_args=())
def _dense(
    x: Tensor, fan_indptr: Tensor, fan_index: Tensor, values: Tensor, columns: int, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The product for a dense x (rows, in), and for the backward pass its events."""
    from spiking.kernels.event_linear.op import compress

    events = compress(x, 1.0, backend)
    assert events is not None
    indptr, index, value = events
    given = value if value.numel() else None
    out = _kernels(backend).forward(indptr, index, given, fan_indptr, fan_index, values, x.shape[0], columns)
    return out, indptr, index, value


@_dense.register_fake
def _(
    x: Tensor, fan_indptr: Tensor, fan_index: Tensor, values: Tensor, columns: int, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    events, counts = (torch.library.get_ctx().new_dynamic_size() for _ in range(2))
    return (
        values.new_empty(x.shape[0], columns),
        x.new_empty(x.shape[0] + 1, dtype=torch.int64),
        x.new_empty(events, dtype=torch.int32),
        x.new_empty(counts),
    )


def _keep_events(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    indptr, index, value, fan_indptr, fan_index, _, _, _, ctx.backend = inputs
    ctx.save_for_backward(indptr, index, value, fan_indptr, fan_index)


def _differentiate_events(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    none = (None,) * 3
    return *none, None, None, torch.ops.spiking.sparse_linear_backward(*ctx.saved_tensors, grad, ctx.backend), *none


def _keep_dense(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, fan_indptr, fan_index, values, _, ctx.backend = inputs
    ctx.save_for_backward(fan_indptr, fan_index, values, *output[1:])


def _differentiate_dense(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    fan_indptr, fan_index, values, indptr, index, value = ctx.saved_tensors
    dx = dw = None
    if ctx.needs_input_grad[0]:
        dx = torch.ops.spiking.sparse_linear_inputs(grad, fan_indptr, fan_index, values, ctx.backend)
    if ctx.needs_input_grad[3]:
        dw = torch.ops.spiking.sparse_linear_backward(indptr, index, value, fan_indptr, fan_index, grad, ctx.backend)
    return dx, None, None, dw, None, None


torch.library.register_autograd("spiking::sparse_linear", _differentiate_events, setup_context=_keep_events)
torch.library.register_autograd("spiking::sparse_linear_dense", _differentiate_dense, setup_context=_keep_dense)
