"""Layer: what every layer of spiking neurons is, a thin module that owns parameters and calls one op.

    I = x W (+ bias),  spikes, state = lif(I, state, the neuron's parameters)

With `out_features` it holds synapses W (in, out) and neurons, as `torch.nn.LSTM` does; without, neurons only, for
currents that come from elsewhere, such as a convolution. With `fan_out` only some of the synapses exist: then `weight`
holds their strengths (nnz,), and `synapses()` is W. kernels/lif/op.py gives the recurrence and its switches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from spiking.events import Events
from spiking.kernels import LIFState, Rule, SparseWeight, Surrogate, event_linear, lif
from spiking.kernels.surrogate.reference import Spike, resolve
from spiking.neurons.bounded import Bounded, Holder, Range, Value
from spiking.neurons.connectome import Connectome
from spiking.neurons.norm import BatchNorm

ASSUMED_RATE, ASSUMED_DT = 10.0, 2.0  # Hz and ms for which weights are drawn until `spiking.init` is told better


class Options(TypedDict, total=False):
    """What every neuron class takes besides its own parameters; `Layer` says what each is."""

    dt: float | None
    recurrent: bool
    fan_out: int | None
    recurrent_fan_out: int | None
    connectome_seed: int
    bias: bool
    norm: str | None
    learn: Sequence[str]
    ranges: Mapping[str, Range] | None
    surrogate: str | Sequence[Any] | Surrogate | Spike
    input_scale: str
    reset: str
    reset_time: str
    detach_reset: bool
    decay: str
    current: str
    inclusive: bool
    refractory: float
    refractory_mode: str
    check_finite: bool
    device: torch.device | str | None
    dtype: torch.dtype | None


class Layer(Holder):
    """A population of neurons with their synapses; the base of every neuron class.

    Arguments:
        in_features: input channels; without `out_features` the number of neurons.
        out_features: neurons N; `None` is neurons without synapses.
        values: the class's own parameters, each a number, a tensor (N,), or (low, high), between which each neuron
            draws its own (log-uniformly for time constants and thresholds) and, if learned, stays.
        dt: step in ms; `None` takes that of the Events.
        recurrent: neurons feel each other's spikes one step later, through `recurrent` (N, N).
        fan_out: how many neurons an input reaches, drawn at random once (see `Connectome`); `None` is all of them.
        recurrent_fan_out: how many neurons a neuron reaches in a recurrent layer; `None` is all of them.
        connectome_seed: of both draws.
        bias: a learned constant current.
        norm: "batch", batch normalisation of the input currents over time and batch.
        learn: names of the parameters that train.
        ranges: name -> (low, high), where training keeps a parameter.
        surrogate: derivative of the spike, a name or a name with numbers, ("arctan", 5.0), see `kernels/surrogate`.
        input_scale, reset, reset_time, detach_reset, decay, current, inclusive, refractory, refractory_mode: as in
            `spiking.kernels.Rule`.
        check_finite: look for NaN and infinity in every pass, as `spiking.kernels.lif` does.
        device, dtype: of the parameters.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    weight: Tensor | None
    recurrent: Tensor | None
    bias: Tensor | None
    connectome: Connectome | None
    recurrent_connectome: Connectome | None

    def __init__(
        self, in_features: int, out_features: int | None, values: Mapping[str, Value | None],
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        given: dict[str, Any] = dict(options)
        place: dict[str, Any] = {"device": given.pop("device", None), "dtype": given.pop("dtype", None)}
        self.in_features, self.out_features = in_features, population(in_features, out_features)
        self.dt = given.pop("dt", None)
        self.check_finite = given.pop("check_finite", False)
        self.learn = _names(given.pop("learn", ()))
        ranges = dict(given.pop("ranges", None) or {})
        self.surrogate = resolve(given.pop("surrogate", "fast_sigmoid"))
        seed = given.pop("connectome_seed", 0)
        fan_out, recurrent_fan_out = given.pop("fan_out", None), given.pop("recurrent_fan_out", None)
        recurrent, bias, norm = given.pop("recurrent", False), given.pop("bias", False), given.pop("norm", None)
        unknown = set(given) - set(Rule.__dataclass_fields__)
        if unknown:
            raise TypeError(f"{type(self).__name__}: unexpected argument {', '.join(sorted(unknown))}")
        self.rule = Rule(**given)
        if self.dt is not None and not self.dt > 0:
            raise ValueError(f"dt: expected a step above 0 ms, got {self.dt}")
        if norm not in (None, "batch"):
            raise ValueError(f"norm: expected None or 'batch', got {norm!r}")

        N = self.out_features
        self.bounds = {}
        present = [name for name, value in values.items() if value is not None]
        for argument, names in (("learn", self.learn), ("ranges", ranges)):
            for name in names:
                if name not in present:
                    raise ValueError(f"{argument}: expected names among {', '.join(present)}, got {name!r}")
        for name in present:
            value = values[name]
            assert value is not None
            _declared(type(self), name).create(self, value, N, name in self.learn, ranges.get(name), **place)

        def matrix(rows: int, wanted: bool, connectome: Connectome | None) -> nn.Parameter | None:
            shape = (rows, N) if connectome is None else connectome.index.shape
            return nn.Parameter(torch.empty(shape, **place)) if wanted else None

        self.connectome = self.recurrent_connectome = None
        if fan_out is not None:
            if out_features is None:
                raise ValueError("fan_out: a layer without out_features has no synapses")
            self.connectome = Connectome(in_features, N, fan_out, seed, place["device"])
        if recurrent_fan_out is not None:
            if not recurrent:
                raise ValueError("recurrent_fan_out: expected recurrent=True with it, got False")
            self.recurrent_connectome = Connectome(N, N, recurrent_fan_out, seed + 1, place["device"])
        self.register_parameter("weight", matrix(in_features, out_features is not None, self.connectome))
        self.register_parameter("recurrent", matrix(N, recurrent, self.recurrent_connectome))
        self.register_parameter("bias", nn.Parameter(torch.zeros(N, **place)) if bias else None)
        self.norm = BatchNorm(N, **place) if norm else None
        self._check_euler()
        self.reset_parameters()

    def neuron(self) -> dict[str, Any]:
        """The keyword arguments `tau_mem`, `threshold`, `tau_syn` and `adaptation` of `spiking.kernels.lif`."""
        raise NotImplementedError(f"{type(self).__name__}: define neuron(), the parameters for spiking.kernels.lif")

    def synapses(self) -> Tensor | SparseWeight | None:
        """The input weights (in, N) as `event_linear` and `lif` take them, `None` without synapses."""
        if self.weight is None or self.connectome is None:
            return self.weight
        return self.connectome.weight(self.weight)

    def recurrent_synapses(self) -> Tensor | SparseWeight | None:
        """The recurrent weights (N, N) as `lif` takes them, `None` in a layer that is not recurrent."""
        if self.recurrent is None or self.recurrent_connectome is None:
            return self.recurrent
        return self.recurrent_connectome.weight(self.recurrent)

    def reset_parameters(self) -> None:
        """Draw the weights anew, for inputs of 10 Hz; `spiking.init.fluctuation_driven_` fits them to other rates."""
        from spiking.init import fluctuation_driven_

        fluctuation_driven_(self, ASSUMED_RATE, self.dt or ASSUMED_DT)

    def forward(
        self,
        x: Events | Tensor,
        state: LIFState | None = None,
        *,
        lengths: Tensor | None = None,
        dt: float | None = None,
        trace: bool = False,
        events: bool = False,
    ) -> tuple[Any, LIFState]:
        """Run the layer over a batch.

        Arguments:
            x: Events (T, B, in) or a dense tensor (T, B, in); currents (T, B, N) in a layer without synapses.
            state: where to go on from; `None` is rest.
            lengths: (B,) valid steps of a dense batch; Events bring their own.
            dt: step of a dense batch in ms, by default the layer's.
            trace: return `(spikes, membrane)` for the spikes; membrane (T, B, N) is what the threshold saw.
            events: return the spikes as Events, without gradients.

        Returns:
            spikes (T, B, N) and the state after each sample's last valid step.

        Raises:
            ValueError: if channels or steps are not those of the layer.
        """
        dt, lengths = self.time(x, dt, lengths)
        if self.weight is None or self.norm is not None:
            return self.fire(self.current(x, lengths), state, lengths=lengths, dt=dt, trace=trace, events=events)
        if isinstance(x, Tensor):
            x = x.to(self.weight.dtype)
        return self._run(x, state, self.synapses(), lengths, dt, trace, events)

    def current(self, x: Events | Tensor, lengths: Tensor | None = None) -> Tensor:
        """The input currents (T, B, N), weighted and normalised, before bias and recurrent input."""
        weight = self.synapses()
        if weight is None:
            if isinstance(x, Events):
                raise ValueError(f"x: {type(self).__name__} without out_features takes currents (T, B, N), got Events")
        else:
            x = event_linear(x, weight, check_finite=self.check_finite)
        return x if self.norm is None else self.norm(x, lengths)

    def fire(
        self,
        current: Tensor,
        state: LIFState | None = None,
        *,
        lengths: Tensor | None = None,
        dt: float | None = None,
        trace: bool = False,
        events: bool = False,
    ) -> tuple[Any, LIFState]:
        """Run the neurons on currents (T, B, N) that `current` or something else made; arguments as in `forward`."""
        step = self.dt if dt is None else dt
        return self._run(current, state, None, lengths, step, trace, events)

    def _run(
        self, x: Events | Tensor, state: LIFState | None, weight: Tensor | SparseWeight | None, lengths: Tensor | None,
        dt: float | None, trace: bool, events: bool,
    ) -> tuple[Any, LIFState]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not events):
            output: Any
            output, after = lif(
                x, state, weight=weight, recurrent=self.recurrent_synapses(), bias=self.bias, rule=self.rule,
                surrogate=self.surrogate, dt=dt, lengths=None if isinstance(x, Events) else lengths, trace=trace,
                check_finite=self.check_finite, **self.neuron(),
            )
        if events:
            assert dt is not None
            spikes = Events.from_dense(output[0] if trace else output, dt, lengths)
            return ((spikes, output[1]) if trace else spikes), after
        return output, after

    def time(self, x: Events | Tensor, dt: float | None, lengths: Tensor | None) -> tuple[float | None, Tensor | None]:
        """Step in ms and valid steps of a batch, after checking that it fits the layer."""
        return timing(x, self.in_features, self.dt, dt, lengths)

    def _check_euler(self) -> None:
        if self.rule.decay != "euler":
            return
        if self.dt is None:
            raise ValueError("dt: decay='euler' needs the step in ms, got None")
        for name, bounded in declared_by(type(self)).items():
            low = self.bounds[name][0] if name in self.bounds else getattr(self, name)
            if name.startswith("tau") and low is not None and float(torch.as_tensor(low).min()) < self.dt:
                raise ValueError(
                    f"{name}: decay='euler' needs at least one step of {self.dt} ms, got {low}{bounded.unit}"
                )

    def extra_repr(self) -> str:
        shape = f"{self.in_features}" if self.weight is None else f"{self.in_features}, {self.out_features}"
        parts = [shape] + [
            f"{name}={span(getattr(self, name))}{bounded.unit}"
            for name, bounded in declared_by(type(self)).items()
            if getattr(self, name) is not None
        ]
        parts += [f"dt={self.dt:g} ms"] if self.dt is not None else []
        parts += [f"{name}=True" for name in ("recurrent", "bias") if getattr(self, name) is not None]
        parts += [f"learn={self.learn}"] if self.learn else []
        default = Rule()
        parts += [
            f"{name}={getattr(self.rule, name)!r}"
            for name in Rule.__dataclass_fields__
            if getattr(self.rule, name) != getattr(default, name)
        ]
        return ", ".join(parts)


