"""The integrate-and-fire family on GPUs: Triton kernels launched on padded tensors.

Events are gathered inside the loop over time (gpu_forward.py), the state is kept every CHUNK steps, and the steps
between are run again for the backward pass, spikes included (gpu_backward.py). The weight gradient sums the adjoint
of the currents over each input's events in the order of time, so that the same inputs give the same bits.
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
from spiking.kernels.lif.rule import CHUNK, ROWS, STATES, THETA, Flags, looks_back, saved_rows
from spiking.kernels.surrogate.reference import KINDS
from spiking.kernels.tile import OPTIONS, block, check, cut, pad

# Neurons of one program: each of a warp's threads holds four, which is one wide load of float32; two where a chunk of
# steps is held in registers.
TILE, TILE_HELD = 128, 64
# Steps whose currents and gradients are asked for at once: forward, backward, and backward with a scratch.
AHEAD, AHEAD_BACK, AHEAD_SCRATCH = 4, 4, 2
# Programs of a backward pass that need memory of their own, for a scratch or for the gradient of parameters. As many
# as a large card runs at once, so that the scratch stays in its cache; never of the card, so that sums have one order.
PROGRAMS = 2048


def forward(
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    params: Tensor,
    state: Tensor,
    lengths: Tensor | None,
    steps: int,
    flags: list[int],
    trace: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run the recurrence.

    Arguments:
        current: (T, B, N), or `None` for events (`indptr`, `index`, `value`) through `weight` (in, N).
        params: (10, N), rows as in rule.py; float32 or float64, the type of all arithmetic.
        state: (5, B, N), rows as in rule.py; one number expanded to this shape is not written out.
        lengths: (B,) valid steps, or `None` where all are.
        steps: T.
        flags: the integers of `Flags`.
        trace: return the membrane potential too.
        save: return what the backward pass needs.

    Returns:
        spikes (T, B, N) in the dtype of currents or weight, membrane (T, B, N) or empty, state (5, B, N), an empty
        tensor (bits, which the CPU keeps), checkpoints (chunks, saved rows, B, N) or empty.
    """
    check(params.device)
    _, B, N = state.shape
    like = weight if current is None else current
    assert like is not None
    current, weight, value, params = _prepare(current, weight, value, params)
    width = params.shape[1]
    device, dtype = params.device, params.dtype
    even = not any(state.stride())

    spikes = torch.empty(steps, B, width, dtype=like.dtype, device=device)
    membrane = torch.empty(steps, B, width, dtype=dtype, device=device) if trace else None
    last = torch.empty(STATES, B, width, dtype=dtype, device=device)
    rows = saved_rows(flags) + looks_back(flags)
    checkpoints = torch.empty(-(-steps // CHUNK), rows, B, width, dtype=dtype, device=device) if save else None
    grid, tile = _tile(B, width, current is None, TILE)
    with torch.cuda.device_of(params):
        gpu_forward.forward[grid](
            current, indptr, index, value, weight, params, state.as_strided((1,), (1,)) if even else pad(state),
            lengths, spikes, membrane, last, checkpoints, steps, B, width // 16, Flags(*flags).refractory,
            flags=_switches(flags), EVEN=even, **_ahead(AHEAD, current is None), **tile, **OPTIONS,
        )  # fmt: skip
    return (
        cut(spikes, N),
        torch.empty(0, dtype=dtype, device=device) if membrane is None else cut(membrane, N),
        cut(last, N),
        torch.empty(0, dtype=torch.uint8, device=device),
        torch.empty(0, dtype=dtype, device=device) if checkpoints is None else cut(checkpoints, N),
    )


def backward(
    grad_spikes: Tensor | None,
    grad_membrane: Tensor | None,
    grad_last: Tensor | None,
    current: Tensor | None,
    indptr: Tensor | None,
    index: Tensor | None,
    value: Tensor | None,
    weight: Tensor | None,
    params: Tensor,
    state: Tensor,
    lengths: Tensor | None,
    bits: Tensor,
    checkpoints: Tensor,
    steps: int,
    flags: list[int],
    surrogate: list[float],
    learn: bool,
    carry: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate the recurrence along its own spikes.

    Arguments:
        grad_spikes, grad_membrane, grad_last: gradients of what `forward` returned; `None` is 0.
        bits, checkpoints: what it saved; the others are its arguments.
        surrogate: kind and four numbers of the spike's derivative.
        learn, carry: whether the gradients of params and of the state are wanted.

    Returns:
        Gradients of the currents (T, B, N) or the weight (in, N), of params (10, N) and of the state (5, B, N), empty
        where they are not wanted.
    """
    check(params.device)
    _, B, N = state.shape
    channels = 0 if weight is None else weight.shape[0]
    like = weight if current is None else current
    assert like is not None
    current, weight, value, params = _prepare(current, weight, value, params)
    width = params.shape[1]
    device, dtype = params.device, params.dtype

    grad_current = torch.empty(steps, B, width, dtype=dtype if current is None else like.dtype, device=device)
    grad_state = torch.empty(STATES, B, width, dtype=dtype, device=device) if carry else None
    slots = saved_rows(flags) + looks_back(flags) + (current is None)
    held = current is not None and saved_rows(flags) == 1
    (tiles, columns), tile = _tile(B, width, current is None, TILE_HELD if held else TILE)
    programs = tiles if held and not learn else min(tiles, max(1, PROGRAMS // columns))
    scratch = None
    if not held:
        size = programs * columns * CHUNK * slots * tile["BLOCK_B"] * tile["BLOCK_N"]
        scratch = torch.empty(size, dtype=dtype, device=device)
    shares = torch.empty(programs, ROWS, width, dtype=dtype, device=device) if learn else None
    ahead = _ahead(AHEAD_BACK if held else AHEAD_SCRATCH, current is None)
    if grad_spikes is None:
        grad_spikes = torch.zeros(steps, B, N, dtype=like.dtype, device=device)
    with torch.cuda.device_of(params):
        gpu_backward.backward[programs, columns](
            pad(grad_spikes), None if grad_membrane is None else pad(grad_membrane),
            None if grad_last is None else pad(grad_last), current, indptr, index, value, weight, params, lengths,
            pad(checkpoints), scratch, grad_current, shares, grad_state, steps, B, width // 16,
            Flags(*flags).refractory, *surrogate[1:], kind=KINDS[int(surrogate[0])], flags=_switches(flags), **ahead,
            **tile, **OPTIONS,
        )  # fmt: skip
    grad_params = torch.empty(0, dtype=dtype, device=device) if shares is None else cut(shares.sum(0), N)
    before = torch.empty(0, dtype=dtype, device=device) if grad_state is None else cut(grad_state, N)
    if current is not None:
        return cut(grad_current, N), grad_params, before
    assert indptr is not None and index is not None
    grad_weight = event_linear.backward(indptr, index, value, grad_current.view(steps * B, width), channels)
    return cut(grad_weight.to(like.dtype), N), grad_params, before


def _prepare(
    current: Tensor | None, weight: Tensor | None, value: Tensor | None, params: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor]:
    N = params.shape[1]
    params = pad(params)
    if params.shape[1] != N:
        params[THETA, N:] = 1.0  # padding stays below its threshold, also where spikes are inclusive
    return (
        None if current is None else pad(current),
        None if weight is None else pad(weight),
        None if value is None else value.to(params.dtype),
        params,
    )


def _switches(flags: list[int]) -> Switches:
    given = Switches(*flags)
    return given._replace(refractory=min(given.refractory, 1))


def _tile(B: int, width: int, events: bool, size: int) -> tuple[tuple[int, int], dict[str, int]]:
    """The grid over samples and neurons, and how a program is cut: one sample where events are gathered."""
    columns = min(block(width), size)
    samples = 1 if events else size // columns
    return (triton.cdiv(B, samples), triton.cdiv(width, columns)), {
        "EVERY": CHUNK, "K": event_linear.TOGETHER, "BLOCK_B": samples, "BLOCK_N": columns,
    }  # fmt: skip


def _ahead(steps: int, events: bool) -> dict[str, int]:
    """Steps whose memory is asked for at once; those of events are not known before they are read."""
    return {"AHEAD": 1 if events else min(steps, CHUNK)}


def _variants() -> Iterator[Variant]:
    adaptive = Switches(synapse=1, adaptation=2, detach_reset=0, refractory=1, mute=1)
    numbers = {"T": "i32", "B": "i32", "N16": "i32", "steps": "i32"}
    for name, flags, storage, events, all_given in (
        ("LIF", Switches(), "fp32", True, False),
        ("LIF", Switches(), "bf16", True, False),
        ("LIF", Switches(), "fp32", False, False),
        ("LIF", Switches(), "bf16", False, False),
        ("learning LIF", Switches(), "fp32", False, True),
        ("everything", adaptive, "fp32", True, True),
        ("everything", adaptive, "fp32", False, True),
    ):
        pointer = "*" + storage
        source = {"indptr": "*i64", "index": "*i32", "weight": pointer} if events else {"current": pointer}
        held = not events and flags == Switches()
        types = numbers | source | {n: "*fp32" for n in ("neuron", "checkpoints")}
        types |= {"lengths": "*i64"} if events or all_given else {}
        label = f"{name}, {storage} {'events' if events else 'currents'}"
        yield Variant(
            f"lif forward: {label}", gpu_forward.forward,
            types | {"spikes": pointer, "last": "*fp32", "state": "*fp32"},
            {"flags": flags, "EVEN": not all_given, **_ahead(AHEAD, events), **_tile(1, 256, events, TILE)[1]},
        )  # fmt: skip
        types |= {"grad_spikes": pointer, "grad_current": "*fp32" if events else pointer}
        types |= {n: "*fp32" for n in ("grad_last", "grad_params", "grad_state")} if all_given else {}
        types |= {} if held else {"scratch": "*fp32"}
        types |= {n: "fp64" for n in ("n0", "n1", "n2", "n3")}
        constants = {"kind": "fast_sigmoid", "flags": flags, **_tile(1, 256, events, TILE_HELD if held else TILE)[1]}
        constants |= _ahead(AHEAD_BACK if held else AHEAD_SCRATCH, events)
        yield Variant(
            f"lif backward: {label}", gpu_backward.backward, types, constants, "" if held else "scratch"
        )


AOT = list(_variants())
