"""The integrate-and-fire family on GPUs: Triton kernels launched on padded tensors.

Events are gathered inside the loop over time (gpu_forward.py), spikes are kept as bits and the state every CHECKPOINT
steps, and the steps between are run again for the backward pass (gpu_backward.py). The weight gradient sums the adjoint
of the currents over each input's events in the order of time, so that the same inputs give the same bits.

Proven under the interpreter and compiled ahead of time; speed on a GPU is unmeasured.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
from torch import Tensor

from spiking.kernels.aot import Variant
from spiking.kernels.event_linear import gpu as event_linear
from spiking.kernels.lif import gpu_backward, gpu_forward
from spiking.kernels.lif.gpu_forward import Switches
from spiking.kernels.lif.rule import CHECKPOINT, REFRACTORY, ROWS, THETA, Flags, saved_rows
from spiking.kernels.surrogate.reference import KINDS
from spiking.kernels.tile import OPTIONS, block, check, cut, pad

# Neurons of one program: each of a warp's threads holds four, which is one wide load of float32.
TILE = 128


def forward(
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    params: Tensor,
    state: Tensor,
    lengths: Tensor,
    steps: int,
    flags: list[int],
    trace: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run the recurrence.

    Arguments:
        current: (T, B, N), or `None` for events (`indptr`, `index`, `value`) through `weight` (in, N).
        params: (10, N), rows as in rule.py; float32 or float64, the type of all arithmetic.
        state: (5, B, N), rows as in rule.py.
        lengths: (B,) valid steps.
        steps: T.
        flags: the integers of `Flags`.
        trace: return the membrane potential too.
        save: return what the backward pass needs.

    Returns:
        spikes (T, B, N) in the dtype of currents or weight, membrane (T, B, N) or empty, state (5, B, N), bits
        (T, B, N/8 rounded up) or empty, checkpoints (chunks, saved rows, B, N) or empty.
    """
    check(params.device)
    _, B, N = state.shape
    like = weight if current is None else current
    assert like is not None
    current, weight, value, params, state = _prepare(current, weight, value, params, state)
    width = params.shape[1]

    spikes = torch.empty(steps, B, width, dtype=like.dtype, device=like.device)
    membrane = state.new_empty(steps, B, width) if trace else None
    last = torch.empty_like(state)
    bits = state.new_empty((steps, B, width // 8), dtype=torch.uint8) if save else None
    checkpoints = state.new_empty(-(-steps // CHECKPOINT), saved_rows(flags), B, width) if save else None
    grid, tile = _tile(B, width, current is None)
    with torch.cuda.device_of(params):
        gpu_forward.forward[grid](
            current, indptr, index, value, weight, params, state, lengths, spikes, membrane, last, bits, checkpoints,
            steps, B, width // 16, Flags(*flags).refractory, flags=_switches(flags), **tile, **OPTIONS,
        )  # fmt: skip
    empty = state.new_empty(0)
    return (
        cut(spikes, N),
        empty if membrane is None else cut(membrane, N),
        cut(last, N),
        empty.to(torch.uint8) if bits is None else cut(bits, -(-N // 8)),
        empty.clone() if checkpoints is None else cut(checkpoints, N),
    )


def backward(
    grad_spikes: Tensor,
    grad_membrane: Tensor | None,
    grad_last: Tensor,
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    params: Tensor,
    state: Tensor,
    lengths: Tensor,
    bits: Tensor,
    checkpoints: Tensor,
    steps: int,
    flags: list[int],
    surrogate: list[float],
    learn: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate the recurrence along its own spikes.

    Arguments:
        grad_spikes, grad_membrane, grad_last: gradients of what `forward` returned.
        bits, checkpoints: what it saved; the others are its arguments.
        surrogate: kind and four numbers of the spike's derivative.
        learn: whether the gradient of params is wanted; it comes either way, at the price of a sum on the chip.

    Returns:
        Gradients of the currents (T, B, N) or the weight (in, N), of params (10, N) and of the state (5, B, N).
    """
    check(params.device)
    _, B, N = state.shape
    channels = 0 if weight is None else weight.shape[0]
    like = weight if current is None else current
    assert like is not None
    current, weight, value, params, state = _prepare(current, weight, value, params, state)
    width = params.shape[1]

    kind = params.dtype if current is None else current.dtype
    grad_current = torch.empty(steps, B, width, dtype=kind, device=params.device)
    grad_state = torch.empty_like(state)
    grad_state[REFRACTORY] = 0.0  # a number of steps has no gradient
    grid, tile = _tile(B, width, current is None)
    shares = params.new_empty(grid[0], ROWS, width)
    slots = saved_rows(flags) + (current is None)
    scratch = params.new_empty(min(CHECKPOINT, steps), slots, B, width)
    with torch.cuda.device_of(params):
        gpu_backward.backward[grid](
            pad(grad_spikes), None if grad_membrane is None else pad(grad_membrane), pad(grad_last), current, indptr,
            index, value, weight, params, state, lengths, pad(bits, width // 8), pad(checkpoints), scratch,
            grad_current, shares, grad_state, steps, B, width // 16, Flags(*flags).refractory, *surrogate[1:],
            kind=KINDS[int(surrogate[0])], flags=_switches(flags), **tile, **OPTIONS,
        )  # fmt: skip
    grad_params = cut(shares.sum(0), N)
    if current is not None:
        return cut(grad_current, N), grad_params, cut(grad_state, N)
    assert indptr is not None and index is not None
    grad_weight = event_linear.backward(indptr, index, value, grad_current.view(steps * B, width), channels)
    return cut(grad_weight.to(like.dtype), N), grad_params, cut(grad_state, N)


def _prepare(
    current: Tensor | None, weight: Tensor | None, value: Tensor | None, params: Tensor, state: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor, Tensor]:
    N = params.shape[1]
    params = pad(params.detach())
    if params.shape[1] != N:
        params[THETA, N:] = 1.0  # padding stays below its threshold, also where spikes are inclusive
    return (
        None if current is None else pad(current.detach()),
        None if weight is None else pad(weight.detach()),
        None if value is None else value.to(params.dtype),
        params,
        pad(state.detach()),
    )


def _switches(flags: list[int]) -> Switches:
    given = Switches(*flags)
    return given._replace(refractory=min(given.refractory, 1))


def _tile(B: int, width: int, events: bool) -> tuple[tuple[int, int], dict[str, int]]:
    """The grid over samples and neurons, and how a program is cut: one sample where events are gathered."""
    columns = block(width)
    samples = 1 if events else TILE // columns
    return (triton.cdiv(B, samples), triton.cdiv(width, columns)), {
        "EVERY": CHECKPOINT, "K": event_linear.TOGETHER, "BLOCK_B": samples, "BLOCK_N": columns,
    }  # fmt: skip


def _variants() -> Iterator[Variant]:
    adaptive = Switches(synapse=1, adaptation=2, detach_reset=0, refractory=1, mute=1)
    numbers = {"T": "i32", "B": "i32", "N16": "i32", "steps": "i32"}
    state = {n: "*fp32" for n in ("neuron", "state", "checkpoints")} | {"lengths": "*i64", "bits": "*u8"}
    for name, flags, storage, events in (
        ("LIF", Switches(), "fp32", True),
        ("LIF", Switches(), "bf16", True),
        ("LIF", Switches(), "fp32", False),
        ("everything", adaptive, "fp32", True),
        ("everything", adaptive, "fp32", False),
    ):
        pointer = "*" + storage
        source = {"indptr": "*i64", "index": "*i32", "weight": pointer} if events else {"current": pointer}
        types = numbers | state | source
        constants = {"flags": flags, **_tile(1, 256, events)[1]}
        label = f"{name}, {storage} {'events' if events else 'currents'}"
        yield Variant(
            f"lif forward: {label}", gpu_forward.forward, types | {"spikes": pointer, "last": "*fp32"}, constants
        )
        types = types | {"grad_spikes": pointer, "grad_current": "*fp32" if events else pointer}
        types |= {n: "*fp32" for n in ("scratch", "grad_last", "grad_params", "grad_state")}
        types |= {n: "fp64" for n in ("n0", "n1", "n2", "n3")}
        constants = {"kind": "fast_sigmoid", **constants}
        yield Variant(f"lif backward: {label}", gpu_backward.backward, types, constants, "scratch")


AOT = list(_variants())
