"""False negatives: how often a segment misses its own pattern when v of the pattern's a active cells are lost.

    fn(a, s, v, theta) = sum_{b=s-theta+1}^{min(s, v)} C(s, b) C(a - s, v - b) / C(a, v)

The s synapses lie on cells of the pattern; more than s - theta of them are lost. The number of cells plays no part.
Ahmad & Hawkins 2016.
"""

from __future__ import annotations

from typing import Any

from spiking.plasticity.arguments import whole
from spiking.plasticity.sdr.counting import given, tail


def false_negative(a: int, s: int, v: int, theta: int, form: str = "float") -> Any:
    """The probability that a segment misses its pattern in noise.

    Arguments:
        a: active cells of the pattern.
        s: synapses of the segment on them.
        v: active cells that are lost.
        theta: active synapses that activate the segment.
        form: "float", "log10", or "fraction", which is exact.

    Raises:
        ValueError: naming the argument outside its range.
    """
    a = whole("a", a, 1)
    s, v = whole("s", s, 0, a, "a"), whole("v", v, 0, a, "a")
    theta = whole("theta", theta, 0, s, "s")
    return given(tail(a, v, s, s - theta + 1), form)
