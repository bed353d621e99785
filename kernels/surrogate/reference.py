"""Surrogate derivatives h(x) of the spike z = H(x), x = membrane potential - threshold.

    fast_sigmoid     1 / (1 + k|x|)^2                                   Zenke & Ganguli 2018, SuperSpike
    arctan           (a/2) / (1 + (pi a x / 2)^2)                       Fang et al. 2021
    triangle         g max(0, 1 - |x|/w)                                Bellec et al. 2018
    boxcar           g for -w/2 < x <= w/2                              Bittar & Garner 2022
    slayer           (g a / 2) exp(-a|x|)                               Shrestha & Orchard 2018
    multi_gaussian   g [(1+h) N(x; 0,s) - h N(x; s,ks) - h N(x; -s,ks)] Yin et al. 2021
    sigmoid          a s (1 - s), s = 1 / (1 + exp(-a x))               Xiao et al. 2024, HLOP, alpha 4
    never            0, of a neuron that can't spike (the leaky integrator of a readout)

triangle, boxcar and never are bounded: exactly zero away from the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

KINDS = ("never", "fast_sigmoid", "arctan", "triangle", "boxcar", "slayer", "multi_gaussian", "sigmoid")
BOUNDED = ("never", "triangle", "boxcar")


@dataclass(frozen=True)
class Surrogate:
    """A surrogate derivative by name, with up to four numbers whose meaning its maker gives; picklable."""

    name: str
    a: float = 0.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in KINDS:
            raise ValueError(f"surrogate: expected one of {', '.join(KINDS)}, got {self.name!r}")

    @property
    def kind(self) -> int:
        """Number by which the kernels know it."""
        return KINDS.index(self.name)

    @property
    def numbers(self) -> list[float]:
        """The kind and the four numbers, as the flat ops take them."""
        return [float(self.kind), self.a, self.b, self.c, self.d]


def _positive(**named: float) -> None:
    for name, number in named.items():
        if not (math.isfinite(number) and number > 0):
            raise ValueError(f"{name}: expected a finite number above 0, got {number}")


def fast_sigmoid(slope: float = 25.0) -> Surrogate:
    """1 / (1 + slope |x|)^2 (Zenke & Ganguli 2018)."""
    _positive(slope=slope)
    return Surrogate("fast_sigmoid", slope)


def arctan(alpha: float = 2.0) -> Surrogate:
    """(alpha/2) / (1 + (pi alpha x / 2)^2) (Fang et al. 2021)."""
    _positive(alpha=alpha)
    return Surrogate("arctan", alpha)


def triangle(width: float = 1.0, height: float = 1.0) -> Surrogate:
    """height max(0, 1 - |x| / width) (Bellec et al. 2018, height 0.3)."""
    _positive(width=width, height=height)
    return Surrogate("triangle", width, height)


def boxcar(width: float = 1.0, height: float = 1.0) -> Surrogate:
    """height where -width/2 < x <= width/2, else 0 (Bittar & Garner 2022)."""
    _positive(width=width, height=height)
    return Surrogate("boxcar", width, height)


def slayer(alpha: float = 5.0, scale: float = 0.4) -> Surrogate:
    """(scale alpha / 2) exp(-alpha |x|) (Shrestha & Orchard 2018; numbers of Baronig et al. 2024)."""
    _positive(alpha=alpha, scale=scale)
    return Surrogate("slayer", alpha, scale)


def multi_gaussian(sigma: float = 0.5, h: float = 0.15, spread: float = 6.0, scale: float = 0.5) -> Surrogate:
    """scale [(1+h) N(x; 0,sigma) - h N(x; sigma,spread sigma) - h N(x; -sigma,spread sigma)] (Yin et al. 2021)."""
    _positive(sigma=sigma, h=h, spread=spread, scale=scale)
    return Surrogate("multi_gaussian", sigma, h, spread, scale)


def sigmoid(alpha: float = 4.0) -> Surrogate:
    """alpha s (1 - s) with s = 1 / (1 + exp(-alpha x)) (Xiao et al. 2024)."""
    _positive(alpha=alpha)
    return Surrogate("sigmoid", alpha)


def never() -> Surrogate:
    """0 everywhere: the neuron does not spike."""
    return Surrogate("never")


_DEFAULT: dict[str, Callable[..., Surrogate]] = {
    "fast_sigmoid": fast_sigmoid, "arctan": arctan, "triangle": triangle, "boxcar": boxcar, "slayer": slayer,
    "multi_gaussian": multi_gaussian, "sigmoid": sigmoid, "never": never,
}

Spike = Callable[[Tensor], Tensor]


def resolve(surrogate: str | Sequence[Any] | Surrogate | Spike) -> Surrogate | Spike:
    """A surrogate from its name (with the numbers above, or with others, `("arctan", 5.0)`), or the given one.

    Raises:
        ValueError: if there is no surrogate of that name, or it doesn't take those numbers.
        TypeError: if it is neither a name, a name with numbers, a Surrogate nor a callable.
    """
    name, numbers = (surrogate[0], surrogate[1:]) if isinstance(surrogate, (list, tuple)) else (surrogate, ())
    if isinstance(name, str):
        if name not in _DEFAULT:
            raise ValueError(f"surrogate: expected one of {', '.join(_DEFAULT)}, got {name!r}")
        try:
            return _DEFAULT[name](*numbers)
        except TypeError as error:
            raise ValueError(f"surrogate: {name} doesn't take the numbers {list(numbers)} ({error})") from error
    if not (isinstance(surrogate, Surrogate) or callable(surrogate)):
        raise TypeError(f"surrogate: expected a name, a Surrogate or a callable, got {surrogate!r}")
    return surrogate


def derivative(surrogate: Surrogate, x: Tensor) -> Tensor:
    """h(x), elementwise.

    Arguments:
        surrogate: which one.
        x: membrane potential minus threshold, any shape.
    """
    name, a, b, c, d = surrogate.name, surrogate.a, surrogate.b, surrogate.c, surrogate.d
    if name == "fast_sigmoid":
        return 1 / (1 + a * x.abs()) ** 2
    if name == "arctan":
        return (a / 2) / (1 + (math.pi / 2 * a * x) ** 2)
    if name == "triangle":
        return b * (1 - x.abs() / a).clamp(min=0)
    if name == "boxcar":
        return b * ((x > -a / 2) & (x <= a / 2)).to(x.dtype)
    if name == "slayer":
        return (b * a / 2) * torch.exp(-a * x.abs())
    if name == "multi_gaussian":
        wide = _gauss(x, a, c * a) + _gauss(x, -a, c * a)
        return d * ((1 + b) * _gauss(x, 0.0, a) - b * wide)
    if name == "sigmoid":
        s = torch.sigmoid(a * x)
        return a * s * (1 - s)
    return torch.zeros_like(x)


def _gauss(x: Tensor, mean: float, sigma: float) -> Tensor:
    return torch.exp(-((x - mean) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))


def spike(x: Tensor, surrogate: Surrogate | Spike, inclusive: bool = False, given: Tensor | None = None) -> Tensor:
    """z = H(x) going forward, h(x) going backward.

    Arguments:
        x: membrane potential minus threshold.
        surrogate: the derivative, or a callable x -> z with a derivative of its own.
        inclusive: spike at x >= 0 instead of x > 0.
        given: spikes to return in place of H(x), with the same derivative.
    """
    if not isinstance(surrogate, Surrogate):
        z = surrogate(x)
        return z if given is None else z + (given.to(x.dtype) - z).detach()
    z = ((x >= 0) if inclusive else (x > 0)).to(x.dtype) if given is None else given.to(x.dtype)
    if surrogate.name == "never":
        return z
    return z + (x - x.detach()) * derivative(surrogate, x.detach())
