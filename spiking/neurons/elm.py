"""ELM: one neuron with much memory, expressive leaky memory (Spieler et al. 2024, ICLR, arXiv:2306.16922).

    b_t = kappa_b b_{t-1} + sum over a branch's synapses j of relu(w_j) x_t,j                 branches (B, n)
    m_t = kappa m_{t-1} + gamma ctanh(MLP([b_t, kappa m_{t-1}]))                              memory (B, d)
    y_t = m_t W_y + b_y
    kappa_b = exp(-dt/tau_b),  kappa = exp(-dt/tau_m),  ctanh(x) = 1.7159 tanh(2x/3)
    gamma = lambda (1 - kappa)              rule "v1", of the published weights
    gamma = 1 - exp(-dt lambda/tau_m)       rule "v2"

A unit's memory stays within 1.7159 gamma / (1 - kappa): 1.7159 lambda for every unit in v1, in v2 only for the slow
ones, while a unit much faster than a step is bounded by 1.7159. The published time constants are
min + (max - min) sigmoid(p), whose derivative at both ends is 0, so that these never train; here they fold, see
`bounded.py`. kernels/elm/op.py has the recurrence as it is computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from spiking.events import Events
from spiking.kernels import MLP, MemoryState, Rule, elm, lif
from spiking.kernels.arguments import widened
from spiking.kernels.elm.rule import ACTIVATIONS, SOLVERS
from spiking.kernels.elm.trace import trace
from spiking.kernels.lif import LIFState
from spiking.neurons.bounded import Range, Value, tau
from spiking.neurons.elm_units import Units, spread
from spiking.neurons.layer import declared_by, span
from spiking.neurons.routing import Routing

RULES = ("v2", "v1")
LEARNED = ("tau_memory", "tau_branch")
FILTER = Rule(input_scale="one", reset="none")


class ELMState(NamedTuple):
    """State of ELM neurons between two steps: branch activity (B, n) and memory (B, d)."""

    branch: Tensor
    memory: Tensor


class ELMOptions(TypedDict, total=False):
    """What both neurons take by name; `ELM` says what each is."""

    hidden: int | None
    tau_memory: Value
    tau_branch: Value
    scale: float
    rule: str
    activation: str
    solver: str
    learn: Sequence[str]
    ranges: Mapping[str, Range] | None
    dt: float | None
    check_finite: bool
    device: torch.device | str | None
    dtype: torch.dtype | None


class ELM(Units):
    """An expressive leaky memory neuron whose every input is a branch of its own.

    Arguments:
        in_features: input channels, as many synapses.
        out_features: numbers read from the memory at each step.
        memory: units d.
        routing: which inputs the synapses of a branch listen to, as `BranchELM` makes it.
        **options: by name,
            hidden: units h of the MLP's hidden layer, by default 2 d;
            tau_memory: time constants of the memory in ms: a number, (d,), or (low, high), between which the units are
                spread evenly in log space, a single unit in their middle;
            tau_branch: of the branches in ms: a number for all, (n,), or (low, high), between which each draws its own;
            scale: lambda;
            rule: "v2" or "v1";
            activation: of the hidden layer, "relu" or "silu";
            solver: as in `spiking.kernels.elm`;
            learn: which of "tau_memory" and "tau_branch" train;
            ranges: name -> (low, high), where training keeps them, by default the two ends given;
            dt: step in ms, `None` takes that of the Events;
            check_finite: look for NaN and infinity in every pass;
            device, dtype: of the parameters.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    tau_branch = tau(0.01, 100_000.0)
    routing: Routing | None

    def __init__(
        self, in_features: int, out_features: int, memory: int = 100, *, routing: Routing | None = None,
        **options: Unpack[ELMOptions],
    ) -> None:
        super().__init__()
        given: dict[str, Any] = dict(options)
        place: dict[str, Any] = {"device": given.pop("device", None), "dtype": given.pop("dtype", None)}
        hidden = given.pop("hidden", None)
        self.in_features, self.out_features, self.memory = in_features, out_features, memory
        self.hidden = 2 * memory if hidden is None else hidden
        self._check_sizes("in_features", "out_features", "memory", "hidden")
        self.scale = float(given.pop("scale", 5.0))
        self.rule, self.activation = given.pop("rule", "v2"), given.pop("activation", "relu")
        self.solver, self.dt = given.pop("solver", "serial"), given.pop("dt", None)
        self.check_finite = given.pop("check_finite", False)
        learn, ranges = given.pop("learn", ()), dict(given.pop("ranges", None) or {})
        ends, filters = given.pop("tau_memory", (1.0, 1000.0)), given.pop("tau_branch", 5.0)
        if given:
            raise TypeError(f"{type(self).__name__}: unexpected argument {', '.join(sorted(given))}")
        if isinstance(learn, str):
            raise ValueError(f"learn: expected a sequence of names, such as ('{learn}',), got {learn!r}")
        self.learn = tuple(learn)
        self._check(ranges)

        self.routing = routing
        self.branches = in_features if routing is None else routing.branches
        synapses = in_features if routing is None else routing.branches * routing.synapses
        times = ends
        if isinstance(ends, (tuple, list)):
            times = spread(ends, memory)
            ranges.setdefault("tau_memory", (float(ends[0]), float(ends[1])))
        shared = not isinstance(filters, (tuple, list)) and torch.as_tensor(filters).numel() == 1
        for name, value, size in (
            ("tau_memory", times, memory), ("tau_branch", filters, 1 if shared else self.branches)
        ):
            kept = ranges.get(name)
            declared_by(type(self))[name].create(self, value, size, name in self.learn, kept, **place)

        d, h, n = memory, self.hidden, self.branches
        self.weight = nn.Parameter(torch.empty(synapses, **place))
        self.w_branch = nn.Parameter(torch.empty(n, h, **place))
        self.w_memory = nn.Parameter(torch.empty(d, h, **place))
        self.b_hidden = nn.Parameter(torch.empty(h, **place))
        self.w_update = nn.Parameter(torch.empty(h, d, **place))
        self.b_update = nn.Parameter(torch.empty(d, **place))
        self.w_out = nn.Parameter(torch.empty(d, out_features, **place))
        self.b_out = nn.Parameter(torch.empty(out_features, **place))
        self.reset_parameters()
        if self.dt is not None:
            self._mind(self.dt)

    def reset_parameters(self) -> None:
        """Draw the weights anew as published: synapses 0.5, the rest uniform within 1/sqrt(inputs)."""
        nn.init.constant_(self.weight, 0.5)
        for fan_in, names in (
            (self.branches + self.memory, ("w_branch", "w_memory", "b_hidden")),
            (self.hidden, ("w_update", "b_update")),
            (self.memory, ("w_out", "b_out")),
        ):
            for name in names:
                nn.init.uniform_(getattr(self, name), -(fan_in**-0.5), fan_in**-0.5)

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, config: str | Path | Mapping[str, Any], dt: float | None = None, **options: Any
    ) -> ELM:
        """A neuron with published weights.

        Arguments:
            path: a state dict that PyTorch saved.
            config: the `.json` that came with it, or its content.
            dt: step in ms; `None` takes the config's `delta_t`, and without it that of the Events.
            **options: such as `device`.

        Returns:
            an `ELM`, or a `BranchELM` where the weights have branches, of the version that the file has.

        Raises:
            ValueError: naming the file, and the version or the keys that were found and wanted.
        """
        from spiking.neurons.elm_checkpoint import read

        kind, sizes, found, weights = read(path, config)
        neuron: ELM = kind(*sizes, **{**found, **({} if dt is None else {"dt": dt}), **options})
        own = neuron.state_dict()
        for name, value in weights.items():
            if value.shape != own[name].shape:
                wanted = tuple(own[name].shape)
                got = tuple(value.shape)
                raise ValueError(f"{path}: {name}: expected {wanted}, the size that is the config's, got {got}")
        neuron.load_state_dict({**own, **weights})
        return neuron

    def forward(
        self,
        x: Events | Tensor,
        state: ELMState | None = None,
        *,
        lengths: Tensor | None = None,
        dt: float | None = None,
        trace: bool = False,
    ) -> tuple[Any, ELMState]:
        """Run the neuron over a batch.

        Arguments:
            x: Events (T, B, in) or a dense tensor (T, B, in).
            state: where to go on from; `None` is zeros.
            lengths: (B,) valid steps of a dense batch; Events bring their own.
            dt: step of a dense batch in ms, by default the neuron's.
            trace: return `(y, m)` for y, with the memory m (T, B, d).

        Returns:
            y (T, B, out), 0 after a recording's end, and the state after each sample's last valid step.

        Raises:
            ValueError: if channels or steps are not those of the neuron.
        """
        dt, lengths = self._step(x, dt, lengths)
        if state is None:
            state = ELMState(*(widened(self.w_out.new_zeros(x.shape[1], n)) for n in (self.branches, self.memory)))
        elif state.branch.shape != (x.shape[1], self.branches):
            raise ValueError(f"state: branch: expected {(x.shape[1], self.branches)}, got {tuple(state.branch.shape)}")
        (y, m), after = self._remember(x, state, lengths, dt)
        y = y.add_(self.b_out)
        if lengths is not None:
            y = y.masked_fill_((torch.arange(len(y), device=y.device)[:, None] >= lengths)[:, :, None], 0.0)
        return ((y, m) if trace else y), after

    def synapses(self) -> Tensor:
        """What an input brings to each branch: (in, n), or (in,) where every input is a branch."""
        weight = self.weight.relu()
        return weight if self.routing is None else self.routing.matrix(weight)

    def _remember(
        self, x: Events | Tensor, state: ELMState, lengths: Tensor | None, dt: float
    ) -> tuple[tuple[Tensor, Tensor], ELMState]:
        mlp = MLP(self.w_memory, self.b_hidden, self.w_update, self.b_update)
        decay, gain = self._update(dt, self.rule)
        options: dict[str, Any] = {
            "mlp": mlp, "decay": decay, "gain": gain, "activation": self.activation, "solver": self.solver,
            "check_finite": self.check_finite, "readout": self.w_out,
        }
        given = None if isinstance(x, Events) else lengths
        synapses, leak = self.synapses(), torch.exp(-dt / widened(self.tau_branch))
        if leak.numel() > 1:  # branches with filters of their own: these do not commute with the hidden layer's weights
            weight = synapses if self.routing is not None else torch.diag(synapses)
            (_, branch), filtered = lif(
                x, _resting(state.branch), weight=weight, tau_mem=self.tau_branch, threshold=math.inf, rule=FILTER,
                surrogate="never", dt=dt, lengths=given, trace=True,
            )
            none = state.memory.new_zeros(x.shape[1], self.hidden)
            drive = branch.to(self.w_branch.dtype) @ self.w_branch
            read, last = elm(drive, MemoryState(none, state.memory), lengths=lengths, **options)
            return read, ELMState(filtered.membrane, last.memory)
        weight = synapses[:, None] * self.w_branch if self.routing is None else synapses @ self.w_branch
        begin = MemoryState(state.branch @ self.w_branch.to(state.branch.dtype), state.memory)
        left = trace(x, leak, given)
        left = left * synapses if self.routing is None else left @ widened(synapses)
        steps_of = torch.full((x.shape[1],), x.shape[0], device=left.device) if lengths is None else lengths
        read, last = elm(x, begin, weight=weight, leak=leak, lengths=given, **options)
        return read, ELMState(left + leak ** steps_of[:, None] * state.branch, last.memory)

    def _times(self) -> dict[str, Tensor]:
        """Every time constant in ms, by name."""
        return {name: getattr(self, name) for name in LEARNED}

    def _check(self, ranges: Mapping[str, Range]) -> None:
        for argument, names in (("learn", self.learn), ("ranges", ranges)):
            for name in names:
                if name not in LEARNED:
                    raise ValueError(f"{argument}: expected names among {', '.join(LEARNED)}, got {name!r}")
        for argument, value, known in (
            ("rule", self.rule, RULES), ("activation", self.activation, ACTIVATIONS), ("solver", self.solver, SOLVERS)
        ):
            if value not in known:
                raise ValueError(f"{argument}: expected one of {', '.join(known)}, got {value!r}")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale: expected a finite number above 0, got {self.scale}")
        if self.dt is not None and not (math.isfinite(self.dt) and self.dt > 0):
            raise ValueError(f"dt: expected a step above 0 ms, got {self.dt}")

    def extra_repr(self) -> str:
        parts = [f"{self.in_features}, {self.out_features}, memory={self.memory}, hidden={self.hidden}"]
        parts += [f"{name}={span(getattr(self, name))} ms" for name in LEARNED]
        parts += [f"scale={self.scale:g}, rule={self.rule!r}, activation={self.activation!r}"]
        parts += [f"dt={self.dt:g} ms"] if self.dt is not None else []
        parts += [f"learn={self.learn}"] if self.learn else []
        return ", ".join(parts)


def _resting(branch: Tensor) -> LIFState:
    """Filters that hold this, as `lif` takes them."""
    nothing = torch.zeros_like(branch)
    return LIFState(branch, nothing, nothing, nothing, nothing)
