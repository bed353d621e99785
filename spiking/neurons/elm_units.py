"""Units: what `ELM` and `ELMLayer` share, the time constants of a memory and what a step makes of them.

    kappa = exp(-dt/tau_m)
    gamma = lambda (1 - kappa)              rule "v1"
    gamma = 1 - exp(-dt lambda/tau_m)       rule "v2"

Both are computed in float32 at least: bfloat16 has no number between 1 - 1/256 and 1, so that in it a unit whose time
constant is longer than 512 steps would never forget.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels.arguments import widened
from spiking.neurons.bounded import Holder, tau
from spiking.neurons.layer import timing


class Units(Holder):
    """A module with a memory, whose classes set `in_features`, `dt` and `scale` and create `tau_memory`."""

    tau_memory = tau(0.01, 100_000.0)
    in_features: int
    dt: float | None
    scale: float

    def __init__(self) -> None:
        super().__init__()
        self.bounds = {}
        self._minded: set[float] = set()

    def _check_sizes(self, *names: str) -> None:
        for name in names:
            size = getattr(self, name)
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ValueError(f"{name}: expected a whole number above 0, got {size!r}")

    def _times(self) -> dict[str, Tensor]:
        """Every time constant in ms, by name."""
        return {"tau_memory": self.tau_memory}

    def _step(self, x: Events | Tensor, dt: float | None, lengths: Tensor | None) -> tuple[float, Tensor | None]:
        """Step in ms and valid steps of a batch, as `timing` finds them; warns of time constants below the step.

        Raises:
            ValueError, TypeError: if the batch does not fit, or nothing says how long a step is.
        """
        dt, lengths = timing(x, self.in_features, self.dt, dt, lengths)
        if dt is None:
            raise ValueError("dt: a dense tensor needs the length of a step in ms, got None")
        self._mind(dt)
        return dt, lengths

    def _mind(self, dt: float) -> None:
        """Warn, once for a step in ms, of time constants that are shorter than it."""
        if dt in self._minded:
            return
        self._minded.add(dt)
        for name, held in self._times().items():
            times = held.detach()
            short = times[times < dt * (1 - 1e-6)]
            if short.numel():
                warnings.warn(
                    f"dt: a step of {dt:g} ms is longer than {name} of {short.numel()} of {times.numel()} units, from "
                    f"{float(short.min()):g} ms on, which forget almost all from one step to the next",
                    stacklevel=4,
                )

    def _update(self, dt: float, rule: str = "v2") -> tuple[Tensor, Tensor]:
        """What a step leaves of the memory, and what an update counts.

        Arguments:
            dt: step in ms.
            rule: of gamma.

        Returns:
            kappa and gamma, each as `tau_memory`, in float32 or float64.
        """
        steps = dt / widened(self.tau_memory)
        gain = -self.scale * torch.expm1(-steps) if rule == "v1" else -torch.expm1(-self.scale * steps)
        return torch.exp(-steps), gain


def spread(ends: Sequence[float], units: int) -> Tensor:
    """Times evenly spread in log space from the lower to the upper end; of one unit, their middle.

    Arguments:
        ends: (low, high) in ms.
        units: how many.

    Returns:
        (units,) in float64.

    Raises:
        ValueError: if that is no range.
    """
    if not isinstance(ends, (tuple, list)) or len(ends) != 2 or not 0 < ends[0] < ends[1] < math.inf:
        raise ValueError(f"tau_memory: expected (low, high), 0 < low < high, got {ends}")
    low, high = math.log(ends[0]), math.log(ends[1])
    line = torch.linspace(low, high, units, dtype=torch.float64) if units > 1 else torch.tensor([(low + high) / 2])
    return line.double().exp().clamp(ends[0], ends[1])