def population(in_features: int, out_features: int | None) -> int:
    """How many neurons a layer of these sizes has.

    Raises:
        ValueError: naming the size that isn't a whole number above 0.
    """
    for name, size in (("in_features", in_features), ("out_features", out_features)):
        if size is not None and not (isinstance(size, int) and size > 0):
            raise ValueError(f"{name}: expected a whole number above 0, got {size!r}")
    return out_features or in_features


def declared_by(kind: type) -> dict[str, Bounded]:
    """The parameters that a neuron class and its bases declare, by name."""
    found: dict[str, Bounded] = {}
    for base in reversed(kind.__mro__):
        found.update({name: item for name, item in vars(base).items() if isinstance(item, Bounded)})
    return found


def _declared(kind: type, name: str) -> Bounded:
    declared = declared_by(kind)
    if name not in declared:
        raise ValueError(f"values: {kind.__name__} declares {', '.join(declared) or 'no parameter'}, got {name!r}")
    return declared[name]


def _names(learn: Sequence[str]) -> tuple[str, ...]:
    if isinstance(learn, str):
        raise ValueError(f"learn: expected a sequence of names, such as ('{learn}',), got {learn!r}")
    return tuple(learn)


def span(value: Tensor) -> str:
    """The smallest and the largest number, for messages."""
    low, high = float(value.detach().min()), float(value.detach().max())
    return f"{low:g}" if low == high else f"{low:.3g}..{high:.3g}"


