"""The flat ops `torch.ops.spiking.lif` and `lif_backward`: tensors and numbers only, for autograd and torch.compile.

op.py gives the equations and the arguments; a backend's module does the work.
"""

from __future__ import annotations

import math
import sys
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from spiking.kernels import finite
from spiking.kernels.lif.rule import BIAS, CHECKPOINT, THETA, A, B, C, P, Q, R, saved_rows

NAMES = {
    A: "tau_mem", THETA: "threshold", C: "tau_syn", B: "adaptation.tau", P: "adaptation.membrane",
    Q: "adaptation.spike", R: "adaptation.strength", BIAS: "bias",
}
LARGEST = sys.float_info.max


def _kernels(backend: str, recurrent: Tensor | None) -> tuple[ModuleType, list[Tensor | None]]:
    """The module that does the work, and what it takes between the weight and the parameters."""
    if backend == "triton":
        from spiking.kernels.lif import gpu

        return gpu, [recurrent]
    if recurrent is not None:
        from spiking.kernels.lif import cpu_recurrent

        return cpu_recurrent, [recurrent]
    from spiking.kernels.lif import cpu

    return cpu, []


def demand(
    weight: Tensor | None, recurrent: Tensor | None, params: Tensor, lengths: Tensor | None, steps: int
) -> None:
    """What a CPU can look at before the loop, for almost nothing; in the op, so that compiled graphs look, too.

    Raises:
        ValueError: naming the argument that is not finite, no decay, or no number of steps.
    """
    finite.weights(weight=weight, recurrent=recurrent)
    if params.device.type != "cpu":
        return
    if lengths is not None and lengths.numel() and not 0 <= int(lengths.min()) <= int(lengths.max()) <= steps:
        raise ValueError(f"lengths: expected 0 to {steps} steps, got {lengths.tolist()}")
    if not params.numel():
        return
    low, high = (x.tolist() for x in params.detach().aminmax(dim=1))
    # a resonance turns both alike, and no spike drives its w
    least = -1 if torch.equal(params[A], params[B]) and not params[Q].any() else 0
    for row, name in NAMES.items():
        if row in (A, C, B):
            if not least <= low[row] <= high[row] <= 1:
                raise ValueError(
                    f"{name}: expected times above 0 ms, or with decay='euler' of a step or more, got some that leave "
                    f"{low[row]:g} to {high[row]:g} after a step"
                )
        elif not (-LARGEST <= low[row] and high[row] <= (math.inf if row == THETA else LARGEST)):
            finite.demand(name, params[row], "neuron")


@torch.library.custom_op("spiking::lif", mutates_args=())
def lif(
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    recurrent: Tensor | None,
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
    demand(weight, recurrent, params, lengths, steps)
    kernels, more = _kernels(backend, recurrent)
    result: tuple[Tensor, Tensor, Tensor, Tensor, Tensor] = kernels.forward(
        current, indptr, index, value, weight, *more, params, state, lengths, steps, flags, trace, save
    )
    return result


@lif.register_fake
def _(
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    recurrent: Tensor | None,
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
    recurrent: Tensor | None,
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
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the input, the recurrent weights, the parameters and the initial state.

    The input is the currents or the weight; without recurrent weights theirs is empty; that of the parameters holds
    only if they `learn`.
    """
    kernels, more = _kernels(backend, recurrent)
    grad_input, *grad_recurrent, grad_params, grad_state = kernels.backward(
        grad_spikes, grad_membrane, grad_last, current, indptr, index, value, weight, *more, params, state, lengths,
        bits, checkpoints, steps, flags, surrogate, learn,
    )
    return grad_input, grad_recurrent[0] if grad_recurrent else params.new_empty(0), grad_params, grad_state


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
    recurrent: Tensor | None,
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
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    like = weight if current is None else current
    assert like is not None
    grad_recurrent = params.new_empty(0) if recurrent is None else torch.empty_like(recurrent)
    return torch.empty_like(like), grad_recurrent, torch.empty_like(params), torch.empty_like(state)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, steps, flags, surrogate, trace, _, backend = inputs
    ctx.save_for_backward(*tensors, *output[3:])
    ctx.steps, ctx.flags, ctx.surrogate, ctx.trace, ctx.backend = steps, flags, surrogate, trace, backend


def _differentiate(
    ctx: Any, grad_spikes: Tensor, grad_membrane: Tensor, grad_last: Tensor, *_: Tensor
) -> tuple[Tensor | None, ...]:
    current, indptr, index, value, weight, recurrent, params, state, lengths, bits, checkpoints = ctx.saved_tensors
    grad_input, grad_recurrent, grad_params, grad_state = lif_backward(
        grad_spikes.contiguous(), grad_membrane.contiguous() if ctx.trace else None, grad_last.contiguous(),
        current, indptr, index, value, weight, recurrent, params, state, lengths, bits, checkpoints,
        ctx.steps, ctx.flags, ctx.surrogate, ctx.needs_input_grad[6], ctx.backend,
    )
    grad_current, grad_weight = (grad_input, None) if weight is None else (None, grad_input)
    fan_out = None if recurrent is None else grad_recurrent
    none = (None,) * 7
    return grad_current, None, None, None, grad_weight, fan_out, grad_params, grad_state, *none


torch.library.register_autograd("spiking::lif", _differentiate, setup_context=_setup)
