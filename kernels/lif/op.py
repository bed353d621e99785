"""The leaky integrate-and-fire family: one recurrence, its members by switches.

With ' for the previous step, x the input, W and V the input and recurrent weights and z the spikes:

    I     = x W + z' V + bias
    i     = c i' + k I                        synaptic current; J = i or i' with a synapse, J = I without
    theta = threshold + r w'                  r = 0 unless the adaptation raises the threshold
    u^    = a u' + s (J - w')                 - w' only if the adaptation is a current
    z     = H(u^ - theta)                     0 while refractory
    u     = u^ - theta z   or   u^ (1 - z)    reset; one step later, on z', with reset_time="next"
    w     = b w' + p u* + q z*                * the new values (SE-adLIF, ALIF, adLIF) or the previous (EF-adLIF)

    a = exp(-dt/tau_mem), s = 1 - a or 1, c = exp(-dt/tau_syn), k = 1, b = exp(-dt/tau_adapt)

LIF and current-based LIF have no w. ALIF (Bellec et al. 2018, eqs. 1-3; Yin et al. 2021) has r > 0, p = 0, q = 1 - b.
adLIF (Bittar & Garner 2022) has r = 0 and q standing for b + a theta, because its w reads u before the reset. SE-adLIF
and EF-adLIF are those of Baronig et al. 2024, eqs. 5-8. C-SiLIF (Fabre et al. 2025) turns a complex potential by
lambda = exp((-1/tau_mem + 2 pi i f) dt) in each step; u is its real part, and w its imaginary part times Im lambda / s,
which is EF-adLIF's w with a = b = Re lambda, p = (Im lambda)^2 / s and q = 0; s = 1 - abs(lambda) or 1.

The event path gathers the rows of W inside the loop over time, so that currents are never stored. For the backward
pass a backend keeps the state every CHECKPOINT steps and spikes as bits, and computes the steps between again; the CPU
computes the spikes between again, too, from the same additions in the same order, and keeps their bits there only.
With recurrent weights V only neurons that spiked touch their rows of it, in z' V and in its gradient; the adjoint of z'
takes the rows of neurons whose surrogate is not 0, all of them for one with tails: every gradient is exact.

W and V may be sparse (`SparseWeight`): a spike then touches only the targets that it has. The currents of a sparse W,
and of any W beside a sparse V, are stored, and with a sparse V the spikes of every step as bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels import finite
from spiking.kernels.arguments import floating, number, whole, widened
from spiking.kernels.backend import fall_back, resolve
from spiking.kernels.event_linear.op import event_linear
from spiking.kernels.lif import flat, flat_sparse, reference, watch
from spiking.kernels.lif.rule import CONNECTED, STATES, Flags, Rule
from spiking.kernels.sparse_linear import SparseWeight
from spiking.kernels.sparse_linear.weight import check_layout
from spiking.kernels.surrogate import Surrogate
from spiking.kernels.surrogate import resolve as resolve_surrogate
from spiking.kernels.surrogate.reference import Spike

Number = float | Tensor


class LIFState(NamedTuple):
    """State of a population between two steps, each (B, N).

    Membrane potential after its reset, synaptic current, adaptation, last spikes, refractory steps left.
    """

    membrane: Tensor
    current: Tensor
    adaptation: Tensor
    spikes: Tensor
    refractory: Tensor


@dataclass(frozen=True)
class Adaptation:
    """The slow variable w of an adaptive neuron.

    Arguments:
        kind: "threshold", w raises the threshold by strength * w, or "current", w is subtracted from the input.
        tau: time constant in ms, a number or (N,).
        strength: r, the rise of the threshold per unit of w ("threshold" only).
        membrane: p, drive of w by the membrane potential ("current" only).
        spike: q, drive of w by a spike.
        scale: "decay" multiplies p and q by (1 - b), "one" leaves them.
        source: whether w reads the "new" u and z or the "previous" ones.

    Raises:
        ValueError: naming the argument that is not one of these.
    """

    kind: str
    tau: Number = 150.0
    strength: Number = 0.0
    membrane: Number = 0.0
    spike: Number = 1.0
    scale: str = "decay"
    source: str = "new"

    def __post_init__(self) -> None:
        for name, choices in (
            ("kind", ("current", "threshold")), ("scale", ("decay", "one")), ("source", ("new", "previous")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class Resonance:
    """A membrane potential that turns in the complex plane; its imaginary part is w, see the head of this file.

    Arguments:
        frequency: f in Hz, a number or (N,).
    """

    frequency: Number


def lif(
    x: Events | Tensor,
    state: LIFState | None = None,
    *,
    weight: Tensor | SparseWeight | None = None,
    recurrent: Tensor | SparseWeight | None = None,
    bias: Tensor | None = None,
    tau_mem: Number = 20.0,
    threshold: Number = 1.0,
    tau_syn: Number | None = None,
    adaptation: Adaptation | Resonance | None = None,
    rule: Rule | None = None,
    surrogate: str | Surrogate | Spike = "fast_sigmoid",
    dt: float | None = None,
    lengths: Tensor | None = None,
    trace: bool = False,
    backend: str | None = None,
    check_finite: bool = False,
) -> tuple[Tensor, LIFState] | tuple[tuple[Tensor, Tensor], LIFState]:
    """Run a population of integrate-and-fire neurons over a batch of spike trains or currents.

    Arguments:
        x: Events (T, B, in), or a dense tensor (T, B, in); without `weight`, currents (T, B, N).
        state: where to go on from; `None` is rest.
        weight: (in, N), dense or sparse; row n is the fan-out of input n.
        recurrent: (N, N), dense or sparse; row n is the fan-out of neuron n, felt one step later.
        bias: (N,) constant current.
        tau_mem, tau_syn: time constants in ms, a number or (N,); without `tau_syn` the current has no memory.
        threshold: a number or (N,).
        adaptation: the slow variable of an adaptive neuron, or the frequency of a resonating one.
        rule: switches of integration, reset and refractory time.
        surrogate: derivative of the spike: a name, a `Surrogate`, or a callable x -> z (reference backend).
        dt: step in ms; Events bring their own.
        lengths: (B,) valid steps; Events bring their own. Afterwards outputs are 0 and the state stands still.
        trace: return `(spikes, membrane)` for the output; membrane (T, B, N) is what the threshold saw, before reset.
        backend: "reference", "numba", "triton"; `None` follows `set_backend` and the device.
        check_finite: look for NaN and infinity in input, membrane, state and gradients; costs the trace and a wait.

    Returns:
        spikes (T, B, N), 0 or 1 in the dtype of the currents, and the state after each sample's last valid step.

    Raises:
        ValueError: naming the argument whose shape or value does not fit; on a CPU also weights or parameters that are
            not finite, before the loop.
        FloatingPointError: with `check_finite`, naming the step, sample and neuron where a result is not finite.
    """
    rule = rule or Rule()
    surrogate = resolve_surrogate(surrogate)
    check_layout("weight", weight)
    check_layout("recurrent", recurrent)
    T, B, N = _sizes(x, weight)
    step = _step(x, dt)
    _check(x, N, recurrent, bias)
    if check_finite:
        x, weight, recurrent = watch.given(x, state, weight, recurrent)
    like = x if isinstance(x, Tensor) else weight
    assert like is not None
    storage = like.dtype
    dtype = torch.float64 if storage == torch.float64 else torch.float32
    params, flags = parameters(
        N, step, rule, tau_mem, threshold, tau_syn, adaptation, bias, dtype=dtype, device=like.device
    )
    initial = _initial(state, B, N, dtype, like.device)
    valid = _lengths(x, lengths, T, B, like.device)

    name = resolve(backend, like.device)
    chosen = name
    if name == "triton" and isinstance(recurrent, Tensor) and N > CONNECTED:
        chosen = fall_back("lif", f"the kernel of recurrent weights holds {CONNECTED} neurons, not {N}")
    elif name != "reference" and not isinstance(surrogate, Surrogate):
        chosen = fall_back("lif", "a surrogate given as a function needs autograd")

    sparse = isinstance(weight, SparseWeight) or isinstance(recurrent, SparseWeight)
    fused = isinstance(x, Events) and weight is not None and chosen != "reference" and not sparse
    current: Tensor | None = None
    if not fused:
        current = x if isinstance(x, Tensor) and weight is None else None
        if current is None:
            assert weight is not None
            current = event_linear(x, weight, backend=name)
    if chosen == "reference":
        assert current is not None
        if not torch.compiler.is_compiling():
            flat.demand(None, recurrent if isinstance(recurrent, Tensor) else None, params, valid, T)
        if isinstance(recurrent, SparseWeight):
            recurrent = recurrent.to_dense()
        spikes, membrane, last = reference.lif(
            current.to(dtype), params, initial, flags, surrogate,
            None if recurrent is None else recurrent.to(dtype), valid,
        )
    elif isinstance(recurrent, SparseWeight):
        assert isinstance(surrogate, Surrogate) and current is not None
        inputs = [current, params, initial, recurrent.values]
        save = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
        spikes, membrane, last, _, _ = flat_sparse.lif_sparse(
            current.to(dtype), recurrent.indptr, recurrent.index, recurrent.values.to(dtype), params, initial, valid,
            flags.as_list(), surrogate.numbers, trace or check_finite, save, chosen,
        )
    else:
        assert isinstance(surrogate, Surrogate)
        if current is not None and chosen == "numba":
            current = current.to(dtype)
        events = (x.indptr, x.index, x.value) if isinstance(x, Events) and fused else (None, None, None)
        matrix = None
        if fused:
            assert isinstance(weight, Tensor)
            matrix = weight.to(dtype) if chosen == "numba" else weight
        fan_out = recurrent.to(dtype) if recurrent is not None and chosen == "numba" else recurrent
        inputs = [t for t in (current, matrix, fan_out, params, initial) if t is not None]
        save = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
        spikes, membrane, last, _, _ = flat.lif(
            current, *events, matrix, fan_out, params, initial, valid, T, flags.as_list(), surrogate.numbers,
            trace or check_finite, save, chosen,
        )
    after = LIFState(*last.unbind(0))
    if check_finite:
        spikes, membrane = watch.found(spikes, membrane, after)
    if trace:
        return (spikes.to(storage), membrane.to(storage)), after
    return spikes.to(storage), after


def parameters(
    N: int,
    dt: float,
    rule: Rule,
    tau_mem: Number,
    threshold: Number,
    tau_syn: Number | None,
    adaptation: Adaptation | Resonance | None,
    bias: Tensor | None,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Flags]:
    """The (10, N) block of per-neuron parameters and the integers of the switches, as reference.py takes them."""

    def row(value: Number, name: str = "") -> Tensor:
        """(N,); a number is made on the device, since a copy to a GPU would wait for all work before it."""
        number(name, value, N, device)
        if isinstance(value, Tensor):
            return value.to(device, dtype).expand(N)
        return torch.full((), value, dtype=dtype, device=device).expand(N)

    def decay(name: str, tau: Number) -> Tensor:
        number(name, tau, N, device)
        if not isinstance(tau, Tensor):
            if not (math.isfinite(tau) and tau > 0):
                raise ValueError(f"{name}: expected a time constant above 0 ms, got {tau}")
            if rule.decay == "euler" and tau < dt:
                raise ValueError(f"{name}: decay='euler' needs at least one step of {dt} ms, got {tau} ms")
            return row(math.exp(-dt / tau) if rule.decay == "exp" else 1 - dt / tau)
        tau = widened(tau)
        return row(torch.exp(-dt / tau) if rule.decay == "exp" else 1 - dt / tau)

    zero = row(0.0)
    a = decay("tau_mem", tau_mem)
    s = 1 - a if rule.input_scale == "decay" else row(1.0)
    c = zero if tau_syn is None else decay("tau_syn", tau_syn)
    b, p, q, r, kind, previous = zero, zero, zero, zero, 0, False
    if isinstance(adaptation, Resonance):
        if rule.decay != "exp":
            raise ValueError(f"decay: a resonance takes its step exactly, with 'exp', got {rule.decay!r}")
        angle = row(adaptation.frequency, "adaptation.frequency") * (2 * math.pi * dt / 1000)
        if device.type == "cpu" and not torch.compiler.is_compiling():
            finite.demand("adaptation.frequency", angle, "neuron")  # in the op it would be taken for the decay's
        p = (a * angle.sin()).square() / s
        a = b = a * angle.cos()
        kind, previous = 1, True
    elif adaptation is not None:
        b = decay("adaptation.tau", adaptation.tau)
        gain = 1 - b if adaptation.scale == "decay" else row(1.0)
        q = gain * row(adaptation.spike, "adaptation.spike")
        kind = 1 if adaptation.kind == "current" else 2
        previous = adaptation.source == "previous"
        if kind == 1:
            p = gain * row(adaptation.membrane, "adaptation.membrane")
        else:
            r = row(adaptation.strength, "adaptation.strength")
    flags = Flags.of(rule, tau_syn is not None, kind, previous, dt)
    rest = zero if bias is None else row(bias, "bias")
    return torch.stack([a, s, row(threshold, "threshold"), c, row(1.0), b, p, q, r, rest]), flags


def _step(x: Events | Tensor, dt: float | None) -> float:
    if isinstance(x, Events):
        if dt is not None and dt != x.dt:
            raise ValueError(f"dt: layer {dt} ms, events {x.dt} ms")
        return x.dt
    if dt is None:
        raise ValueError("dt: a dense tensor needs the length of a step in ms, got None")
    if not (math.isfinite(dt) and dt > 0):
        raise ValueError(f"dt: expected a step above 0 ms, got {dt}")
    return float(dt)


def _sizes(x: Events | Tensor, weight: Tensor | SparseWeight | None) -> tuple[int, int, int]:
    if not isinstance(x, (Tensor, Events)):
        raise TypeError(f"x: expected Events or a tensor, got {type(x).__name__}")
    if isinstance(x, Tensor) and (x.ndim != 3 or not x.dtype.is_floating_point):
        raise ValueError(f"x: expected a floating (T, B, N), got {tuple(x.shape)} of {x.dtype}")
    T, B, channels = x.shape
    if weight is None:
        if isinstance(x, Events):
            raise ValueError("weight: events need input weights (in, N), got None")
        if channels == 0:
            raise ValueError(f"x: expected at least one neuron, got {tuple(x.shape)}")
        return T, B, channels
    floating("weight", weight, x.device)
    if weight.ndim != 2 or weight.shape[0] != channels or weight.shape[1] == 0:
        raise ValueError(f"weight: expected (in={channels}, N), got {tuple(weight.shape)}")
    return T, B, weight.shape[1]


def _check(
    x: Events | Tensor, N: int, recurrent: Tensor | SparseWeight | None, bias: Tensor | None
) -> None:
    for name, tensor in (("recurrent", recurrent), ("bias", bias)):
        if tensor is not None:
            floating(name, tensor, x.device, movable=tensor is bias)
    if recurrent is not None and recurrent.shape != (N, N):
        raise ValueError(f"recurrent: expected ({N}, {N}), got {tuple(recurrent.shape)}")
    if bias is not None and bias.shape != (N,):
        raise ValueError(f"bias: expected ({N},), got {tuple(bias.shape)}")


def _initial(state: LIFState | None, B: int, N: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    if state is None:
        return torch.zeros(STATES, B, N, dtype=dtype, device=device)
    if len(state) != STATES:
        raise ValueError(f"state: expected a LIFState of {STATES} tensors, got {len(state)}")
    for name, tensor in zip(LIFState._fields, state, strict=True):
        floating(f"state.{name}", tensor, device)
        if tensor.shape != (B, N):
            raise ValueError(f"state.{name}: expected ({B}, {N}), got {tuple(tensor.shape)}")
    return torch.stack([tensor.to(dtype) for tensor in state])


def _lengths(x: Events | Tensor, lengths: Tensor | None, T: int, B: int, device: torch.device) -> Tensor:
    if isinstance(x, Events):
        if lengths is not None:
            raise ValueError("lengths: Events bring their own, got a second one")
        return x.lengths
    if lengths is None:
        return torch.full((B,), T, dtype=torch.int64, device=device)
    whole("lengths", lengths, B)
    lengths = lengths.to(device, torch.int64)
    return lengths if device.type == "cpu" else lengths.clamp(0, T)  # a look at a GPU's would wait for it
