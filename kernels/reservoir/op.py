"""A recurrent network of spiking neurons, simulated at the cost of its spikes.

In step t, with x the input spikes, z the spikes of the network, W and J the input and recurrent weights, d the delay of
a synapse, 0 or more for W and 1 or more for J:

    A_t = sum over synapses of  value W x_{t-d}  +  u R J z_{t-d}      arrives; u R = 1 without short-term plasticity

Linear neurons, with the propagators of neuron.py, which are exact for a step of any length:

    V_t     = a V_{t-1} + (1 - a) bias + A_t                               delta
    V_t     = a V_{t-1} + k i_{t-1} + (1 - a) bias,   i_t = c i_{t-1} + A_t            exponential
    V_t     = a V_{t-1} + l h_{t-1} + k i_{t-1} + (1 - a) bias                         alpha
    z_t     = V_t >= threshold + w_{t-1}
    V_t     = reset, or V_t - threshold - w, where z_t = 1; then held, without input, for the refractory steps
    w_t     = exp(-dt / tau_adapt) w_{t-1} + jump z_t

Izhikevich (2003), by Euler's rule with n steps of dt / n, I the synaptic current; A_t of delta synapses is added to v:

    v += dt / n (0.04 v^2 + 5 v + 140 - u + I + bias),   u += dt / n a (b v - u);   v >= peak: v = c, u += d

This is the order of NEST's iaf_psc_delta, iaf_psc_exp, iaf_psc_alpha and izhikevich, whose spikes it has (tests).
Short-term plasticity: shortterm.py. Connections, stored or drawn from a seed: synapses.py.

A spike costs its fan-out, and a step one pass over the neurons in registers; nothing of size T*B*N is made unless asked
for. No sum depends on the number of threads.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels.backend import resolve
from spiking.kernels.reservoir import reference
from spiking.kernels.reservoir.flat import arrays, as_events, check
from spiking.kernels.reservoir.neuron import IntegrateFire, Izhikevich, Kinetics, Setup, setup
from spiking.kernels.reservoir.record import Explosion, Interrupted, Record, Recorder, carry, ends
from spiking.kernels.reservoir.shortterm import ShortTerm
from spiking.kernels.reservoir.shortterm import resolve as resolve_short_term
from spiking.kernels.reservoir.state import ReservoirState, copy, resting
from spiking.kernels.reservoir.synapses import Connections, Synapses

CHUNK = 1 << 23  # steps of neurons between looks at the keyboard, to begin with
ROOM = 1 << 23  # spikes of all recordings until a buffer is full


@torch.no_grad()
def reservoir(
    x: Events,
    inputs: Connections,
    recurrent: Connections | None,
    neuron: IntegrateFire | Izhikevich,
    kinetics: Kinetics = Kinetics(),  # noqa: B008  immutable
    short_term: ShortTerm | None = None,
    state: ReservoirState | None = None,
    *,
    record: Recorder = Recorder(),  # noqa: B008  immutable
    budget: int | None = None,
    dtype: torch.dtype = torch.float32,
    backend: str | None = None,
) -> tuple[Record, ReservoirState]:
    """Simulate a recurrent network over a batch of recordings.

    Arguments:
        x: Events (T, B, sources).
        inputs: from the sources to N neurons.
        recurrent: from the N neurons to each other, with delays of 1 step or more; `None` is none.
        neuron: what a neuron does.
        kinetics: what an arriving spike does to it.
        short_term: plasticity of the recurrent synapses.
        state: where to go on from; `None` is rest.
        record: what to write down.
        budget: spikes that a recording may have in this call.
        dtype: of the state, float32 or float64; stored weights may be in either.
        backend: "reference", "numba", "triton"; `None` follows `set_backend` and the device.

    Returns:
        what was recorded, and the state after each recording's last valid step.

    Raises:
        ValueError, TypeError: naming the argument that does not fit.
        Explosion: naming the recordings that passed the budget, with their steps and rates.
        Interrupted: on Ctrl-C; says until when, and holds what was recorded.
    """
    N, slots = check(x, inputs, recurrent, record, budget, dtype)
    T, B, _ = x.shape
    device = x.device
    made = setup(neuron, kinetics, N, x.dt, dtype, device)
    table, group = resolve_short_term(short_term, N, x.dt, dtype, device)
    rest = resting(made, B, slots, table.shape[2])
    now = rest if state is None else copy(state, rest)
    now = now._replace(trace=_trace(now, record))
    most = T * N if budget is None else budget
    name = resolve(backend, device)
    if name == "reference":
        found, stopped = _reference(x, inputs, recurrent, made, table, group, now, record, most), None
    else:
        found, stopped = _chunks(x, inputs, recurrent, made, table, group, now, record, most, slots, name)
    f = math.exp(-x.dt / record.tau)
    if record.traces:
        now = now._replace(trace=carry(found.traces, now.trace, found.steps, x.lengths, T, f))
    if stopped is not None:
        said = f"interrupted after step {stopped} of {T}: .record and .state hold all until then"
        raise Interrupted(said, found, now)
    burst = (found.total > most).nonzero()[:, 0].tolist()
    if burst:
        rates = found.rate(N, x.dt)
        said = ", ".join(f"recording {b} at step {int(found.steps[b]) - 1} ({rates[b]:.0f} Hz)" for b in burst[:5])
        more = "" if len(burst) <= 5 else f" and {len(burst) - 5} more"
        raise Explosion(f"activity: passed the budget of {most} spikes: {said}{more}", found, now)
    return found, now


def _trace(now: ReservoirState, record: Recorder) -> Tensor:
    """The trace to go on from; none where this call records none, for it would miss this call's spikes."""
    if not record.traces:
        return now.trace[:, :0]
    if now.trace.shape[1]:
        return now.trace
    if bool((now.clock > 0).any()):
        raise ValueError(
            f"record.traces: expected a state whose steps were all run with traces, got {int(now.clock.max())} steps "
            "without; state._replace(trace=torch.zeros_like(state.membrane)) begins them anew"
        )
    return torch.zeros_like(now.membrane)


