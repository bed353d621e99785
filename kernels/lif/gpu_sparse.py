"""The recurrence with sparse recurrent weights V on GPUs: gpu_fan.py's kernels launched on padded rows.

As on CPUs the currents of the input are given, and who spiked is kept as bits of every step. From these follow, for
all steps at once and by the kernels of `sparse_linear`, what each neuron received, z' V before the backward pass, and
after it the gradient of V, z' d^T at the synapses that exist, with d the adjoint of the currents. Listing the spikes
waits for the GPU. Nothing is added atomically: the same inputs give the same bits.

Proven under the interpreter and compiled ahead of time; not yet run on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from spiking.kernels.aot import Variant
from spiking.kernels.event_linear.op import compress
from spiking.kernels.lif import gpu_fan
from spiking.kernels.lif.gpu import SHARE, WARPS, switches
from spiking.kernels.lif.gpu_step import Switches
from spiking.kernels.lif.rule import CHECKPOINT, REFRACTORY, ROWS, THETA, Flags, Z, saved_rows
from spiking.kernels.sparse_linear import gpu as sparse_linear
from spiking.kernels.surrogate.reference import KINDS
from spiking.kernels.tile import OPTIONS, block, check, cut, pad, wide

TILE = 1024  # neurons of a sample that a program takes at once
LANES = 32  # synapses of one neuron that are summed at once, and threads of a warp that add a spike's


def forward(
    current: Tensor, indptr: Tensor, index: Tensor, values: Tensor, params: Tensor, state: Tensor, lengths: Tensor,
    flags: list[int], trace: bool, save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Spikes, membrane, last state, bits and checkpoints; arguments and shapes as in flat_sparse.py."""
    check(params.device)
    steps, B, N = current.shape
    current, indptr, values, params = _prepare(current, indptr, index, values, params)
    width = params.shape[1]
    last = pad(state.detach()).clone()
    spikes = params.new_empty(steps, B, width)
    membrane = params.new_empty(steps, B, width) if trace else None
    bits = params.new_empty((steps, B, width // 8), dtype=torch.uint8) if save else None
    checkpoints = params.new_empty(-(-steps // CHECKPOINT), saved_rows(flags), B, width) if save else None
    listed = torch.empty(B, width, dtype=torch.int32, device=params.device)
    there, _, options = _cut(width)
    with torch.cuda.device_of(params):
        gpu_fan.forward[(B,)](
            current, indptr, index, values, listed, params.new_zeros(B, 2, width), params, last, lengths, spikes,
            membrane, bits, checkpoints, steps, B, width // 16, Flags(*flags).refractory, flags=switches(flags),
            EVERY=CHECKPOINT, **there, **options,
        )  # fmt: skip
    empty = params.new_empty(0)
    return (
        cut(spikes, N),
        empty if membrane is None else cut(membrane, N),
        cut(last, N),
        empty.to(torch.uint8) if bits is None else cut(bits, -(-N // 8)),
        empty.clone() if checkpoints is None else cut(checkpoints, N),
    )


def backward(
    grad_spikes: Tensor, grad_membrane: Tensor | None, grad_last: Tensor, current: Tensor, indptr: Tensor,
    index: Tensor, values: Tensor, params: Tensor, state: Tensor, lengths: Tensor, bits: Tensor, checkpoints: Tensor,
    flags: list[int], surrogate: list[float], learn: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of the currents, of the values, of the parameters and of the initial state."""
    check(params.device)
    steps, B, N = current.shape
    spikes = _events(bits, state[Z], steps)
    heard = sparse_linear.forward(*spikes, indptr, index, values, steps * B, N).view(steps, B, N)
    received = pad(heard.add_(current.detach()))
    _, fan_indptr, fan_values, params = _prepare(None, indptr, index, values, params)
    width = params.shape[1]
    grad_state = pad(grad_last.detach()).clone()
    grad_state[REFRACTORY] = 0.0  # a number of steps has no gradient
    shares = params.new_zeros(B if learn else 1, ROWS, width)
    listed = torch.empty(B, width, dtype=torch.int32, device=params.device)
    scratch = params.new_empty(min(CHECKPOINT, steps), saved_rows(flags), B, width)
    _, back, options = _cut(width)
    with torch.cuda.device_of(params):
        gpu_fan.backward[(B,)](
            pad(grad_spikes), None if grad_membrane is None else pad(grad_membrane), received, fan_indptr, index,
            fan_values, listed, params.new_empty(B, width), params, pad(state.detach()), lengths,
            pad(bits, width // 8), pad(checkpoints), scratch, shares, grad_state, steps, B, width // 16,
            Flags(*flags).refractory, *surrogate[1:], kind=KINDS[int(surrogate[0])], flags=switches(flags),
            learn=learn, EVERY=CHECKPOINT, **back, **options,
        )  # fmt: skip
    d, grad_state = cut(received, N), cut(grad_state, N)
    grad_values = sparse_linear.backward(*spikes, indptr, index, d.view(steps * B, N))
    if steps:
        grad_state[Z] += sparse_linear.inputs(d[0], indptr, index, values)
    return d, grad_values, cut(shares.sum(0), N), grad_state


def _events(bits: Tensor, first: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The spikes of the step before as events, rows t*B + b: from their bits, and `first` for the first step."""
    place = torch.arange(8, dtype=torch.uint8, device=bits.device)
    before = ((bits[:-1, ..., None] >> place) & 1).flatten(2)[..., : first.shape[1]]
    dense = torch.cat([first.detach()[None], before.to(first.dtype)])[:steps]
    found = compress(dense.flatten(0, 1), 1.0, "triton")
    assert found is not None
    return found


def _prepare(
    current: Tensor | None, indptr: Tensor, index: Tensor, values: Tensor, params: Tensor
) -> tuple[Any, Tensor, Tensor, Tensor]:
    """Currents, pointers, values and parameters, where the neurons that pad the others have no synapse."""
    N = params.shape[1]
    params = pad(params.detach())
    if params.shape[1] != N:
        params[THETA, N:] = 1.0  # padding stays below its threshold, also where spikes are inclusive
    indptr = torch.nn.functional.pad(indptr, (0, wide(N) - N), value=index.numel())
    return None if current is None else pad(current.detach()), indptr, values.detach().contiguous(), params


def _cut(width: int) -> tuple[dict[str, int], dict[str, int], dict[str, Any]]:
    """How a program is cut, there and back, and how it is launched."""
    columns = block(width, TILE)
    warps = min(WARPS, max(1, columns // SHARE))
    there = {"SYNAPSES": LANES * warps, "BLOCK_N": columns}
    return there, {"SYNAPSES": LANES, "K": 4 * warps, "BLOCK_N": columns}, {**OPTIONS, "num_warps": warps}


def _variants() -> Iterator[Variant]:
    adaptive = Switches(synapse=1, adaptation=2, detach_reset=0, refractory=1, mute=1)
    names = ("neuron", "state", "checkpoints", "values")
    types = {n: "*fp32" for n in names} | {n: "i32" for n in ("T", "B", "N16", "steps")}
    types |= {"fan_indptr": "*i64", "fan_index": "*i32", "listed": "*i32", "lengths": "*i64", "bits": "*u8"}
    for name, flags, neurons in (
        ("LIF", Switches(), 128), ("LIF", Switches(), 1024), ("everything", adaptive, 256),
        ("everything", adaptive, 1024),
    ):  # fmt: skip
        there, back, options = _cut(neurons)
        label = f"{name}, fp32 currents, {neurons} sparse recurrent"
        shared = {"flags": flags, "EVERY": CHECKPOINT}
        yield Variant(
            f"lif forward: {label}", gpu_fan.forward, types | {n: "*fp32" for n in ("current", "felt", "spikes")},
            {**shared, **there}, ("listed",), options,
        )  # fmt: skip
        kept = {n: "*fp32" for n in (
            "grad_spikes", "received", "returned", "scratch", "grad_params", "grad_state"
        )} | {n: "fp64" for n in ("n0", "n1", "n2", "n3")}  # fmt: skip
        constants = {**shared, **back, "kind": "fast_sigmoid", "learn": flags is adaptive}
        yield Variant(
            f"lif backward: {label}", gpu_fan.backward, types | kept, constants,
            ("listed", "returned", "scratch", "received", "grad_state"), options,
        )  # fmt: skip


AOT = list(_variants())
