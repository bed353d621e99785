"""y[o] = V_th * sum over g of scale[o, g] * (sum over i in group g of s[i] w[o, i]) + bias[o]: spike counts times int8.

The adaptive code of SpikingBrain (Pan et al. 2025, arXiv 2509.05276, equations 19 to 23) turns each token's activations
into whole numbers, the counts of the spikes that an integrate-and-fire neuron without a leak would send:

    V_th = mean |x| / k, kept within 1e-5 and 1e4        s[i] = round(x[i] / V_th), halves to even

Weights are whole numbers as well (packed.py), so the sums within a group are exact, whatever order they are taken in;
the groups' sums are added in float32, in the order of the groups. Three modes take the same sums: "int" multiplies
every channel (for many tokens), "event" skips channels that are silent (for one), "expand" goes through the bits of
|s|, planes of spikes -1, 0 and 1 worth 2^b each. The result has the same bits in all modes, on any number of threads.

Counts beyond +-127 do not fit the int8 of dot products. They are rare, and sum |s| is k times the channels at most, so
"exact" adds such a channel's row several times; "clip" cuts them off.

Backward, rounding is passed straight through: dx = dy W; the packed weight is constant.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from spiking.kernels.backend import resolve
from spiking.kernels.spike_linear import reference
from spiking.kernels.spike_linear.packed import PackedWeight
from spiking.kernels.spike_linear.reference import CLIP, LIMIT

MODES = ("int", "event", "expand")


def spike_linear(
    x: Tensor, packed: PackedWeight, k: float = 3.0, bias: Tensor | None = None, mode: str = "auto",
    saturation: str = "exact", threshold: Tensor | None = None, backend: str | None = None,
) -> Tensor:  # fmt: skip
    """The product of each token's spike counts with a packed weight; a drop-in for `linear(x, weight, bias)`.

    Arguments:
        x: (..., in) activations, which are encoded; or, with `threshold`, whole numbers: the counts.
        packed: weight (out, in), from `pack`.
        k: spikes a channel on average.
        bias: (out,).
        mode: "int", "event", "expand"; "auto" is "event" for one token and "int" for several.
        saturation: "exact" keeps counts beyond +-127, "clip" cuts them off there.
        threshold: (..., 1) what a count is worth, for x of counts.
        backend: "reference", "numba", "triton"; `None` follows `set_backend` and the device.

    Returns:
        (..., out) in the dtype of x, or float32 for counts. On GPUs a token with numbers that are not finite gives NaN.

    Raises:
        ValueError: if an argument does not fit, or, on CPUs, if x is not finite or has counts beyond 2^22 in sum.
    """
    flat = _tokens("x", x, packed, integers=threshold is not None)
    if bias is not None:
        if bias.shape != (packed.shape[0],):
            raise ValueError(f"bias: expected ({packed.shape[0]},), got {tuple(bias.shape)}")
        bias = bias.to(torch.float32)
    if not k > 0:
        raise ValueError(f"k: expected a positive number, got {k}")
    if saturation not in ("exact", "clip"):
        raise ValueError(f"saturation: expected exact or clip, got {saturation!r}")
    name, mode = resolve(backend, x.device), _mode(mode, len(flat))
    weight = packed.codes, packed.scales, *packed.shape, packed.group
    shape = (*x.shape[:-1], packed.shape[0])
    if threshold is None:
        if name == "numba" and type(x) is Tensor and not torch.compiler.is_compiling() and not _differentiated(x, bias):
            return _product(flat, bias, packed, k, mode, saturation == "exact", name).to(x.dtype).view(shape)
        y = torch.ops.spiking.spike_linear(flat, bias, *weight, k, mode, saturation == "exact", name)
        return y.to(x.dtype).view(shape)
    if threshold.shape != (*x.shape[:-1], 1):
        raise ValueError(f"threshold: expected {(*x.shape[:-1], 1)}, got {tuple(threshold.shape)}")
    if saturation == "clip":
        flat = flat.clamp(-CLIP, CLIP)
    worth = threshold.reshape(-1, 1).to(torch.float32)
    return torch.ops.spiking.count_linear(flat, worth, bias, *weight, mode, name).view(shape)


def encode(x: Tensor, k: float = 3.0, backend: str | None = None) -> tuple[Tensor, Tensor]:
    """The counts and the threshold of each token, as `spike_linear` encodes it.

    Arguments:
        x: (..., in).
        k: spikes a channel on average.
        backend: as for `spike_linear`.

    Returns:
        s (..., in) int32 and V_th (..., 1) float32.

    Raises:
        ValueError: as for `spike_linear`.
    """
    if not x.ndim or not x.shape[-1] or not x.dtype.is_floating_point:
        raise ValueError(f"x: expected floating (..., in), got {x.dtype} {tuple(x.shape)}")
    if not k > 0:
        raise ValueError(f"k: expected a positive number, got {k}")
    flat = x.detach().reshape(-1, x.shape[-1]).to(torch.float32)
    counts, threshold = torch.ops.spiking.spike_encode(flat, k, resolve(backend, x.device))
    return counts.view(x.shape), threshold.view(*x.shape[:-1], 1)


def partial_sums(counts: Tensor, packed: PackedWeight, mode: str = "auto", backend: str | None = None) -> Tensor:
    """The sums within the groups, which all modes and backends have in common to the last bit.

    Arguments:
        counts: (..., in) whole numbers.
        packed: weight (out, in).
        mode, backend: as for `spike_linear`.

    Returns:
        (..., out, groups) int32.

    Raises:
        ValueError: as for `spike_linear`.
    """
    flat = _tokens("counts", counts, packed, integers=True)
    weight = packed.codes, packed.scales, *packed.shape, packed.group
    sums = torch.ops.spiking.spike_sums(flat, *weight, _mode(mode, len(flat)), resolve(backend, counts.device))
    return sums.view(*counts.shape[:-1], packed.groups, packed.shape[0]).transpose(-1, -2)


def _tokens(name: str, x: Tensor, packed: PackedWeight, integers: bool) -> Tensor:
    if not x.ndim or x.shape[-1] != packed.shape[1]:
        raise ValueError(f"{name}: expected (..., in={packed.shape[1]}), got {tuple(x.shape)}")
    if x.dtype.is_complex or x.dtype == torch.bool or x.dtype.is_floating_point == integers:
        kind = "whole numbers" if integers else "floating numbers, or counts with their threshold"
        raise ValueError(f"{name}: expected {kind}, got {x.dtype}")
    if x.device != packed.device:
        raise ValueError(f"{name}: expected a tensor on {packed.device}, where the weight is, got {x.device}")
    flat = x.reshape(-1, x.shape[-1])
    if x.dtype == torch.int64:
        flat = flat.clamp(-LIMIT - 1, LIMIT + 1)  # what is too large for 32 bits stays too large
    return flat.to(torch.int32 if integers else torch.float32)


def _mode(mode: str, tokens: int) -> str:
    if mode == "auto":
        return "event" if tokens == 1 else "int"
    if mode not in MODES:
        raise ValueError(f"mode: expected auto, {', '.join(MODES)}, got {mode!r}")
    return mode


def _kernels(backend: str) -> ModuleType:
    if backend == "numba":
        from spiking.kernels.spike_linear import cpu

        return cpu
    if backend == "triton":
        from spiking.kernels.spike_linear import gpu

        return gpu
    return reference


def _check(x: Tensor, threshold: Tensor) -> None:
    """Refuse tokens whose threshold is NaN; a GPU is not waited for."""
    if threshold.device.type == "cpu" and math.isnan(threshold.sum().item()):
        token = int(threshold.isnan().view(-1).to(torch.uint8).argmax())
        row = x[token]
        if row.isfinite().all():
            raise ValueError(f"x: expected a sum of |counts| of at most {LIMIT}, got more in token {token}")
        channel = int(row.isfinite().to(torch.uint8).argmin())
        raise ValueError(f"x: expected finite numbers, got {row[channel]} in token {token}, channel {channel}")


def _check_counts(counts: Tensor) -> None:
    if counts.device.type == "cpu" and counts.numel():
        total, token = counts.abs().sum(1).max(0)
        if total > LIMIT:
            raise ValueError(f"counts: expected a sum of |counts| of at most {LIMIT}, got {total} in token {token}")


@torch.library.custom_op("spiking::spike_encode", mutates_args=())
def _encode(x: Tensor, k: float, backend: str) -> tuple[Tensor, Tensor]:
    """Counts (tokens, in) and thresholds (tokens, 1)."""
    counts, threshold = _kernels(backend).encode(x, k)
    _check(x, threshold)
    return counts, threshold


@_encode.register_fake
def _(x: Tensor, k: float, backend: str) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape, dtype=torch.int32), x.new_empty(len(x), 1)


def _differentiated(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)


def _product(
    x: Tensor, bias: Tensor | None, packed: PackedWeight, k: float, mode: str, exact: bool, backend: str
) -> Tensor:
    """What the op computes; called by itself where nothing is differentiated: dispatching takes as long on a CPU."""
    kernels, result = _kernels(backend), x
    if backend == "numba" and mode == "event" and len(x) == 1:
        result, threshold = kernels.token(x, k, exact, packed, bias)
        _check(x, threshold)
        return result
    counts, threshold = kernels.encode(x, k)
    _check(x, threshold)
    if not exact:
        counts = counts.clamp(-CLIP, CLIP)
    result = kernels.linear(counts, threshold, packed, bias, mode)
    return result


@torch.library.custom_op("spiking::spike_linear", mutates_args=())
def _linear(
    x: Tensor, bias: Tensor | None, codes: Tensor, scales: Tensor, out: int, inputs: int, group: int,
    k: float, mode: str, exact: bool, backend: str,
) -> Tensor:  # fmt: skip
    """(tokens, out) from activations."""
    return _product(x, bias, PackedWeight(codes, scales, (out, inputs), group), k, mode, exact, backend)


@_linear.register_fake
def _(
    x: Tensor, bias: Tensor | None, codes: Tensor, scales: Tensor, out: int, inputs: int, group: int,
    k: float, mode: str, exact: bool, backend: str,
) -> Tensor:  # fmt: skip
    return x.new_empty(len(x), out)


@torch.library.custom_op("spiking::count_linear", mutates_args=())
def _count_linear(
    counts: Tensor, threshold: Tensor, bias: Tensor | None, codes: Tensor, scales: Tensor, out: int, inputs: int,
    group: int, mode: str, backend: str,
) -> Tensor:  # fmt: skip
    """(tokens, out) from counts."""
    _check_counts(counts)
    packed = PackedWeight(codes, scales, (out, inputs), group)
    result: Tensor = _kernels(backend).linear(counts, threshold, packed, bias, mode)
    return result


@_count_linear.register_fake
def _(
    counts: Tensor, threshold: Tensor, bias: Tensor | None, codes: Tensor, scales: Tensor, out: int, inputs: int,
    group: int, mode: str, backend: str,
) -> Tensor:  # fmt: skip
    return threshold.new_empty(len(counts), out)


@torch.library.custom_op("spiking::spike_sums", mutates_args=())
def _sums(
    counts: Tensor, codes: Tensor, scales: Tensor, out: int, inputs: int, group: int, mode: str, backend: str
) -> Tensor:
    """(tokens, groups, out) int32."""
    _check_counts(counts)
    packed = PackedWeight(codes, scales, (out, inputs), group)
    result: Tensor = _kernels(backend).sums(counts, packed, mode)
    return result


@_sums.register_fake
def _(
    counts: Tensor, codes: Tensor, scales: Tensor, out: int, inputs: int, group: int, mode: str, backend: str
) -> Tensor:
    return counts.new_empty(len(counts), -(-inputs // group), out)


@torch.library.custom_op("spiking::spike_linear_backward", mutates_args=())
def _input_gradient(grad: Tensor, codes: Tensor, scales: Tensor, out: int, inputs: int, group: int) -> Tensor:
    """(tokens, in) from the gradient of (tokens, out)."""
    return reference.input_gradient(grad, PackedWeight(codes, scales, (out, inputs), group))


@_input_gradient.register_fake
def _(grad: Tensor, codes: Tensor, scales: Tensor, out: int, inputs: int, group: int) -> Tensor:
    return grad.new_empty(len(grad), inputs)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, _, codes, scales, *ctx.sizes = inputs[:7]
    ctx.save_for_backward(codes, scales)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    codes, scales = ctx.saved_tensors
    dx = torch.ops.spiking.spike_linear_backward(grad, codes, scales, *ctx.sizes) if ctx.needs_input_grad[0] else None
    return dx, grad.sum(0) if ctx.needs_input_grad[1] else None, *(None,) * 9


torch.library.register_autograd("spiking::spike_linear", _differentiate, setup_context=_keep)