def timing(
    x: Events | Tensor, channels: int, own: float | None, dt: float | None, lengths: Tensor | None
) -> tuple[float | None, Tensor | None]:
    """Step in ms and valid steps of a batch.

    Arguments:
        x: Events or a tensor (T, B, channels).
        channels: of the layer.
        own: step of the layer in ms, if it has one.
        dt, lengths: given with a dense batch; Events bring their own.

    Raises:
        ValueError, TypeError: if the batch does not fit the layer.
    """
    if not isinstance(x, (Events, Tensor)):
        raise TypeError(f"x: expected Events or a tensor, got {type(x).__name__}")
    if len(x.shape) != 3 or x.shape[2] != channels:
        raise ValueError(f"x: expected (T, B, {channels}), got {tuple(x.shape)}")
    if isinstance(x, Events):
        if lengths is not None:
            raise ValueError("lengths: Events bring their own, got a second one")
        dt, lengths, source = x.dt, x.lengths, "events"
    else:
        source = "input"
    if dt is None:
        return own, lengths
    if not (math.isfinite(dt) and dt > 0):
        raise ValueError(f"dt: expected a step above 0 ms, got {dt}")
    if own is not None and own != dt:
        raise ValueError(f"dt: layer {own} ms, {source} {dt} ms")
    return dt, lengths
