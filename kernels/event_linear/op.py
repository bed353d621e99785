"""y[t, b] = sum over the events n of step t in sample b of value * W[n]: spikes times weights, paid per event.

Events carry no gradient; a dense x does, dx = dy W^T, because a silent neuron near its threshold must receive an error.
A dense x is compressed to its non-zero entries when at most DENSITY of them are; above that a matrix product is
cheaper. For the backward pass the sparse path keeps the events, not x.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels import finite
from spiking.kernels.arguments import floating
from spiking.kernels.backend import resolve
from spiking.kernels.event_linear import reference
from spiking.kernels.sparse_linear import SparseWeight, sparse_linear
from spiking.kernels.sparse_linear.weight import check_layout, watched_weight

# Where events and a matrix product cost the same, forward and backward, on a CPU: at 0.2 to 0.3 for 256 outputs, below
# 0.1 for 20 (times of `event_linear` on 6,400 rows of 128 to 700 inputs with DENSITY set to 1 and to -1).
DENSITY = 0.1


def event_linear(
    x: Events | Tensor, weight: Tensor | SparseWeight, backend: str | None = None, *, check_finite: bool = False
) -> Tensor:
    """The product of a batch of spike trains with a weight matrix, at the cost of its events.

    Arguments:
        x: Events (T, B, in), or a dense (T, B, in) whose zeros are skipped when they are most of it.
        weight: (in, out); row n is the fan-out of input n. A `SparseWeight` costs only the synapses that it has.
        backend: "reference", "numba", "triton"; `None` follows `set_backend` and the device.
        check_finite: look for NaN and infinity in input, output and gradients; they wait for a GPU.

    Returns:
        (T, B, out) in the dtype of `weight`.

    Raises:
        ValueError: naming the argument that does not fit, or, on a CPU, a weight that is not finite.
        TypeError: naming the argument that is no tensor.
        FloatingPointError: with `check_finite`, naming the step, sample and neuron where a result is not finite.
    """
    if not isinstance(x, (Tensor, Events)):
        raise TypeError(f"x: expected Events or a tensor, got {type(x).__name__}")
    if isinstance(x, Tensor) and x.is_complex():
        raise ValueError(f"x: expected real numbers, got {x.dtype}")
    if len(x.shape) != 3:
        raise ValueError(f"x: expected (T, B, in), got {tuple(x.shape)}")
    check_layout("weight", weight)
    floating("weight", weight, x.device)
    if weight.ndim != 2 or weight.shape[0] != x.shape[2]:
        raise ValueError(f"weight: expected (in={x.shape[2]}, out), got {tuple(weight.shape)}")
    if check_finite:
        finite.demand("x", x, *finite.INPUTS)
        x, weight = finite.watched("x", x, *finite.INPUTS), watched_weight("weight", weight)
        out: Tensor = finite.watched("output", event_linear(x, weight, backend), *finite.NEURONS)
        finite.demand("output", out, *finite.NEURONS, error=FloatingPointError)
        return out
    if isinstance(weight, SparseWeight):
        return sparse_linear(x, weight, backend)
    name = resolve(backend, weight.device)
    if isinstance(x, Tensor):
        x = x.to(weight.dtype)
    if name == "reference":
        if not torch.compiler.is_compiling():
            finite.weights(weight=weight)
        return reference.event_linear(x, weight)
    T, B, inputs = x.shape
    storage = weight.dtype
    if name == "numba" and storage != torch.float64:  # NumPy has no bfloat16
        weight = weight.to(torch.float32)
    if isinstance(x, Events):
        out = torch.ops.spiking.event_linear(x.indptr, x.index, x.value, weight, T * B, name)
    else:
        flat = x.to(weight.dtype).reshape(T * B, inputs)
        out, _, _, _, _ = torch.ops.spiking.dense_linear(flat, weight, name)
    return out.view(T, B, weight.shape[1]).to(storage)


def _kernels(backend: str) -> ModuleType:
    if backend == "triton":
        from spiking.kernels.event_linear import gpu

        return gpu
    from spiking.kernels.event_linear import cpu

    return cpu


@torch.library.custom_op("spiking::event_linear", mutates_args=())
def _events(
    indptr: Tensor, index: Tensor, value: Tensor | None, weight: Tensor, rows: int, backend: str
) -> Tensor:
    """(rows, out) from events and a matrix."""
    finite.weights(weight=weight)
    result: Tensor = _kernels(backend).forward(indptr, index, value, weight, rows)
    return result


@_events.register_fake
def _(indptr: Tensor, index: Tensor, value: Tensor | None, weight: Tensor, rows: int, backend: str) -> Tensor:
    return weight.new_empty(rows, weight.shape[1])


@torch.library.custom_op("spiking::event_linear_backward", mutates_args=())
def _weight_gradient(
    indptr: Tensor, index: Tensor, value: Tensor | None, kept: Tensor | None, grad: Tensor, inputs: int, backend: str
) -> Tensor:
    """(inputs, out): from `kept`, the dense x, if that has rows, else from the events."""
    if kept is not None and kept.shape[0]:
        return kept.t() @ grad
    result: Tensor = _kernels(backend).backward(indptr, index, value, grad.contiguous(), inputs)
    return result


@_weight_gradient.register_fake
def _(
    indptr: Tensor, index: Tensor, value: Tensor | None, kept: Tensor | None, grad: Tensor, inputs: int, backend: str
) -> Tensor:
    return grad.new_empty(inputs, grad.shape[1])


@torch.library.custom_op("spiking::dense_linear", mutates_args=())
def _dense(x: Tensor, weight: Tensor, backend: str) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """x W for (rows, in), and for the backward pass the events of x, or x itself where it is too dense for them."""
    finite.weights(weight=weight)
    events = compress(x, DENSITY, backend)
    if events is None:
        none = torch.empty(0, dtype=torch.int64, device=x.device)
        return x @ weight, none, none.to(torch.int32), x.new_empty(0), x.clone()
    indptr, index, value = events
    given = value if value.numel() else None
    out: Tensor = _kernels(backend).forward(indptr, index, given, weight, x.shape[0])
    return out, indptr, index, value, x.new_empty(0, x.shape[1])


@_dense.register_fake
def _(x: Tensor, weight: Tensor, backend: str) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    sizes = [torch.library.get_ctx().new_dynamic_size() for _ in range(4)]
    return (
        x.new_empty(x.shape[0], weight.shape[1]),
        x.new_empty(sizes[0], dtype=torch.int64),
        x.new_empty(sizes[1], dtype=torch.int32),
        x.new_empty(sizes[2]),
        x.new_empty(sizes[3], x.shape[1]),
    )


def compress(x: Tensor, limit: float, backend: str) -> tuple[Tensor, Tensor, Tensor] | None:
    """The events of a dense (rows, in) on any device, or None if more than `limit` of it is not 0.

    Returns:
        indptr (rows + 1,), index (nnz,), value (nnz,), on a CPU (0,) where every event counts 1.
    """
    if backend == "numba":
        from spiking.kernels.event_linear import cpu

        return cpu.compress(x, limit)
    if int(torch.count_nonzero(x)) > limit * x.numel():
        return None
    row, index = x.nonzero(as_tuple=True)
    indptr = torch.zeros(x.shape[0] + 1, dtype=torch.int64, device=x.device)
    indptr[1:] = torch.bincount(row, minlength=x.shape[0]).cumsum(0)
    return indptr, index.to(torch.int32), x[row, index]


def _keep_events(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    indptr, index, value, weight, _, ctx.backend = inputs
    ctx.save_for_backward(indptr, index, value)
    ctx.inputs = weight.shape[0]


def _differentiate_events(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    indptr, index, value = ctx.saved_tensors
    dw = torch.ops.spiking.event_linear_backward(indptr, index, value, None, grad, ctx.inputs, ctx.backend)
    return None, None, None, dw, None, None


def _keep_dense(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, weight, ctx.backend = inputs
    ctx.save_for_backward(weight, *output[1:])


def _differentiate_dense(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    weight, indptr, index, value, kept = ctx.saved_tensors
    dx = grad @ weight.t() if ctx.needs_input_grad[0] else None
    dw = None
    if ctx.needs_input_grad[1]:
        dw = torch.ops.spiking.event_linear_backward(
            indptr, index, value, kept, grad, weight.shape[0], ctx.backend
        )
    return dx, dw, None


torch.library.register_autograd("spiking::event_linear", _differentiate_events, setup_context=_keep_events)
torch.library.register_autograd("spiking::dense_linear", _differentiate_dense, setup_context=_keep_dense)
