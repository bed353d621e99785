"""What the ops that simulate a network have in common: checks, synapses as arrays, and Events from lists of spikes."""

from __future__ import annotations

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels.reservoir.record import Recorder, check_recorder
from spiking.kernels.reservoir.synapses import Connections, Synapses, check_connections


def check(
    x: Events, inputs: Connections, recurrent: Connections | None, record: Recorder, budget: int | None,
    dtype: torch.dtype,
) -> tuple[int, int]:  # fmt: skip
    """The number of neurons, and of slots for what arrives later.

    Raises:
        ValueError, TypeError: naming the argument that does not fit.
    """
    if not isinstance(x, Events):
        raise TypeError(f"x: expected Events, got {type(x).__name__}")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype: expected torch.float32 or torch.float64, got {dtype}")
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 0):
        raise ValueError(f"budget: expected a number of spikes, got {budget!r}")
    check_recorder(record)
    check_connections("inputs", inputs, x.device)
    sources, N = inputs.shape
    if sources != x.shape[2]:
        raise ValueError(f"inputs: expected ({x.shape[2]} sources, N), got {tuple(inputs.shape)}")
    if not N:
        raise ValueError("inputs: expected at least one neuron, got 0")
    if recurrent is None:
        return N, slots_for(inputs.last)
    check_connections("recurrent", recurrent, x.device)
    if tuple(recurrent.shape) != (N, N):
        raise ValueError(f"recurrent: expected ({N}, {N}), got {tuple(recurrent.shape)}")
    if recurrent.first < 1:
        raise ValueError(f"recurrent: expected delays of 1 step or more, got {recurrent.first}")
    return N, slots_for(max(inputs.last, recurrent.last))


def slots_for(delay: int) -> int:
    """Steps that arrivals may lie ahead, a power of two, so that a kernel finds its place without a branch."""
    return 1 << delay.bit_length()


def arrays(connections: Connections | None, params: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Pointers, words and weights of stored connections, or none of them and the numbers to draw from."""
    if isinstance(connections, Synapses):
        weight = connections.weight.to(dtype)
        return [connections.indptr, connections.word, weight, params.new_zeros(0, dtype=torch.float64)]
    numbers = [] if connections is None else connections.numbers()
    indptr = torch.zeros(params.shape[1] + 1 if connections is None else 0, dtype=torch.int64, device=params.device)
    word, weight = indptr.new_zeros(0, dtype=torch.int32), params.new_zeros(0, dtype=dtype)
    return [indptr, word, weight, torch.tensor(numbers, dtype=torch.float64, device=params.device)]


def as_events(lists: list[list[Tensor]], spikes: Tensor, x: Events, N: int, done: Tensor) -> Events:
    """Events from the lists of each recording and the number of spikes in each step."""
    T, B = spikes.shape
    empty = spikes.new_zeros(0)
    found = torch.cat([empty, *(part for parts in lists for part in parts)])
    indptr = torch.zeros(T * B + 1, dtype=torch.int64, device=x.device)
    indptr[1:] = spikes.reshape(-1).cumsum(0)
    if x.device.type == "cpu":
        from spiking.kernels.reservoir import cpu

        start = torch.zeros(B, dtype=torch.int64)
        start[1:] = spikes.sum(0).cumsum(0)[:-1]
        index = cpu.gather(indptr, spikes, found, start)
    else:
        by_recording = spikes.t().reshape(-1)
        row = torch.arange(T * B, device=x.device).view(T, B).t().reshape(-1)
        index = found[torch.argsort(row.repeat_interleave(by_recording), stable=True)]
    return Events(indptr, index, (T, B, N), x.dt, None, torch.minimum(done, x.lengths), check=False)
