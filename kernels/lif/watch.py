"""What `check_finite` looks at: the arguments before the loop, the results behind it, the gradients when they come."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spiking.kernels.finite import INPUTS, NEURONS, demand, watched
from spiking.kernels.sparse_linear.weight import watched_weight


def given(x: Any, state: Any, weight: Any, recurrent: Any) -> tuple[Any, Any, Any]:
    """The input and the weights, watched; `state` is a LIFState or `None`."""
    demand("x", x, *INPUTS)
    for name, tensor in state._asdict().items() if state is not None else ():
        demand(f"state.{name}", tensor, *NEURONS[1:])
    return watched("x", x, *INPUTS), watched_weight("weight", weight), watched_weight("recurrent", recurrent)


def found(spikes: Tensor, membrane: Tensor, state: Any) -> tuple[Any, Any]:
    """The outputs, watched, after a look at them and the state."""
    demand("membrane", membrane, *NEURONS, error=FloatingPointError)
    for name, tensor in state._asdict().items():
        demand(f"state.{name}", tensor, *NEURONS[1:], error=FloatingPointError)
    return watched("spikes", spikes, *NEURONS), watched("membrane", membrane, *NEURONS)
