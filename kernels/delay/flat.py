"""The ops of delays as PyTorch's library knows them: tensors and numbers in and out, with fakes and gradients."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from spiking.kernels.delay.window import APART
from spiking.kernels.event_linear.op import compress

# Where the events of a window of all positions and a matrix product for each cost the same on a CPU, forward and
# backward, for 140 inputs, 26 positions, 256 outputs: as in event_linear.
DENSITY = 0.1


@torch.library.custom_op("spiking::delay_checked", mutates_args=())
def checked(delay: Tensor, weight: Tensor, lengths: Tensor | None, last: int, longest: int, T: int) -> Tensor:
    """The delays, once all numbers are seen to be in their range; an op, so that compiled graphs look, too."""
    low, high = (float(x) for x in delay.aminmax()) if delay.numel() else (0.0, 0.0)
    got = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    if not (low >= 0 and high <= last * (1 + 1e-6)):  # a conversion from ms rounds
        raise ValueError(f"delay: expected finite numbers of steps, 0 to {last} (max_delay), got {got}")
    if high > longest:
        raise ValueError(
            f"delay: expected no more than the {T} steps of the recording, got {got}; a recording that comes in parts "
            "needs a state, zeros for its first part"
        )
    if not bool(weight.isfinite().all()):
        raise ValueError("weight: expected finite numbers, got NaN or infinity")
    if lengths is not None and lengths.numel() and not 0 <= int(lengths.min()) <= int(lengths.max()) <= T:
        raise ValueError(f"lengths: expected 0 to {T} steps, got {lengths.tolist()}")
    return delay.clone()


@checked.register_fake
def _(delay: Tensor, weight: Tensor, lengths: Tensor | None, last: int, longest: int, T: int) -> Tensor:
    return torch.empty_like(delay)


def _kernels(backend: str) -> ModuleType:
    if backend == "triton":
        from spiking.kernels.delay import gpu

        return gpu
    from spiking.kernels.delay import cpu

    return cpu


@torch.library.custom_op("spiking::delay_events", mutates_args=())
def events(
    indptr: Tensor, index: Tensor, value: Tensor | None, taps: Tensor, first: Tensor, T: int, B: int, last: int,
    backend: str,
) -> Tensor:
    """What events bring, at the step where it arrives, (T + last, B, out)."""
    result: Tensor = _kernels(backend).forward(indptr, index, value, taps.detach().contiguous(), first, T, B, last)
    return result


@events.register_fake
def _(
    indptr: Tensor, index: Tensor, value: Tensor | None, taps: Tensor, first: Tensor, T: int, B: int, last: int,
    backend: str,
) -> Tensor:
    return taps.new_empty(T + last, B, taps.shape[2])


@torch.library.custom_op("spiking::delay_backward", mutates_args=())
def _taps_gradient(
    indptr: Tensor, index: Tensor, value: Tensor | None, kept: Tensor | None, grad: Tensor, first: Tensor, K: int,
    last: int, backend: str,
) -> Tensor:
    """(in, K, out): from `kept`, the dense x, if that has channels, else from the events."""
    T = grad.shape[0] - last
    grad = grad.contiguous()
    if kept is None or not kept.numel():
        given = value if value is not None and value.numel() else None
        result: Tensor = _kernels(backend).backward(indptr, index, given, grad, first, T, K)
        return result
    rows = kept.flatten(0, 1).t()
    everywhere = torch.stack([rows @ grad[p : p + T].flatten(0, 1) for p in range(last + 1)], 1)
    return everywhere.gather(1, _places(first, K, grad.shape[2]))


@_taps_gradient.register_fake
def _(
    indptr: Tensor, index: Tensor, value: Tensor | None, kept: Tensor | None, grad: Tensor, first: Tensor, K: int,
    last: int, backend: str,
) -> Tensor:
    return grad.new_empty(first.shape[0], K, grad.shape[2])


@torch.library.custom_op("spiking::delay_dense", mutates_args=())
def dense(
    x: Tensor, taps: Tensor, first: Tensor, last: int, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The same for (T, B, in), and for the backward pass the events of x, or x itself where they would cost more."""
    T, B, inputs = x.shape
    cost = taps.shape[1] / (last + 1) * (1 if first.shape[1] == 1 else APART)
    limit = DENSITY / cost
    found = compress(x.reshape(T * B, inputs), limit, backend)
    if found is None:
        none = torch.empty(0, dtype=torch.int64, device=x.device)
        out = taps.new_zeros(T + last, B, taps.shape[2])
        for p, kernel in enumerate(_spread(taps, first, last)):
            out[p : p + T] += x @ kernel
        return out, none, none.to(torch.int32), x.new_empty(0), x.clone()
    indptr, index, value = found
    given = value if value.numel() else None
    out = _kernels(backend).forward(indptr, index, given, taps.detach().contiguous(), first, T, B, last)
    return out, indptr, index, value, x.new_empty(T, B, 0)


