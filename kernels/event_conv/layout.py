"""Where patches land, o * stride = p + padding - k * dilation along each axis, and how their weights lie.

    ours (in, kh, kw, out / groups)      torch (out, in / groups, kh, kw)

A pixel p of one axis meets only the taps k of one remainder, and the more a tap falls short the further on is the
output that it meets. So with the taps of an axis parted by remainder, each falling, what any pixel adds is one run of
taps onto one run of outputs. All runs are made equally long, by taps of weight 0, and outputs get a margin for what
lands beside them: then no event differs from the others, and the processor has nothing to guess.
"""

from __future__ import annotations

from functools import cache
from math import gcd
from typing import NamedTuple

import numpy as np
from torch import Tensor


class Axis(NamedTuple):
    """One axis of a convolution, in numbers of pixels and taps."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def out(self) -> int:
        """Outputs along the axis; less than 1 where the kernel is longer than the padded axis."""
        return (self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    @property
    def step(self) -> int:
        """Outputs from one tap of a run to the next."""
        return self.dilation // gcd(self.stride, self.dilation)


class Geometry(NamedTuple):
    """What a convolution is beside its numbers; planes and groups of input channels."""

    rows: Axis
    columns: Axis
    planes: int
    groups: int

    def as_list(self) -> list[int]:
        """The numbers in a row, as an op takes them."""
        return [*self.rows, *self.columns, self.planes, self.groups]


def geometry(numbers: list[int]) -> Geometry:
    """The inverse of `Geometry.as_list`."""
    return Geometry(Axis(*numbers[:5]), Axis(*numbers[5:10]), *numbers[10:])


class Runs(NamedTuple):
    """What the pixels of an axis add where.

    Arguments:
        taps: (runs, length) tap k of each place; `kernel`, which does not exist, weighs 0.
        place: (size, 2) of each pixel its run, and the output that the run's first tap meets, counted in the margin.
        low: outputs of the margin before the first real one.
        extent: outputs with both margins.
    """

    taps: np.ndarray
    place: np.ndarray
    low: int
    extent: int


@cache
def runs(axis: Axis) -> Runs:
    """The runs of an axis, and where they land."""
    period = axis.stride // gcd(axis.stride, axis.dilation)
    length = -(-axis.kernel // period)
    taps = np.arange(period)[:, None] + period * np.arange(length)[::-1]
    pixel = np.arange(axis.size)[:, None] + axis.padding
    meets = (pixel - taps[:, 0] * axis.dilation) % axis.stride == 0
    run = np.where(meets.any(1), meets.argmax(1), period)  # a pixel between all taps adds a run of zeros
    taps = np.concatenate([np.minimum(taps, axis.kernel), np.full((1, length), axis.kernel)])
    ahead = (pixel[:, 0] - (run + period * (length - 1)) * axis.dilation) // axis.stride
    first = np.where(run < period, ahead, 0)
    low = max(0, -int(first.min()))
    last = max(axis.out - 1, int(first.max()) + (length - 1) * axis.step)
    return Runs(taps, np.stack([run, first + low], 1).astype(np.int64), low, low + last + 1)


def from_torch(weight: Tensor, groups: int = 1) -> Tensor:
    """The weights of `torch.nn.Conv2d` as `event_conv` takes them.

    Arguments:
        weight: (out, in / groups, kh, kw).
        groups: of the convolution.

    Returns:
        (in, kh, kw, out / groups), through which gradients pass.
    """
    out, inputs, kh, kw = weight.shape
    return weight.view(groups, out // groups, inputs, kh, kw).permute(0, 2, 3, 4, 1).flatten(0, 1)


def to_torch(weight: Tensor, groups: int = 1) -> Tensor:
    """The inverse of `from_torch`."""
    return weight.unflatten(0, (groups, -1)).permute(0, 4, 1, 2, 3).flatten(0, 1)
