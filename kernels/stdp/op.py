"""A recurrent network of spiking neurons, simulated as by `reservoir`, whose synapses and thresholds learn meanwhile.

In step t the neurons fire first (kernels/reservoir/op.py). Then synapses learn, and what they have learned counts for
the spikes that leave in this step. With z the spikes, i a source, j a target, d the delay of their synapse, which lies
in the dendrite as in NEST: the synapse sees its target's own spikes d steps late, as z_j(t - d), and

    r1, r2   traces of z_i(t)       with tau_plus, tau_x            a trace decays by exp(-dt / tau) a step and grows
    o1, o2   traces of z_j(t - d)   with tau_minus, tau_y           by 1 with a spike, or returns to 1 if `nearest`

before they grow by the spikes of this step, pairs and triplets of spikes (Pfister & Gerstner 2006, eq. 2 to 4) make

    P = r1 (A2+ + A3+ o2)           where z_j(t - d) = 1
    M = o1 (A2- + A3- r2) theta     where z_i(t) = 1, after P; theta = 1 but for `sliding`
    dw = (strong - weak) (P q^mu+  -  M p^mu-),      p = (w - weak) / (strong - weak),   q = 1 - p     (Guetig 2003)

and w stays between weak and strong. With an eligibility trace (Izhikevich 2007, Florian 2007) dw goes into c, of which
a reward signal R makes strength; before the pairs of this step,

    c = exp(-dt / tau_eligibility) c,   w = w + c g,   g = g' + (1 - exp(-dt / tau_reward)) (R_t - g')  or  g = R_t

`sliding` (Bienenstock, Cooper & Munro 1982) makes depression follow the mean square of the neuron's own rate, brought
up to date when one of its spikes comes and held until the next:

    tau_rate dy/dt = -y + sum of spikes,     tau_theta dtheta/dt = -theta + (y / rate)^2

Homeostasis (Triesch 2005; Lazar et al. 2009) moves the threshold h of the neurons: h_t = h_{t-1} + lr (z_t - rate dt).

Only spikes cost anything: traces are what they were at their last spike, with its step, and decay when they are read;
strengths change when a spike comes to either side; rewards act on a synapse when it is touched next, by their sum
weighted with the decay, and on all of them where the sign of g turns, so that bounds hold in each step.

Backends are "reference" and "numba". There is one network, and recordings change it one after the other, so that a
program on a GPU would run alone, one spike after the other: there is no Triton kernel, and asking for one runs the
reference with a warning.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import torch
from scipy.signal import lfilter
from torch import Tensor

from spiking.events import Events
from spiking.kernels.arguments import floating
from spiking.kernels.backend import fall_back, resolve
from spiking.kernels.finite import demand
from spiking.kernels.reservoir.flat import arrays, as_events, check
from spiking.kernels.reservoir.neuron import RESET, IntegrateFire, Izhikevich, Kinetics, Setup, setup
from spiking.kernels.reservoir.record import Explosion, Interrupted, Record, Recorder
from spiking.kernels.reservoir.shortterm import ShortTerm
from spiking.kernels.reservoir.shortterm import resolve as resolve_short_term
from spiking.kernels.reservoir.state import ReservoirState, resting
from spiking.kernels.reservoir.state import copy as copy_reservoir
from spiking.kernels.reservoir.synapses import Connections
from spiking.kernels.stdp import reference
from spiking.kernels.stdp.plastic import Plastic
from spiking.kernels.stdp.rule import Homeostasis, Rule, check_rule, homeostasis_rows, numbers
from spiking.kernels.stdp.state import LearningState, copy, fresh

CHUNK = 1 << 22  # steps of neurons between looks at the keyboard, to begin with
ROOM = 1 << 22  # spikes until a buffer is full
FORGOTTEN = 45.0  # time constants after which a trace counts as 0: exp(-45) = 3e-20


class PlasticNetwork(NamedTuple):
    """The network that learns; its fields are arguments of `reservoir`."""

    inputs: Connections
    recurrent: Plastic
    neuron: IntegrateFire | Izhikevich
    kinetics: Kinetics = Kinetics()
    short_term: ShortTerm | None = None


@torch.no_grad()
def stdp(
    x: Events,
    network: PlasticNetwork,
    rule: Rule | None = None,
    homeostasis: Homeostasis | None = None,
    state: LearningState | ReservoirState | None = None,
    *,
    reward: Tensor | None = None,
    spikes: bool = True,
    budget: int | None = None,
    dtype: torch.dtype = torch.float64,
    backend: str | None = None,
) -> tuple[Record, LearningState]:
    """Simulate a network over one recording, and let it learn.

    Arguments:
        x: Events (T, 1, sources).
        network: inputs, synapses that learn, neurons.
        rule: how synapses learn; `None`: they don't.
        homeostasis: how thresholds do; `None`: they don't.
        state: where to go on from; that of a network alone begins with the strengths given, `None` besides at rest.
        reward: (T,) R of each step, with an eligibility trace only.
        spikes: write down the spikes as Events.
        budget: spikes that the recording may have in this call.
        dtype: of state and strengths, float64 or float32, where changes below 6e-8 of a strength are lost.
        backend: "reference" or "numba"; `None` follows `set_backend`.

    Returns:
        spikes, their number and the steps, and the state, whose `weight` and `threshold` have learned.

    Raises:
        ValueError, TypeError: naming the argument that does not fit.
        Explosion: if the recording passes its budget, with step and rate.
        Interrupted: on Ctrl-C; says until when, and holds what was recorded and learned.
    """
    if not isinstance(network, PlasticNetwork):
        raise TypeError(f"network: expected a PlasticNetwork, got {type(network).__name__}")
    if not isinstance(network.recurrent, Plastic):
        raise TypeError(f"network.recurrent: expected Plastic, got {type(network.recurrent).__name__}")
    N, slots = check(x, network.inputs, network.recurrent.synapses, Recorder(spikes), budget, dtype)
    if x.device.type != "cpu":
        raise ValueError(f"x: expected Events on a CPU, which learns spike by spike, got {x.device}")
    T, B, _ = x.shape
    if B != 1:
        raise ValueError(f"x: expected one recording, (T, 1, sources), for each changes the network, got {B}")
    if rule is not None:
        check_rule(rule)
    made = setup(network.neuron, network.kinetics, N, x.dt, dtype, x.device)
    if homeostasis is not None and isinstance(network.neuron, Izhikevich):
        raise ValueError("homeostasis: expected neurons with a threshold, got Izhikevich's")
    rows = homeostasis_rows(homeostasis, N, x.dt, made.params[RESET], dtype)
    table, group = resolve_short_term(network.short_term, N, x.dt, dtype, x.device)
    rest = resting(made, 1, slots, table.shape[2])
    if isinstance(state, ReservoirState):
        rest, state = copy_reservoir(state, rest), None
    begin = fresh(rest, network.recurrent, made, rule, homeostasis is not None)
    now = begin if state is None else copy(state, begin, network.recurrent)
    now = now._replace(network=now.network._replace(trace=now.network.trace[:, :0]))
    given = _reward(reward, rule, T, x.dt, float(now.reward))
    most = T * N if budget is None else budget
    name = resolve(backend, x.device)
    if name == "triton":
        name = fall_back("stdp", "a single network that learns spike after spike has no Triton kernel")
    run = _reference if name == "reference" else _numba
    found, now, stopped = run(x, network, rule, rows, made, table, group, now, given, most, spikes)
    done = int(found.steps[0])
    if done and len(given):
        now = now._replace(reward=given[done - 1].clone())
    if stopped:
        raise Interrupted(f"interrupted after step {done} of {T}: .record and .state hold all until then", found, now)
    if int(found.total[0]) > most:
        said = f"step {done - 1} ({float(found.rate(N, x.dt)[0]):.0f} Hz)"
        raise Explosion(f"activity: passed the budget of {most} spikes at {said}", found, now)
    return found, now


def _reward(reward: Tensor | None, rule: Rule | None, T: int, dt: float, before: float) -> Tensor:
    """(T,) float64, g of each step; none without an eligibility trace."""
    if rule is None or rule.tau_eligibility is None:
        if reward is not None:
            raise ValueError("reward: expected None, for the rule has no eligibility trace, got a signal")
        return torch.zeros(0, dtype=torch.float64)
    if reward is None:
        raise ValueError(f"reward: expected ({T},), one number a step, for the rule waits for it, got None")
    floating("reward", reward, torch.device("cpu"))
    if reward.shape != (T,):
        raise ValueError(f"reward: expected ({T},), one number a step, got {tuple(reward.shape)}")
    demand("reward", reward, "step")
    given = reward.detach().double()
    if rule.tau_reward is None or not T:
        return given
    stays = math.exp(-dt / rule.tau_reward)
    spread, _ = lfilter([1 - stays], [1, -stays], given.numpy(), zi=[stays * before])
    return torch.from_numpy(spread)


Outcome = tuple[Record, LearningState, bool]


def _record(events: Events | None, now: LearningState, total: Tensor, final: Tensor, steps: Tensor) -> Record:
    empty = now.weight.new_zeros(1, 0, now.seen.numel())
    return Record(events, empty, empty.clone(), total, final, steps)


def _reference(
    x: Events, network: PlasticNetwork, rule: Rule | None, rows: Tensor, made: Setup, table: Tensor, group: Tensor,
    now: LearningState, reward: Tensor, most: int, spikes: bool,
) -> Outcome:  # fmt: skip
    z, now = reference.stdp(
        x.to_dense(made.params.dtype)[: int(x.lengths[0]), 0], network, rule, rows, made, table, group, x.dt, now,
        reward, most,
    )  # fmt: skip
    steps, active = torch.tensor([len(z)]), z.any(1).nonzero()[:, 0]
    whole = torch.zeros(len(x), 1, z.shape[1], dtype=torch.bool)
    whole[: len(z), 0] = z
    events = Events.from_dense(whole, x.dt, steps) if spikes else None
    final = active[-1:] if len(active) else torch.tensor([-1])
    return _record(events, now, z.sum().view(1), final, steps), now, False


def _numba(
    x: Events, network: PlasticNetwork, rule: Rule | None, rows: Tensor, made: Setup, table: Tensor, group: Tensor,
    now: LearningState, reward: Tensor, most: int, spikes: bool,
) -> Outcome:  # fmt: skip
    """Run some steps at a time, so that Ctrl-C is heard and no buffer need hold all spikes."""
    params, hold, flags = made
    T, N, dtype, recurrent = len(x), params.shape[1], params.dtype, network.recurrent
    value = params.new_empty(0) if x.value is None else x.value.to(dtype)
    given = [
        x.indptr, x.index, value, *arrays(network.inputs.expand(), params, dtype)[:3],
        recurrent.synapses.indptr, recurrent.synapses.word, params, hold, table, group, *recurrent.index,
        recurrent.ends.to(dtype), numbers(rule, x.dt), *_decays(rule, x.dt, int(now.network.clock[0]) + T, dtype),
        *_later(rule, reward, x.dt), rows,
    ]  # fmt: skip
    done, fill, total, final = (torch.zeros(1, dtype=torch.int64) for _ in range(4))
    final -= 1
    size = min(T * N, max(N, ROOM)) if spikes else 0
    buffer, count = torch.empty(size, dtype=torch.int32), torch.zeros(T, 1, dtype=torch.int32)
    stamp = torch.full((now.eligibility.numel(),), -1)
    changing = [*now.network[:-1], *now[1:8], now.threshold, stamp, done, fill, buffer, count, total, final]
    pieces: list[Tensor] = []  # spikes in the order in which they left the buffer
    taken, chunk, end, stopped = 0, max(1, CHUNK // N), int(x.lengths[0]), False
    try:
        while int(done) < end and int(total) <= most:
            if len(pieces) > taken:  # what is in the buffer was copied: an append is whole or not at all
                fill.zero_()
                taken = len(pieces)
            start = time.monotonic()
            torch.ops.spiking.stdp_advance(given, changing, flags, min(end, int(done) + chunk), most, x.dt)
            pieces.append(buffer[: int(fill)].clone())
            if time.monotonic() - start < 0.25:
                chunk *= 2
    except KeyboardInterrupt:
        stopped = True
        if len(pieces) == taken:
            pieces.append(buffer[: int(fill)].clone())
    torch.ops.spiking.stdp_settle(given, changing)
    events = as_events([pieces], count, x, N, done) if spikes else None
    return _record(events, now, total, final, done), now, stopped


def _decays(rule: Rule | None, dt: float, latest: int, dtype: torch.dtype) -> list[Tensor]:
    """What is left of r1, o1 and c after so many steps, until nothing is, or as far as step `latest` lies from any."""
    if rule is None:
        return [torch.zeros(1, dtype=dtype) for _ in range(3)]
    found = []
    for tau in (rule.tau_plus, rule.tau_minus, rule.tau_eligibility or dt):
        steps = torch.arange(1 + min(math.ceil(FORGOTTEN * tau / dt), latest), dtype=torch.float64)
        found.append(torch.exp(-steps * dt / tau).to(dtype))
    return found


def _later(rule: Rule | None, reward: Tensor, dt: float) -> list[Tensor]:
    """G_t = sum over s >= t of exp(-(s - t + 1) dt / tau) g_s, (T + 1,), and the steps at which g turns its sign, (T,).

    A synapse whose c stands as it was after step a gets c (G_{a+1} - exp(-(b - a) dt / tau) G_{b+1}) by step b.
    """
    T = len(reward)
    if not T or rule is None or rule.tau_eligibility is None:
        return [torch.zeros(1, dtype=torch.float64), torch.zeros(0, dtype=torch.bool)]
    left = math.exp(-dt / rule.tau_eligibility)
    later = torch.zeros(T + 1, dtype=torch.float64)
    later[:T] = torch.from_numpy(lfilter([left], [1, -left], reward.flip(0).numpy()).copy()).flip(0)
    turns, steps = torch.zeros(T, dtype=torch.bool), reward.nonzero()[:, 0]
    sign = reward[steps] > 0
    turns[steps[1:][sign[1:] != sign[:-1]]] = True
    return [later, turns]


@torch.library.custom_op("spiking::stdp_advance", mutates_args=("changing",))
def _advance(
    given: list[Tensor], changing: list[Tensor], flags: list[int], stop: int, budget: int, dt: float
) -> None:
    """Bring the network to step `stop`, or as far as the buffer of its spikes reaches, in place."""
    from spiking.kernels.stdp import cpu

    cpu.advance(given, changing, flags, stop, budget, dt)


@_advance.register_fake
def _(given: list[Tensor], changing: list[Tensor], flags: list[int], stop: int, budget: int, dt: float) -> None:
    return None


@torch.library.custom_op("spiking::stdp_settle", mutates_args=("changing",))
def _settle(given: list[Tensor], changing: list[Tensor]) -> None:
    """Bring strengths and eligibilities to the last step that was done, in place."""
    from spiking.kernels.stdp import cpu

    cpu.settle(given, changing)


@_settle.register_fake
def _(given: list[Tensor], changing: list[Tensor]) -> None:
    return None
