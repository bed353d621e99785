"""What a run of a reservoir leaves behind, also when it explodes or is interrupted."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spiking.events import Events


class Recorder(NamedTuple):
    """What to write down; nothing dense in time, neurons and recordings at once unless `bins` or `traces` ask for it.

    Arguments:
        spikes: the spikes as Events.
        bins: count spikes in so many equal parts of the T steps; 0 does not.
        traces: sample filtered spikes, x_t = exp(-dt / tau) x_{t-1} + z_t, at the ends of so many equal parts; 0 does
            not. A call without traces ends them: a later one with traces refuses its state.
        tau: ms, of the traces; the same in all calls that go on from each other.
    """

    spikes: bool = True
    bins: int = 0
    traces: int = 0
    tau: float = 30.0


class Record(NamedTuple):
    """What was written down.

    Arguments:
        spikes: Events (T, B, N), or `None`.
        counts: (B, bins, N) spikes in each part.
        traces: (B, traces, N) filtered spikes at the end of each part, or of the recording where that comes before.
        total: (B,) int64, spikes of all neurons.
        last: (B,) int64, step of the last spike in this call; -1 where all were silent.
        steps: (B,) int64, steps simulated: all that the recording has, unless it exploded or was interrupted.
    """

    spikes: Events | None
    counts: Tensor
    traces: Tensor
    total: Tensor
    last: Tensor
    steps: Tensor

    def rate(self, neurons: int, dt: float) -> Tensor:
        """(B,) mean rate of a neuron in Hz."""
        return self.total / (self.steps.clamp(min=1) * dt * 1e-3 * max(neurons, 1))


class Explosion(ArithmeticError):
    """Recordings that passed their budget of spikes; `record` and `state`, that of the op, hold all until then."""

    def __init__(self, message: str, record: Record, state: Any) -> None:
        super().__init__(message)
        self.record, self.state = record, state


class Interrupted(KeyboardInterrupt):
    """A run stopped by hand; `record` and `state`, that of the op, hold all until then; `state` goes on from there."""

    def __init__(self, message: str, record: Record, state: Any) -> None:
        super().__init__(message)
        self.record, self.state = record, state


def check_recorder(recorder: Recorder) -> None:
    """Refuse what can't be recorded.

    Raises:
        ValueError, TypeError: naming the field.
    """
    if not isinstance(recorder, Recorder):
        raise TypeError(f"record: expected a Recorder, got {type(recorder).__name__}")
    for name in ("bins", "traces"):
        value = getattr(recorder, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"record.{name}: expected 0 parts or more, got {value!r}")
    if not 0 < recorder.tau < float("inf"):
        raise ValueError(f"record.tau: expected a time constant above 0 ms, got {recorder.tau!r}")


def ends(parts: int, T: int, device: torch.device) -> Tensor:
    """(parts,) the first step after each of `parts` equal parts of T steps; step t lies in part t * parts // T."""
    k = torch.arange(1, parts + 1, device=device)
    return -(-k * T // max(parts, 1)) if parts else k


def carry(traces: Tensor, before: Tensor, steps: Tensor, lengths: Tensor, T: int, f: float) -> Tensor:
    """Add to each part's own spikes, in place, what is left of earlier ones; the trace after the last step (B, N).

    The kernels let spikes decay to the end of their part or recording; a recording that stopped before, after `steps`,
    has its trace there.
    """
    x, start = before, torch.zeros_like(steps)
    for k, end in enumerate(ends(traces.shape[1], T, steps.device)):
        stop = torch.minimum(steps, end)
        early = (torch.minimum(lengths, end) - stop).to(torch.float64)[:, None]
        own = torch.where(traces[:, k] == 0, 0, traces[:, k] * f**-early).to(x.dtype)
        x = x * f ** (stop - start).clamp(min=0).to(x.dtype)[:, None] + own
        traces[:, k] = x
        start = torch.maximum(start, stop)
    return x.clone()