@dense.register_fake
def _(
    x: Tensor, taps: Tensor, first: Tensor, last: int, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    sizes = [torch.library.get_ctx().new_dynamic_size() for _ in range(4)]
    T, B, _ = x.shape
    return (
        x.new_empty(T + last, B, taps.shape[2]),
        x.new_empty(sizes[0], dtype=torch.int64),
        x.new_empty(sizes[1], dtype=torch.int32),
        x.new_empty(sizes[2]),
        x.new_empty(T, B, sizes[3]),
    )


@torch.library.custom_op("spiking::delay_input_gradient", mutates_args=())
def _input_gradient(grad: Tensor, taps: Tensor, first: Tensor, last: int) -> Tensor:
    """dx (T, B, in): the error at every position, through the tap that stands there."""
    T = grad.shape[0] - last
    out = grad.new_zeros(T, grad.shape[1], taps.shape[0])
    for p, kernel in enumerate(_spread(taps, first, last)):
        out += grad[p : p + T] @ kernel.t()
    return out


@_input_gradient.register_fake
def _(grad: Tensor, taps: Tensor, first: Tensor, last: int) -> Tensor:
    return grad.new_empty(grad.shape[0] - last, grad.shape[1], taps.shape[0])


def _places(first: Tensor, K: int, out: int) -> Tensor:
    """(in, K, out) int64, the position of each tap."""
    place = first.to(torch.int64)[:, None] + torch.arange(K, device=first.device)[:, None]
    return place.expand(-1, -1, out)


def _spread(taps: Tensor, first: Tensor, last: int) -> tuple[Tensor, ...]:
    """The taps at each position from 0 to last, (in, out) each, with zeros outside their window."""
    inputs, K, out = taps.shape
    if last + 1 == K:
        return taps.unbind(1)
    everywhere = taps.new_zeros(inputs, last + 1, out)
    return everywhere.scatter_(1, _places(first, K, out), taps.detach()).unbind(1)


def _keep_delay(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    pass


def _differentiate_delay(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return grad, None, None, None, None, None


def _keep_events(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    indptr, index, value, taps, first, _, _, ctx.last, ctx.backend = inputs
    ctx.save_for_backward(indptr, index, value, first)
    ctx.K = taps.shape[1]


def _differentiate_events(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    indptr, index, value, first = ctx.saved_tensors
    taps = torch.ops.spiking.delay_backward(indptr, index, value, None, grad, first, ctx.K, ctx.last, ctx.backend)
    return None, None, None, taps, None, None, None, None, None


def _keep_dense(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, taps, first, ctx.last, ctx.backend = inputs
    ctx.save_for_backward(taps, first, *output[1:])


def _differentiate_dense(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    taps, first, indptr, index, value, kept = ctx.saved_tensors
    dx = dtaps = None
    if ctx.needs_input_grad[0]:
        dx = torch.ops.spiking.delay_input_gradient(grad, taps, first, ctx.last)
    if ctx.needs_input_grad[1]:
        dtaps = torch.ops.spiking.delay_backward(
            indptr, index, value, kept, grad, first, taps.shape[1], ctx.last, ctx.backend
        )
    return dx, dtaps, None, None, None


torch.library.register_autograd("spiking::delay_checked", _differentiate_delay, setup_context=_keep_delay)
torch.library.register_autograd("spiking::delay_events", _differentiate_events, setup_context=_keep_events)
torch.library.register_autograd("spiking::delay_dense", _differentiate_dense, setup_context=_keep_dense)