def _reference(
    x: Events, inputs: Connections, recurrent: Connections | None, made: Setup, table: Tensor, group: Tensor,
    now: ReservoirState, record: Recorder, most: int,
) -> Record:  # fmt: skip
    T, B, _ = x.shape
    dense, lengths = x.to_dense(made.params.dtype), x.lengths
    stored, fed = inputs.expand().to(x.device), None if recurrent is None else recurrent.expand().to(x.device)
    before = ReservoirState(*(field.clone() for field in now))
    z, _ = reference.reservoir(dense, lengths, stored, fed, made, table, group, x.dt, now)
    over = z.sum(2).cumsum(0) > most
    if bool(over.any()):
        lengths = torch.where(over.any(0), over.to(torch.uint8).argmax(0) + 1, lengths) if T else lengths
        for field, value in zip(now, before, strict=True):
            field.copy_(value)
        z, _ = reference.reservoir(dense, lengths, stored, fed, made, table, group, x.dt, now)
    t, part = torch.arange(T, device=x.device), z.to(made.params.dtype)
    counts, traces = (part.new_zeros(B, parts, part.shape[2]) for parts in (record.bins, record.traces))
    if record.bins:
        counts.index_add_(1, t * record.bins // max(T, 1), part.transpose(0, 1))
    if record.traces:
        into = t * record.traces // max(T, 1)
        last = torch.minimum(ends(record.traces, T, x.device)[into][:, None], x.lengths) - 1
        fade = math.exp(-x.dt / record.tau) ** (last - t[:, None]).clamp(min=0).to(part.dtype)
        traces.index_add_(1, into, (part * fade[:, :, None]).transpose(0, 1))
    active = z.any(2)
    final = torch.where(active, t[:, None], -1).amax(0) if T else torch.full_like(lengths, -1)
    spikes = Events.from_dense(z, x.dt, lengths) if record.spikes else None
    return Record(spikes, counts, traces, z.sum((0, 2)), final, lengths.clone())


def _chunks(
    x: Events, inputs: Connections, recurrent: Connections | None, made: Setup, table: Tensor, group: Tensor,
    now: ReservoirState, record: Recorder, most: int, slots: int, backend: str,
) -> tuple[Record, int | None]:  # fmt: skip
    """Run some steps at a time, so that Ctrl-C is heard and no buffer need hold all spikes; the step it came at."""
    T, B, _ = x.shape
    params, hold, flags = made
    N, device, dtype = params.shape[1], x.device, params.dtype
    value = params.new_empty(0) if x.value is None else x.value.to(dtype)
    fade = torch.tensor(math.exp(-x.dt / record.tau), dtype=torch.float64) ** torch.arange(T if record.traces else 0)
    wide = any(isinstance(c, Synapses) and c.weight.dtype == torch.float64 for c in (inputs, recurrent))
    stored = torch.float64 if wide and dtype == torch.float64 else torch.float32  # one type for both: one compilation
    given = [
        x.indptr, x.index, value, x.lengths, *arrays(inputs, params, stored), *arrays(recurrent, params, stored),
        params, hold, table, group, fade.to(device, dtype),
    ]  # fmt: skip

    def whole(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.zeros(*shape, dtype=dtype, device=device)

    done, fill, total, final = whole(B), whole(B), whole(B), whole(B) - 1
    size = min(T * N, max(N, ROOM // max(B, 1))) if record.spikes else 0
    buffer = torch.empty(B, size, dtype=torch.int32, device=device)
    spikes = whole(T, B, dtype=torch.int32)
    counts, traces = (params.new_zeros(B, parts, N) for parts in (record.bins, record.traces))
    changing = [*now[:-1], done, fill, buffer, spikes, total, final, counts, traces]
    pieces: list[list[Tensor]] = []  # spikes in the order in which they left the buffer, of each recording
    taken = 0

    def until(stop: int) -> None:
        """Advance all recordings to a step; called again after Ctrl-C, wherever that struck."""
        nonlocal taken
        while True:
            if len(pieces) > taken:  # what is in the buffer was copied: an append is whole or not at all
                fill.zero_()
                taken = len(pieces)
            torch.ops.spiking.reservoir_advance(given, changing, [*flags, slots], stop, most, x.dt, backend)
            if record.spikes:
                pieces.append([buffer[b, :n].clone() for b, n in enumerate(fill.tolist())])
            if not bool(((done < x.lengths.clamp(max=stop)) & (total <= most)).any()):
                return

    stop, chunk, stopped = 0, max(1, CHUNK // max(1, B * N)), False
    while stop < T and not stopped:
        stop, start = min(T, stop + chunk), time.monotonic()
        try:
            until(stop)
        except KeyboardInterrupt:
            stopped = True
            until(stop)
        if time.monotonic() - start < 0.25:
            chunk *= 2
    lists = [[piece[b] for piece in pieces] for b in range(B)]
    events = as_events(lists, spikes[:stop], x, N, done) if record.spikes else None
    return Record(events, counts, traces, total, final, done), stop if stopped else None


@torch.library.custom_op("spiking::reservoir_advance", mutates_args=("changing",))
def _advance(
    given: list[Tensor], changing: list[Tensor], flags: list[int], stop: int, budget: int, dt: float, backend: str
) -> None:
    """Bring all recordings to step `stop`, or as far as the buffers of their spikes reach, in place."""
    if backend == "triton":
        from spiking.kernels.reservoir import gpu

        gpu.advance(given, changing, flags, stop, budget, dt)
    else:
        from spiking.kernels.reservoir import cpu

        cpu.advance(given, changing, flags, stop, budget, dt)


@_advance.register_fake
def _(
    given: list[Tensor], changing: list[Tensor], flags: list[int], stop: int, budget: int, dt: float, backend: str
) -> None:
    return None
