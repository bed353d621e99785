"""All steps at once: Newton's method on the whole recording, with a parallel scan for each of its linear systems.

    F_t(m) = m_t - f_t(m_{t-1}) = 0 for all t,        f_t the update of op.py, J_t = df_t/dm_{t-1}
    m_t <- f_t(n_{t-1}) + J_t (m_{t-1} - n_{t-1})     n the guess before; linear in m, so a scan over pairs (J, c)

Danieli et al. 2025, "ParaRNN: unlocking parallel training of nonlinear RNNs"; Lim et al. 2024, "Parallelizing
non-linear sequential models over the sequence length" (DEER). Each iteration makes at least one more step exact, so
that T of them always suffice; a guess is kept within the bounds of the memory, and where a product of Jacobians leaves
the range of its type the update alone stands. J_t is dense, (d, d): numbers grow as T B d (d + h), work as T B d^3.

Backward, the errors follow l_t = g_t + J_{t+1}^T l_{t+1}: one scan, without iterations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spiking.kernels.elm.reference import step
from spiking.kernels.elm.rule import ACTIVATIONS, MLP, SATURATION, SLOPE

ROUNDING = 16  # of the type's last place, below which a change ends the iterations


def scan(a: Tensor, c: Tensor) -> Tensor:
    """x_t = a_t x_{t-1} + c_t from x = 0: neighbours become one step of half as many, which are scanned alike.

    Arguments:
        a: (T, ..., d, d).
        c: (T, ..., d).

    Returns:
        (T, ..., d).
    """
    T = c.shape[0]
    if T < 2:
        return c
    pairs = T // 2 * 2
    first, second = a[0:pairs:2], a[1:pairs:2]
    odd = scan(second @ first, _apply(second, c[0:pairs:2]) + c[1:pairs:2])
    even = c[::2].clone()
    even[1:] += _apply(a[2::2], odd[: even.shape[0] - 1])
    out = torch.empty_like(c)
    out[::2], out[1::2] = even, odd
    return out


def filtered(x: Tensor, state: Tensor, leak: Tensor) -> Tensor:
    """I_t = leak I_{t-1} + x_t for all t, in log2 T passes; x (T, B, h), state (B, h), leak (1,)."""
    T = x.shape[0]
    power, reach = leak, 1
    while reach < T:
        x = torch.cat([x[:reach], x[reach:] + power * x[:-reach]])
        power, reach = power * power, 2 * reach
    return x + leak ** torch.arange(1, T + 1, device=x.device)[:, None, None] * state


def jacobian(current: Tensor, before: Tensor, mlp: MLP, decay: Tensor, gain: Tensor, activation: str) -> Tensor:
    """df_t/dm_{t-1} at the memories before each step, (T, B, d, d), row by row of f."""
    z = current + mlp.bias + (decay * before) @ mlp.memory
    if activation == "relu":
        hidden, slope = z.relu(), (z > 0).to(z.dtype)
    else:
        s = z.sigmoid()
        hidden, slope = z * s, s * (1 + z * (1 - s))
    u = torch.tanh(SLOPE * (hidden @ mlp.update + mlp.update_bias))
    bend = gain * (SATURATION * SLOPE) * (1 - u * u)
    through = (slope[..., None, :] * mlp.update.t()) @ mlp.memory.t()
    return bend[..., None] * through * decay + torch.diag(decay)


@torch.library.custom_op("spiking::elm_solve", mutates_args=())
def solve(
    current: Tensor, memory: Tensor, w_m: Tensor, b_h: Tensor, w_u: Tensor, b_u: Tensor, decay: Tensor, gain: Tensor,
    activation: int,
) -> tuple[Tensor, Tensor]:
    """The memory (T, B, d) from filtered currents (T, B, h) and the first memory, and how many iterations it took."""
    T, mlp, kind = current.shape[0], MLP(w_m, b_h, w_u, b_u), ACTIVATIONS[activation]
    m = current.new_zeros(T, *memory.shape)
    most = SATURATION * gain.abs() / (1 - decay).abs().clamp(min=torch.finfo(m.dtype).eps) + memory.abs().amax(0) \
        if memory.numel() else m.new_zeros(memory.shape[1])
    tolerance, count = ROUNDING * torch.finfo(m.dtype).eps, 0
    while count < T and m.numel():
        before = torch.cat([memory[None], m[:-1]])
        f = step(current, before, mlp, decay, gain, kind)
        j = jacobian(current, before, mlp, decay, gain, kind)
        c = f - _apply(j, before)
        c[0] += _apply(j[0], memory)
        new = scan(j, c)
        new = torch.where(new.isfinite(), new, f).clamp(-most, most)
        count += 1
        change = float((new - m).abs().max())
        m = new
        if change <= tolerance * (1 + float(m.abs().max())):
            break
    return m, torch.tensor(count)


@solve.register_fake
def _(
    current: Tensor, memory: Tensor, w_m: Tensor, b_h: Tensor, w_u: Tensor, b_u: Tensor, decay: Tensor, gain: Tensor,
    activation: int,
) -> tuple[Tensor, Tensor]:
    return current.new_empty(current.shape[0], *memory.shape), torch.empty((), dtype=torch.int64)


@torch.library.custom_op("spiking::elm_adjoint", mutates_args=())
def _adjoint(m: Tensor, j: Tensor) -> Tensor:
    """m itself, each step of which will hear the errors of all later ones through the Jacobians (T, B, d, d)."""
    return m.clone()


@_adjoint.register_fake
def _(m: Tensor, j: Tensor) -> Tensor:
    return torch.empty_like(m)


@torch.library.custom_op("spiking::elm_adjoint_backward", mutates_args=())
def _errors(g: Tensor, j: Tensor) -> Tensor:
    """l_t = g_t + J_{t+1}^T l_{t+1}."""
    later = torch.cat([j[1:], torch.zeros_like(j[:1])]).mT
    return scan(later.flip(0), g.flip(0)).flip(0).contiguous()


@_errors.register_fake
def _(g: Tensor, j: Tensor) -> Tensor:
    return torch.empty_like(g)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])


def _differentiate(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
    return torch.ops.spiking.elm_adjoint_backward(g, *ctx.saved_tensors), None


torch.library.register_autograd("spiking::elm_adjoint", _differentiate, setup_context=_keep)


def memory(
    current: Tensor, memory: Tensor, mlp: MLP, decay: Tensor, gain: Tensor, activation: str
) -> Tensor:
    """m (T, B, d) from filtered currents (T, B, h) and the first memory (B, d), with gradients."""
    given = [x.detach() for x in (current, memory, *mlp, decay, gain)]
    solution, _ = solve(*given, ACTIVATIONS.index(activation))
    before = torch.cat([memory[None], solution[:-1]])[: len(solution)]
    m = step(current, before, mlp, decay, gain, activation)
    if not (torch.is_grad_enabled() and m.requires_grad):
        return m
    with torch.no_grad():
        j = jacobian(current, before, mlp, decay, gain, activation)
    out: Tensor = _adjoint(m, j)
    return out


def _apply(a: Tensor, x: Tensor) -> Tensor:
    return (a @ x[..., None])[..., 0]
