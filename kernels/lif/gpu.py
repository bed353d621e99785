"""The integrate-and-fire family on GPUs: Triton kernels launched on padded tensors.

Events are gathered inside the loop over time (gpu_forward.py), spikes are kept as bits and the state every CHECKPOINT
steps, and the steps between are run again for the backward pass (gpu_backward.py). The weight gradient sums the adjoint
of the currents over each input's events in the order of time, so that the same inputs give the same bits.

With recurrent weights V a program owns all neurons of a sample, up to CONNECTED of them. It takes the rows of V of
those that spiked, and going back those of neurons whose surrogate is not 0. The gradient of V, the sum over time of
z'^T g_I, is torch's product of dense matrices: nothing added atomically, and no list of spikes to wait for.

Proven under the interpreter, compiled ahead of time, and run on one card; docs/gpu.md has the times.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import triton
from torch import Tensor

from spiking.kernels.aot import Variant
from spiking.kernels.event_linear import gpu as event_linear
from spiking.kernels.lif import gpu_backward, gpu_forward
from spiking.kernels.lif.gpu_step import Switches
from spiking.kernels.lif.rule import CHECKPOINT, CONNECTED, REFRACTORY, ROWS, THETA, Flags, Z, saved_rows
from spiking.kernels.surrogate.reference import KINDS
from spiking.kernels.tile import OPTIONS, block, check, cut, pad, wide

# Neurons of one program: each of a warp's threads holds four, which is one wide load of float32.
TILE = 128
# Connected neurons are all in one program, for which its registers just suffice: so many a warp while there are warps.
SHARE = 64
WARPS = 8
# Rows of the recurrent matrix that are in flight at once, fewer where they are so long that they fill the registers.
TOGETHER = 16
# Spikes unpacked at once for the gradient of the recurrent weights.
UNPACKED = 1 << 24


def forward(
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
    trace: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run the recurrence.

    Arguments:
        current: (T, B, N), or `None` for events (`indptr`, `index`, `value`) through `weight` (in, N).
        recurrent: (N, N), row n is the fan-out of neuron n; N is at most CONNECTED with them.
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
    current, weight, value, recurrent, params, state = _prepare(current, weight, value, recurrent, params, state)
    width = params.shape[1]

    spikes = torch.empty(steps, B, width, dtype=like.dtype, device=like.device)
    membrane = state.new_empty(steps, B, width) if trace else None
    last = torch.empty_like(state)
    bits = state.new_empty((steps, B, width // 8), dtype=torch.uint8) if save else None
    checkpoints = state.new_empty(-(-steps // CHECKPOINT), saved_rows(flags), B, width) if save else None
    grid, tile = _tile(B, width, current is None, recurrent is not None, False)
    carried, listed, _ = _scratch(recurrent, state)
    with torch.cuda.device_of(params):
        gpu_forward.forward[grid](
            current, indptr, index, value, weight, recurrent, carried, listed, params, state, lengths, spikes, membrane,
            last, bits, checkpoints, steps, B, width // 16, Flags(*flags).refractory, flags=switches(flags), **tile,
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
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differentiate the recurrence along its own spikes.

    Arguments:
        grad_spikes, grad_membrane, grad_last: gradients of what `forward` returned.
        bits, checkpoints: what it saved; the others are its arguments.
        surrogate: kind and four numbers of the spike's derivative.
        learn: whether the gradient of params is wanted; it comes either way, at the price of a sum on the chip.

    Returns:
        Gradients of the currents (T, B, N) or the weight (in, N), of `recurrent` (N, N) or empty, of params (10, N) and
        of the state (5, B, N).
    """
    check(params.device)
    _, B, N = state.shape
    channels = 0 if weight is None else weight.shape[0]
    like = weight if current is None else current
    assert like is not None
    current, weight, value, recurrent, params, state = _prepare(current, weight, value, recurrent, params, state)
    width = params.shape[1]

    kind = params.dtype if current is None or recurrent is not None else current.dtype
    grad_current = torch.empty(steps, B, width, dtype=kind, device=params.device)
    grad_state = torch.empty_like(state)
    grad_state[REFRACTORY] = 0.0  # a number of steps has no gradient
    grid, tile = _tile(B, width, current is None, recurrent is not None, True)
    carried, listed, returned = _scratch(recurrent, state)
    shares = params.new_empty(grid[0], ROWS, width)
    slots = saved_rows(flags) + (current is None or recurrent is not None)
    scratch = params.new_empty(min(CHECKPOINT, steps), slots, B, width)
    bits = pad(bits, width // 8)
    with torch.cuda.device_of(params):
        gpu_backward.backward[grid](
            pad(grad_spikes), None if grad_membrane is None else pad(grad_membrane), pad(grad_last), current, indptr,
            index, value, weight, recurrent, carried, listed, returned, params, state, lengths, bits, pad(checkpoints),
            scratch, grad_current, shares, grad_state, steps, B, width // 16, Flags(*flags).refractory, *surrogate[1:],
            kind=KINDS[int(surrogate[0])], flags=switches(flags), WIDE=block(width), **tile,
        )  # fmt: skip
    grad_recurrent = params.new_empty(0)
    if recurrent is not None:
        grad_recurrent = _recurrent_gradient(bits, state[Z], grad_current)[:N, :N].to(recurrent.dtype).contiguous()
        if steps:
            grad_state[Z] += grad_current[0] @ recurrent.to(params.dtype).T
    grad_params = cut(shares.sum(0), N)
    if current is not None:
        grad_input = grad_current.to(like.dtype)
    else:
        assert indptr is not None and index is not None
        grad_input = event_linear.backward(indptr, index, value, grad_current.view(steps * B, width), channels)
    return cut(grad_input.to(like.dtype), N), grad_recurrent, grad_params, cut(grad_state, N)


def _recurrent_gradient(bits: Tensor, first: Tensor, grad: Tensor) -> Tensor:
    """The sum over steps of z'^T g: z' the spikes of the step before (from their bits; `first` for the first step)."""
    T, B, width = grad.shape
    total = grad.new_zeros(width, width)
    if T:
        total.addmm_(first.T, grad[0])
    place = torch.arange(8, dtype=torch.uint8, device=bits.device)
    together = max(1, UNPACKED // max(1, B * width))
    for t in range(1, T, together):
        after = grad[t : t + together]
        before = (bits[t - 1 : t - 1 + len(after), ..., None] >> place) & 1
        total.addmm_(before.view(-1, width).T.to(grad.dtype), after.view(-1, width))
    return total


def _prepare(
    current: Tensor | None,
    weight: Tensor | None,
    value: Tensor | None,
    recurrent: Tensor | None,
    params: Tensor,
    state: Tensor,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor, Tensor]:
    N = params.shape[1]
    params = pad(params.detach())
    if params.shape[1] != N:
        params[THETA, N:] = 1.0  # padding stays below its threshold, also where spikes are inclusive
    return (
        None if current is None else pad(current.detach()),
        None if weight is None else pad(weight.detach()),
        None if value is None else value.to(params.dtype),
        None if recurrent is None else _square(recurrent.detach()),
        params,
        pad(state.detach()),
    )


def _square(recurrent: Tensor) -> Tensor:
    """The recurrent matrix with rows and columns of zeros appended, for the neurons that pad the others."""
    missing = wide(recurrent.shape[0]) - recurrent.shape[0]
    return pad(torch.nn.functional.pad(recurrent, (0, missing, 0, missing)) if missing else recurrent)


def _scratch(recurrent: Tensor | None, state: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """What the initial spikes add to the first step (B, N), and two rows a sample in which threads tell each other."""
    if recurrent is None:
        return None, None, None
    carried = state[Z] @ recurrent.to(state.dtype)
    return carried, torch.empty_like(carried, dtype=torch.int32), torch.empty_like(carried)


def switches(flags: list[int]) -> Switches:
    """The switches of a kernel, which is the same for any refractory time."""
    given = Switches(*flags)
    return given._replace(refractory=min(given.refractory, 1))


def _tile(
    B: int, width: int, events: bool, recurrent: bool, going_back: bool
) -> tuple[tuple[int, int], dict[str, Any]]:
    """The grid over samples and neurons, and how a program is cut and launched.

    Where events are gathered it holds one sample, and where neurons are connected all neurons of one.
    """
    columns = block(width, CONNECTED if recurrent else TILE)
    samples = 1 if events or recurrent else TILE // columns
    together, options = event_linear.TOGETHER, OPTIONS
    if recurrent:
        together = min(TOGETHER, (4096 if going_back else 8192) // columns)
        options = {**OPTIONS, "num_warps": min(WARPS, max(1, columns // SHARE))}
    tile = {"EVERY": CHECKPOINT, "K": together, "BLOCK_B": samples, "BLOCK_N": columns, **options}
    return (triton.cdiv(B, samples), triton.cdiv(width, columns)), tile


def _variants() -> Iterator[Variant]:
    adaptive = Switches(synapse=1, adaptation=2, detach_reset=0, refractory=1, mute=1)
    numbers = {"T": "i32", "B": "i32", "N16": "i32", "steps": "i32"}
    state = {n: "*fp32" for n in ("neuron", "state", "checkpoints")} | {"lengths": "*i64", "bits": "*u8"}
    for name, flags, storage, events, neurons in (
        ("LIF", Switches(), "fp32", True, 0),
        ("LIF", Switches(), "bf16", True, 0),
        ("LIF", Switches(), "fp32", False, 0),
        ("everything", adaptive, "fp32", True, 0),
        ("everything", adaptive, "fp32", False, 0),
        ("LIF", Switches(), "fp32", True, 128),
        ("LIF", Switches(), "fp32", False, 256),
        ("LIF", Switches(), "bf16", True, 512),
        ("LIF", Switches(), "fp32", True, 1024),
        ("everything", adaptive, "fp32", True, 256),
        ("everything", adaptive, "fp32", True, 1024),
    ):
        pointer = "*" + storage
        source = {"indptr": "*i64", "index": "*i32", "weight": pointer} if events else {"current": pointer}
        there, back = (_tile(1, neurons or 256, events, neurons > 0, way)[1] for way in (False, True))
        options = {name: there[name] for name in OPTIONS}
        label = f"{name}, {storage} {'events' if events else 'currents'}"
        types = numbers | state | source
        if neurons:
            label += f", {neurons} recurrent"
            types |= {"recurrent": pointer, "carried": "*fp32", "listed": "*i32"}
        constants = {"flags": flags, **{n: there[n] for n in there if n not in options}}
        yield Variant(
            f"lif forward: {label}", gpu_forward.forward, types | {"spikes": pointer, "last": "*fp32"}, constants,
            ("listed",) if neurons else (), options,
        )  # fmt: skip
        types |= {"grad_spikes": pointer, "grad_current": "*fp32" if events or neurons else pointer}
        types |= {n: "*fp32" for n in ("scratch", "grad_last", "grad_params", "grad_state")}
        types |= {n: "fp64" for n in ("n0", "n1", "n2", "n3")}
        passed: tuple[str, ...] = ("scratch",)
        if neurons:
            types["returned"] = "*fp32"
            passed += ("listed", "returned", "grad_current")
        constants |= {"kind": "fast_sigmoid", "K": back["K"], "WIDE": TILE}
        yield Variant(f"lif backward: {label}", gpu_backward.backward, types, constants, passed, options)


AOT = list(_variants())
