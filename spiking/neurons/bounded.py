"""A parameter of a neuron that training cannot push out of its range: value = fold(raw).

    fold(x) = low + y,  y = (x - low) mod 2 (high - low), mirrored where y > high - low

The fold is a triangle wave: the identity inside the range, and a reflection at both ends. Its derivative is +1 or -1
everywhere, so that the gradient neither vanishes at the ends, as that of a sigmoid does, nor beyond them, as that of a
clamp does. Time constants and thresholds fold in log space, where a step means the same ratio everywhere.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

Range = tuple[float, float]
Value = float | Tensor | Range


def fold(raw: Tensor, low: float, high: float) -> Tensor:
    """Reflect any number into [low, high].

    Arguments:
        raw: any shape.
        low, high: the ends, low < high.

    Returns:
        The same shape; its derivative with respect to `raw` is +1 or -1.
    """
    width = high - low
    y = torch.remainder(raw - low, 2 * width)
    return low + torch.where(y > width, 2 * width - y, y)


class Bounded:
    """A per-neuron parameter (N,) of a `Layer`, declared on its class and read and set as an attribute.

    Where the layer learns it, the layer holds an `nn.Parameter` `raw_<name>` and the attribute is its fold; elsewhere
    it holds a buffer `<name>`.

    Arguments:
        low, high: range in which training keeps it, unless the layer is given another.
        log: fold and draw in log space; the value is then above 0.
        unit: what it is measured in, for messages.
    """

    def __init__(self, low: float, high: float, log: bool = False, unit: str = "") -> None:
        self.low, self.high, self.log = low, high, log
        self.unit = f" {unit}" if unit else ""
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, layer: nn.Module | None, owner: type | None = None) -> Any:
        if layer is None:
            return self
        raw = layer._parameters.get(f"raw_{self.name}")
        if raw is None:
            return layer._buffers.get(self.name)
        low, high = self._range(layer)
        value = fold(raw, *self._line(low, high))
        value = value.exp() if self.log else value
        return value + (value.clamp(low, high) - value).detach()  # rounding at the ends, without touching the gradient

    def __set__(self, layer: nn.Module, value: Value) -> None:
        raw = layer._parameters.get(f"raw_{self.name}")
        held = raw if raw is not None else layer._buffers.get(self.name)
        if held is None:
            raise AttributeError(f"{self.name}: {type(layer).__name__} was made without it")
        chosen = self.draw(value, held.shape[0]).to(held.device, held.dtype)
        if raw is not None:
            self._inside(chosen, self._range(layer))
            chosen = chosen.log() if self.log else chosen
        with torch.no_grad():
            held.copy_(chosen)

    def create(
        self, layer: nn.Module, value: Value, size: int, learn: bool, bounds: Range | None,
        device: torch.device | str | None, dtype: torch.dtype | None,
    ) -> None:
        """Give the layer this parameter.

        Arguments:
            layer: whose parameter it is; its `bounds` maps names to ranges.
            value: a number, (N,), or (low, high) between which each neuron draws its own; YAML makes a list of it.
            size: N.
            learn: whether it trains.
            bounds: range of training; by default the two ends of `value`, else those of the class.
            device, dtype: of the tensor.

        Raises:
            ValueError: naming the parameter, if the value has another shape or lies outside its range.
        """
        if bounds is None:
            bounds = (float(value[0]), float(value[1])) if isinstance(value, (tuple, list)) else (self.low, self.high)
        elif not (len(bounds) == 2 and bounds[0] < bounds[1] and (bounds[0] > 0 or not self.log)):
            raise ValueError(f"ranges: expected {self.name}=(low, high), low < high, got {bounds}")
        chosen = self.draw(value, size).to(device=device, dtype=dtype or torch.get_default_dtype())
        if not learn:
            layer._buffers[self.name] = chosen  # register_buffer refuses a name that the class declares
            return
        self._inside(chosen, bounds)
        _bounds(layer)[self.name] = bounds
        layer.register_parameter(f"raw_{self.name}", nn.Parameter(chosen.log() if self.log else chosen))

    def draw(self, value: Value, size: int) -> Tensor:
        """The value for each neuron.

        Arguments:
            value: a number, (N,), or (low, high) between which each neuron draws its own.
            size: N.

        Returns:
            (N,), float64 unless a tensor was given.

        Raises:
            ValueError: naming the parameter, if the value has another shape or none for the parameter.
        """
        if isinstance(value, (tuple, list)):
            if len(value) != 2 or not value[0] < value[1]:
                raise ValueError(f"{self.name}: expected (low, high), low < high, got {value}")
            self._allowed(torch.tensor(value))
            low, high = self._line(*value)
            drawn = torch.empty(size, dtype=torch.float64).uniform_(low, high)
            return drawn.exp() if self.log else drawn
        given = torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64).detach()
        if given.numel() != 1 and given.shape != (size,):
            raise ValueError(f"{self.name}: expected a number or ({size},), got {tuple(given.shape)}")
        self._allowed(given)
        return given.reshape(-1).expand(size).clone()

    def _allowed(self, value: Tensor) -> None:
        if not bool(torch.isfinite(value).all()) or (self.log and not bool((value > 0).all())):
            wanted = "finite numbers above 0" if self.log else "finite numbers"
            raise ValueError(f"{self.name}: expected {wanted}, got {value.tolist()}")

    def _inside(self, value: Tensor, bounds: Range) -> None:
        slack = 1e-6 * max(abs(bounds[0]), abs(bounds[1]))
        if bool((value < bounds[0] - slack).any()) or bool((value > bounds[1] + slack).any()):
            low, high = float(value.min()), float(value.max())
            got = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            raise ValueError(
                f"{self.name}: expected {bounds[0]:g} to {bounds[1]:g}{self.unit}, its range in training, got {got}; "
                f"ranges={{'{self.name}': (low, high)}} sets another"
            )

    def _range(self, layer: nn.Module) -> Range:
        return _bounds(layer)[self.name]

    def _line(self, low: float, high: float) -> Range:
        return (math.log(low), math.log(high)) if self.log else (low, high)


class Holder(nn.Module):
    """A module whose class declares `Bounded` parameters; `bounds` maps the name of each that trains to its range."""

    bounds: dict[str, Range]

    def __setattr__(self, name: str, value: Any) -> None:
        # Module.__setattr__ would put a new buffer in the place of the old one, unchecked.
        bounded = getattr(type(self), name, None)
        if isinstance(bounded, Bounded):
            bounded.__set__(self, value)
        else:
            super().__setattr__(name, value)


def _bounds(layer: nn.Module) -> dict[str, Range]:
    bounds: Any = layer.bounds
    return bounds


def tau(low: float, high: float) -> Bounded:
    """A time constant in ms, kept in [low, high] while it trains."""
    return Bounded(low, high, log=True, unit="ms")
