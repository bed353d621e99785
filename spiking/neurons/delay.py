"""Delay: synapses or axons whose conduction delays are learned with their weights.

    I_t = sum over the inputs i and steps t' of W[i] k(t - t' - d[i] / dt) x_t'[i]

Hammouamri, Khalfaoui-Hassani & Masquelier 2024, "Learning delays in spiking neural networks using dilated convolutions
with learnable spacings", eqs. 3-6. k is a Gaussian while training and 1 at the nearest step in evaluation. The paper
lets sigma shrink from half the longest delay to half a step over the first quarter of training.
kernels/delay/window.py has the kernels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from spiking.events import Events
from spiking.kernels import delay_linear
from spiking.neurons.bounded import fold
from spiking.neurons.layer import timing


class Delay(nn.Module):
    """Weighted connections with learned delays, for a layer of neurons without synapses.

    The delay `layer.delay` reads and sets in ms; what trains is `layer.raw_delay`, folded into 0 to max_delay, so that
    training can't leave the range. `layer.sigma` is a buffer: a schedule does `layer.sigma.fill_(30.0)`.

    Arguments:
        in_features, out_features: input channels and currents.
        max_delay: the longest delay in ms. Delays start evenly spread up to it.
        kind: "synaptic", a delay for each weight, or "axonal", one for each input.
        sigma: width of the Gaussian in ms while training; 0 interpolates between the two nearest steps, through which
            a delay feels one step to each side only.
        rounded: in evaluation take the nearest step, as the paper does; otherwise interpolate.
        dt: step in ms; `None` takes that of the Events.
        check_finite: look for NaN and infinity in every pass, as `spiking.kernels.delay_linear` does.
        device, dtype: of the parameters.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    sigma: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        max_delay: float = 250.0,
        kind: str = "synaptic",
        *,
        sigma: float = 0.0,
        rounded: bool = True,
        dt: float | None = None,
        check_finite: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if not (isinstance(size, int) and size > 0):
                raise ValueError(f"{name}: expected a whole number above 0, got {size!r}")
        if kind not in ("synaptic", "axonal"):
            raise ValueError(f"kind: expected 'synaptic' or 'axonal', got {kind!r}")
        if not (math.isfinite(max_delay) and max_delay > 0):
            raise ValueError(f"max_delay: expected a finite time above 0 ms, got {max_delay}")
        if not (math.isfinite(sigma) and sigma >= 0):
            raise ValueError(f"sigma: expected a finite time of 0 ms or more, got {sigma}")
        if dt is not None and not dt > 0:
            raise ValueError(f"dt: expected a step above 0 ms, got {dt}")
        self.in_features, self.out_features = in_features, out_features
        self.max_delay, self.kind, self.rounded, self.dt = float(max_delay), kind, rounded, dt
        self.check_finite = check_finite
        shape = (in_features, out_features) if kind == "synaptic" else (in_features,)
        self.weight = nn.Parameter(torch.empty(in_features, out_features, device=device, dtype=dtype))
        self.raw_delay = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.register_buffer("sigma", torch.tensor(float(sigma), device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights (He et al. 2015) and delays (uniformly) anew."""
        nn.init.kaiming_uniform_(self.weight.t())
        nn.init.uniform_(self.raw_delay, 0.0, self.max_delay)

    @property
    def delay(self) -> Tensor:
        """The delays in ms, (in, out) or (in,)."""
        return fold(self.raw_delay, 0.0, self.max_delay)

    @delay.setter
    def delay(self, value: float | Tensor) -> None:
        given = torch.as_tensor(value)
        if given.ndim and given.shape != self.raw_delay.shape:
            raise ValueError(f"delay: expected a number or {tuple(self.raw_delay.shape)}, got {tuple(given.shape)}")
        if not bool(((given >= 0) & (given <= self.max_delay)).all()):
            raise ValueError(f"delay: expected 0 to {self.max_delay:g} ms, got {given.min():g} to {given.max():g}")
        with torch.no_grad():
            self.raw_delay.copy_(given)

    def forward(
        self,
        x: Events | Tensor,
        state: Tensor | None = None,
        *,
        lengths: Tensor | None = None,
        dt: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The currents that spikes cause when they arrive.

        Arguments:
            x: Events (T, B, in) or a dense tensor (T, B, in).
            state: where to go on from; `None` is a recording that begins, and is whole: no delay may be longer than it.
                For one that comes in parts start from `rest`.
            lengths: (B,) valid steps of a dense batch; Events bring their own.
            dt: step of a dense batch in ms, by default the layer's.

        Returns:
            currents (T, B, out) and the state, the currents still under way after each sample's last valid step.

        Raises:
            ValueError: if channels, steps or delays are not those of the layer and its input.
        """
        dt, lengths = timing(x, self.in_features, self.dt, dt, lengths)
        step, last = self._steps(dt)
        trains = self.training
        return delay_linear(
            x, self.weight, self.delay / step, last, state, sigma=float(self.sigma) / step if trains else 0.0,
            rounded=self.rounded and not trains, lengths=None if isinstance(x, Events) else lengths,
            check_finite=self.check_finite,
        )

    def rest(self, samples: int, dt: float | None = None) -> Tensor:
        """The state in which nothing is under way, to start recordings that come in parts.

        Arguments:
            samples: B.
            dt: step in ms, by default the layer's.
        """
        return self.weight.new_zeros(self._steps(self.dt if dt is None else dt)[1], samples, self.out_features)

    def _steps(self, dt: float | None) -> tuple[float, int]:
        """The step in ms and the longest delay in steps, of which a part counts whole."""
        if dt is None:
            raise ValueError("dt: a dense tensor needs the length of a step in ms, got None")
        return dt, math.ceil(self.max_delay / dt - 1e-6)

    def extra_repr(self) -> str:
        parts = [f"{self.in_features}, {self.out_features}, max_delay={self.max_delay:g} ms", f"kind={self.kind!r}"]
        parts += [f"sigma={float(self.sigma):g} ms"]
        parts += [] if self.rounded else ["rounded=False"]
        parts += [f"dt={self.dt:g} ms"] if self.dt is not None else []
        return ", ".join(parts)
