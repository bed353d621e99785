"""ELMLayer: many small ELM neurons with weights of their own, wired at random (Spieler, Martius & Levina 2026).

    b_t,n,k = scale sum over the synapses j of branch k of w_j [x_t ; a_{t-1}]_i(j)
    the memory and the activity a_t of kernels/elm_layer/op.py, from I_t,n = b_t,n W_b

Every synapse draws what it listens to once, with replacement: with the probability `recurrent` one of the layer's own
neurons, one step before, else an input. Branches have no filter. Time constants train within
[low / 10, high sqrt(10)] of those they start from, so that the first and the last can move either way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spiking.events import Events
from spiking.kernels import MLP, Surrogate, event_linear
from spiking.kernels.arguments import widened
from spiking.kernels.elm_layer import LayerState, elm_layer
from spiking.kernels.elm_layer.flat import ACTIVATIONS, OUTPUTS
from spiking.neurons.bounded import Range
from spiking.neurons.elm_units import Units, spread
from spiking.neurons.layer import declared_by, span


class ELMLayer(Units):
    """A layer of N expressive leaky memory neurons.

    Arguments:
        in_features: input channels.
        out_features: neurons N.
        memory: units d of each.
        hidden: units h of each MLP's hidden layer, by default 2 d.
        branches: of each neuron, by default 2 h.
        synapses: of each branch, by default as many as branches.
        recurrent: probability that a synapse listens to a neuron of this layer.
        seed: of the connections.
        tau_memory: (low, high) in ms, between which each neuron's units are spread evenly in log space.
        high_pass: time constant in ms of the slow part that is taken off what is read; `None` takes nothing off.
        scale: lambda, of the memory's update.
        input_scale: of what branches sum.
        activation: of the hidden layer, "relu_squared", "relu" or "silu".
        output: activity, "relu", "identity" or "spike".
        surrogate: derivative of the spike.
        learn: ("tau_memory",) trains the time constants.
        ranges: name -> (low, high), where training keeps them.
        dt: step in ms; `None` takes that of the Events.
        device, dtype: of the parameters.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    index: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        memory: int = 10,
        *,
        hidden: int | None = None,
        branches: int | None = None,
        synapses: int | None = None,
        recurrent: float = 0.0,
        seed: int = 0,
        tau_memory: Sequence[float] = (1.0, 1000.0),
        high_pass: float | None = 5.0,
        scale: float = 5.0,
        input_scale: float = 1.0,
        activation: str = "relu_squared",
        output: str = "relu",
        surrogate: str | Surrogate = "fast_sigmoid",
        learn: Sequence[str] = (),
        ranges: Mapping[str, Range] | None = None,
        dt: float | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.memory = in_features, out_features, memory
        self.hidden = 2 * memory if hidden is None else hidden
        self.branches = 2 * self.hidden if branches is None else branches
        self.synapses = self.branches if synapses is None else synapses
        self._check_sizes("in_features", "out_features", "memory", "hidden", "branches", "synapses")
        if not 0 <= recurrent <= 1:
            raise ValueError(f"recurrent: expected a probability, got {recurrent}")
        for name, number in (("high_pass", high_pass), ("scale", scale), ("input_scale", input_scale), ("dt", dt)):
            if number is not None and not (math.isfinite(number) and number > 0):
                raise ValueError(f"{name}: expected a finite number above 0, got {number}")
        for name, chosen, known in (("activation", activation, ACTIVATIONS), ("output", output, OUTPUTS)):
            if chosen not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {chosen!r}")
        self.recurrent, self.high_pass, self.dt = recurrent, high_pass, dt
        self.scale, self.input_scale = float(scale), float(input_scale)
        self.activation, self.output, self.surrogate = activation, output, surrogate
        self.learn = tuple(learn)
        for argument, names in (("learn", self.learn), ("ranges", ranges or {})):
            if isinstance(learn, str) or any(name != "tau_memory" for name in names):
                raise ValueError(f"{argument}: expected ('tau_memory',) or nothing, got {names!r}")

        times = spread(tau_memory, memory).repeat(out_features)
        kept = (ranges or {}).get("tau_memory", (tau_memory[0] / 10, tau_memory[1] * math.sqrt(10)))
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        declared_by(type(self))["tau_memory"].create(
            self, times, times.numel(), "tau_memory" in self.learn, (float(kept[0]), float(kept[1])), **place
        )
        self.register_buffer("index", self._wire(seed).to(device))
        N, d, h, n = out_features, memory, self.hidden, self.branches
        self.weight = nn.Parameter(torch.empty(N, n, self.synapses, **place))
        self.w_branch = nn.Parameter(torch.empty(N, n, h, **place))
        self.w_memory = nn.Parameter(torch.empty(N, d, h, **place))
        self.b_hidden = nn.Parameter(torch.empty(N, h, **place))
        self.w_update = nn.Parameter(torch.empty(N, h, d, **place))
        self.b_update = nn.Parameter(torch.empty(N, d, **place))
        self.w_out = nn.Parameter(torch.empty(N, d, **place))
        self.bias = nn.Parameter(torch.empty(N, **place))
        self.reset_parameters()
        if dt is not None:
            self._mind(dt)

    def reset_parameters(self) -> None:
        """Draw the weights anew as published: uniform within 1/sqrt(inputs), the bias of the activity 0."""
        both = self.branches + self.memory
        for fan_in, *weights in (
            (self.synapses, self.weight), (both, self.w_branch, self.w_memory, self.b_hidden),
            (self.hidden, self.w_update, self.b_update), (self.memory, self.w_out),
        ):  # fmt: skip
            for weight in weights:
                nn.init.uniform_(weight, -(fan_in**-0.5), fan_in**-0.5)
        nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Events | Tensor,
        state: LayerState | None = None,
        *,
        lengths: Tensor | None = None,
        dt: float | None = None,
    ) -> tuple[Tensor, LayerState]:
        """Run the layer over a batch.

        Arguments:
            x: Events (T, B, in) or a dense tensor (T, B, in).
            state: where to go on from; `None` is zeros.
            lengths: (B,) valid steps of a dense batch; Events bring their own.
            dt: step of a dense batch in ms, by default the layer's.

        Returns:
            activity (T, B, N), 0 after a recording's end, and the state after each sample's last valid step.

        Raises:
            ValueError: if channels or steps are not those of the layer.
        """
        dt, lengths = self._step(x, dt, lengths)
        N, d, h = self.out_features, self.memory, self.hidden
        decay, gain = (held.view(N, d) for held in self._update(dt))
        wires = widened(self._bundle())
        drive = event_linear(x, wires[: self.in_features].reshape(self.in_features, N * h))
        activity, after = elm_layer(
            drive.view(*drive.shape[:2], N, h), state,
            mlp=MLP(*(widened(w) for w in (self.w_memory, self.b_hidden, self.w_update, self.b_update))), decay=decay,
            gain=gain, read=widened(self.w_out), bias=widened(self.bias),
            high_pass=None if self.high_pass is None else math.exp(-dt / self.high_pass),
            recurrent=wires[self.in_features :] if self.recurrent else None, activation=self.activation,
            output=self.output, surrogate=self.surrogate, lengths=lengths,
        )  # fmt: skip
        return activity.to(self.weight.dtype), after

    def _times(self) -> dict[str, Tensor]:
        """Every time constant in ms, by name."""
        own = {} if self.high_pass is None else {"high_pass": torch.tensor([self.high_pass])}
        return {"tau_memory": self.tau_memory, **own}

    def _bundle(self) -> Tensor:
        """(in + N, N, h) what each input, and each neuron, brings to each hidden layer: synapses times W_b."""
        N, h = self.out_features, self.hidden
        senders = self.in_features + (N if self.recurrent else 0)
        through = self.input_scale * self.weight[..., None] * self.w_branch[:, :, None, :]
        receiver = torch.arange(N, device=self.index.device)[:, None, None]
        whole = through.new_zeros(senders * N, h)
        return whole.index_add(0, (self.index * N + receiver).flatten(), through.flatten(0, 2)).view(senders, N, h)

    def _wire(self, seed: int) -> Tensor:
        """(N, branches, synapses) what each synapse listens to: inputs, then neurons of this layer."""
        dice = torch.Generator().manual_seed(seed)
        shape = (self.out_features, self.branches, self.synapses)
        inputs = torch.randint(self.in_features, shape, generator=dice)
        own = self.in_features + torch.randint(self.out_features, shape, generator=dice)
        return torch.where(torch.rand(shape, generator=dice) < self.recurrent, own, inputs)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """Check connections from a file before anything is read through them."""
        index, most = state_dict.get(f"{prefix}index"), self.in_features + (self.out_features if self.recurrent else 0)
        if index is not None and index.numel() and not 0 <= int(index.min()) <= int(index.max()) < most:
            raise ValueError(f"{prefix}index: expected 0 to {most - 1}, got {int(index.min())} to {int(index.max())}")
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        sizes = f"memory={self.memory}, hidden={self.hidden}, branches={self.branches}, synapses={self.synapses}"
        wired = f", recurrent={self.recurrent:g}" if self.recurrent else ""
        times = f"tau_memory={span(self.tau_memory)} ms, output={self.output!r}"
        return f"{self.in_features}, {self.out_features}, {sizes}{wired}, {times}"
