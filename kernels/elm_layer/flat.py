"""The flat ops `torch.ops.spiking.elm_layer` and `elm_layer_backward`: tensors and numbers only, for autograd.

op.py gives the equations. The gradient of a step needs that of the step after,

    ga = g_a + gz' R^T            gu = ga out'(u)           gr = g_r + k gr' - gu          gp = gu + (1 - k) gr
    gm = g_m + kappa (gm' + gz' W_m^T)' + gp w_y            gc = gm gamma ctanh'           gz = (gc W_u^T) act'(z)

(primes: the step after), and that is all that runs step by step; the weights' gradients are products over all steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import relu

from spiking.kernels.elm.rule import SATURATION, SLOPE
from spiking.kernels.elm_layer import cpu
from spiking.kernels.surrogate.reference import KINDS, Surrogate, derivative

ACTIVATIONS = ("relu_squared", "relu", "silu")  # the kernels know them by their place
OUTPUTS = ("relu", "identity", "spike")


@torch.library.custom_op("spiking::elm_layer", mutates_args=())
def _forward(
    drive: Tensor, memory: Tensor, slow: Tensor, activity: Tensor, into: Tensor, hidden_bias: Tensor, update: Tensor,
    update_bias: Tensor, decay: Tensor, gain: Tensor, read: Tensor, bias: Tensor, k: Tensor, recurrent: Tensor | None,
    lengths: Tensor | None, flags: list[float],
) -> tuple[Tensor, Tensor, Tensor]:
    """a (T, B, N), m (T, B, N, d) and r (T, B, N)."""
    given = (drive, memory, slow, activity, into, hidden_bias, update, update_bias, decay, gain, read, bias, k)
    rows = [x.detach().contiguous() for x in given]
    R = None if recurrent is None else recurrent.detach().contiguous()
    a, m, r = cpu.forward(rows, R, lengths, int(flags[0]), int(flags[1]))
    return a, m, r


@_forward.register_fake
def _(drive: Tensor, memory: Tensor, slow: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    T, (B, N, d) = drive.shape[0], memory.shape
    return drive.new_empty(T, B, N), drive.new_empty(T, B, N, d), drive.new_empty(T, B, N)


@torch.library.custom_op("spiking::elm_layer_backward", mutates_args=())
def _backward(
    grads: list[Tensor], slopes: list[Tensor], into: Tensor, update: Tensor, decay: Tensor, gain: Tensor, read: Tensor,
    k: Tensor, recurrent: Tensor | None, lengths: Tensor | None,
) -> list[Tensor]:
    """gz (T, B, N, h), gc and gm (T, B, N, d), gu, gp and gr (T, B, N); then those of the first state."""
    R = None if recurrent is None else recurrent.contiguous()
    weights = [x.contiguous() for x in (into, update, decay, gain, read, k)]
    return cpu.backward([g.contiguous() for g in grads], [s.contiguous() for s in slopes], weights, R, lengths)


@_backward.register_fake
def _(grads: list[Tensor], slopes: list[Tensor], *rest: Any) -> list[Tensor]:
    a, m = grads[0], grads[1]
    like = [slopes[0], m, m, a, a, a]
    return [torch.empty_like(x) for x in like] + [x.new_empty(x.shape[1:]) for x in (m, a, a)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *given, ctx.flags = inputs
    ctx.save_for_backward(*given, *output)


def _differentiate(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    *given, a, m, r = ctx.saved_tensors
    drive, m0, r0, a0, into, hidden_bias, update, update_bias, decay, gain, read, bias, k, recurrent, lengths = given
    before = [torch.cat([first[None], later])[:-1] for first, later in ((m0, m), (r0, r), (a0, a))]
    old = decay * before[0]
    z = drive + hidden_bias + torch.einsum("tbnd,ndh->tbnh", old, into)
    if recurrent is not None:
        z = z + torch.einsum("tbs,snh->tbnh", before[2], recurrent)
    hidden, bend = _act(z, ACTIVATIONS[int(ctx.flags[0])])
    level = torch.tanh(SLOPE * (torch.einsum("tbnh,nhd->tbnd", hidden, update) + update_bias))
    p = (m * read).sum(3)
    slopes = [bend, SATURATION * SLOPE * (1 - level.square()), _slope(p - r + bias, ctx.flags)]
    whole = [torch.zeros_like(x) if g is None else g for g, x in zip(grads, (a, m, r), strict=True)]
    gz, gc, gm, gu, gp, gr, gm0, gr0, ga0 = torch.ops.spiking.elm_layer_backward(
        whole, slopes, into, update, decay, gain, read, k, recurrent, lengths
    )
    both = gm + torch.einsum("tbnh,ndh->tbnd", gz, into)
    return (
        gz, gm0, gr0, ga0,
        torch.einsum("tbnd,tbnh->ndh", old, gz), gz.sum((0, 1)),
        torch.einsum("tbnh,tbnd->nhd", hidden, gc), gc.sum((0, 1)),
        (both * before[0]).sum((0, 1)), (gm * SATURATION * level).sum((0, 1)),
        (gp[..., None] * m).sum((0, 1)), gu.sum((0, 1)), (gr * (before[1] - p)).sum().reshape(1),
        None if recurrent is None else torch.einsum("tbs,tbnh->snh", before[2], gz), None, None,
    )  # fmt: skip


def _act(z: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """The hidden layer and its derivative."""
    if activation == "silu":
        s = torch.sigmoid(z)
        return z * s, s * (1 + z * (1 - s))
    if activation == "relu":
        return relu(z), (z > 0).to(z.dtype)
    return relu(z).square(), 2 * relu(z)


def _slope(u: Tensor, flags: list[float]) -> Tensor:
    """out'(u)."""
    output = OUTPUTS[int(flags[1])]
    if output == "relu":
        return (u > 0).to(u.dtype)
    if output == "identity":
        return torch.ones_like(u)
    return derivative(Surrogate(KINDS[int(flags[2])], *flags[3:]), u)


torch.library.register_autograd("spiking::elm_layer", _differentiate, setup_context=_keep)
