"""y[t, b, n, oy, ox] = bias[n] + sum over the events (c, y, x, v) of step t in sample b of v * W[c, ky, kx, n], with
oy * stride = y + padding - ky * dilation and the same for x: each event adds its patch of the kernel.

This is torch's conv2d of the frames that the events make, without the frames. The patch of an input channel over the
output channels lies together, (kh, kw, out), which is what an event reads; `from_torch` and `to_torch` change between
that and torch's layout. As in `event_linear`, Events carry no gradient; the weight's is the same sum the other way,
dW[c, ky, kx] = sum over the events of v * dy[t, b, :, oy, ox].
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from spiking.events import Events, Sensor
from spiking.kernels import finite
from spiking.kernels.arguments import floating
from spiking.kernels.backend import resolve
from spiking.kernels.event_conv import reference
from spiking.kernels.event_conv.layout import Axis, Geometry, geometry

Pair = int | tuple[int, int]


def event_conv(
    x: Events,
    weight: Tensor,
    sensor: Sensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    bias: Tensor | None = None,
    *,
    dilation: Pair = 1,
    groups: int = 1,
    backend: str | None = None,
) -> Tensor:
    """The convolution of a batch of camera recordings, at the cost of their events.

    Arguments:
        x: Events (T, B, P*H*W).
        weight: (P, kh, kw, out / groups), in which channel c of group g reaches the outputs of that group.
        sensor: (W, H, P), whose channel (p*H + y)*W + x is [p, y, x]; `None` takes that of the Events.
        stride, padding, dilation: in pixels, one number or (down, across), as in `torch.nn.functional.conv2d`.
        bias: (out,), added in all steps inside the recordings.
        groups: into which input and output channels are parted.
        backend: "reference", "numba", "triton"; `None` follows `set_backend` and the device.

    Returns:
        (T, B, out, H', W') in the dtype of `weight`, 0 outside the recordings.

    Raises:
        ValueError: naming the argument that does not fit, or, on a CPU, a weight that is not finite.
        TypeError: if x is not Events, or weight no tensor.
    """
    shape = _shape(x, weight, sensor, stride, padding, dilation, groups)
    name = resolve(backend, weight.device)
    storage, (T, B, _), out = weight.dtype, x.shape, weight.shape[3] * groups
    if bias is not None:
        floating("bias", bias, x.device)
    if bias is not None and (bias.shape != (out,) or bias.dtype != storage):
        raise ValueError(f"bias: expected ({out},), {storage} as weight, got {tuple(bias.shape)}, {bias.dtype}")
    if name == "reference":
        if not torch.compiler.is_compiling():
            _demand(weight)
        y = reference.event_conv(x, weight, shape)
    else:
        if name == "numba" and storage != torch.float64:  # NumPy has no bfloat16
            weight = weight.to(torch.float32)
        y = torch.ops.spiking.event_conv(x.indptr, x.index, x.value, weight, shape.as_list(), name)
    y = y.view(T, B, *y.shape[1:])
    if bias is not None:
        y = y + bias.to(y.dtype)[:, None, None] * x.valid()[:, :, None, None, None]
    return y.to(storage)


def _shape(
    x: Events, weight: Tensor, sensor: Sensor | None, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Geometry:
    if not isinstance(x, Events):
        raise TypeError(f"x: expected Events, got {type(x).__name__}")
    floating("weight", weight, x.device)
    if sensor is None and x.sensor is None:
        raise ValueError("sensor: expected (W, H, P), which these Events do not bring, got None")
    given = x.sensor if sensor is None else sensor
    if not isinstance(given, (tuple, list)) or len(given) != 3 or not all(_whole(n) for n in given):
        raise ValueError(f"sensor: expected three whole numbers (W, H, P), got {given!r}")
    W, H, P = given
    sensor = W, H, P
    if x.sensor is not None and x.sensor != sensor:
        raise ValueError(f"sensor: expected (W, H, P) = {x.sensor} of the Events, got {sensor}")
    if W * H * P != x.shape[2] or min(W, H, P) < 1:
        raise ValueError(f"sensor: expected (W, H, P) of {x.shape[2]} channels, got {sensor} of {W * H * P}")
    if not _whole(groups) or groups < 1 or P % groups:
        raise ValueError(f"groups: expected a whole number that divides the P = {P} input channels, got {groups!r}")
    if weight.ndim != 4 or weight.shape[0] != P or 0 in weight.shape:
        raise ValueError(f"weight: expected (P={P}, kh, kw, out / groups), got {tuple(weight.shape)}")
    steps = _pair("stride", stride, 1), _pair("padding", padding, 0), _pair("dilation", dilation, 1)
    down, across = zip(*steps, strict=True)
    shape = Geometry(Axis(H, weight.shape[1], *down), Axis(W, weight.shape[2], *across), P, groups)
    if shape.rows.out < 1 or shape.columns.out < 1:
        raise ValueError(
            f"weight: its kernel of {tuple(weight.shape[1:3])} taps with dilation {steps[2]} does not fit into "
            f"(H, W) = ({H}, {W}) pixels with padding {steps[1]}"
        )
    return shape


def _whole(n: object) -> bool:
    return isinstance(n, int) and not isinstance(n, bool)


def _pair(name: str, given: Pair, least: int) -> tuple[int, int]:
    pair = (given, given) if isinstance(given, int) else given
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(
        _whole(n) and n >= least for n in pair
    ):
        raise ValueError(f"{name}: expected a whole number of {least} or more, or two of them, got {given!r}")
    return pair[0], pair[1]


def _demand(weight: Tensor) -> None:
    """Refuse weights that are not finite, where looking costs no wait."""
    if weight.device.type == "cpu":
        finite.demand("weight", weight, "channel", "row", "column", "output")


def _kernels(backend: str) -> ModuleType:
    if backend == "triton":
        from spiking.kernels.event_conv import gpu

        return gpu
    from spiking.kernels.event_conv import cpu

    return cpu


@torch.library.custom_op("spiking::event_conv", mutates_args=())
def _op(
    indptr: Tensor, index: Tensor, value: Tensor | None, weight: Tensor, shape: list[int], backend: str
) -> Tensor:
    """(frames, out, H', W') from the events of frames."""
    _demand(weight)
    result: Tensor = _kernels(backend).forward(indptr, index, value, weight, geometry(shape))
    return result


@_op.register_fake
def _(
    indptr: Tensor, index: Tensor, value: Tensor | None, weight: Tensor, shape: list[int], backend: str
) -> Tensor:
    rows, columns, _, groups = geometry(shape)
    return weight.new_empty(indptr.shape[0] - 1, groups * weight.shape[3], rows.out, columns.out)


@torch.library.custom_op("spiking::event_conv_backward", mutates_args=())
def _weight_gradient(
    indptr: Tensor, index: Tensor, value: Tensor | None, grad: Tensor, shape: list[int], backend: str
) -> Tensor:
    """(in, kh, kw, out / groups) from the gradient of (frames, out, H', W')."""
    result: Tensor = _kernels(backend).backward(indptr, index, value, grad.contiguous(), geometry(shape))
    return result


@_weight_gradient.register_fake
def _(
    indptr: Tensor, index: Tensor, value: Tensor | None, grad: Tensor, shape: list[int], backend: str
) -> Tensor:
    rows, columns, planes, groups = geometry(shape)
    return grad.new_empty(planes, rows.kernel, columns.kernel, grad.shape[1] // groups)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    indptr, index, value, _, ctx.shape, ctx.backend = inputs
    ctx.save_for_backward(indptr, index, value)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    dw = torch.ops.spiking.event_conv_backward(*ctx.saved_tensors, grad, ctx.shape, ctx.backend)
    return None, None, None, dw, None, None


torch.library.register_autograd("spiking::event_conv", _differentiate, setup_context=_keep)
