"""Synapses that fade unless what made them recurs.

A synapse has a stiffness and the frame in which its two ends were last active together. Its weight is a table of
stiffness and age; a coincidence while the weight is still whole, but not at once, makes it stiffer:

    stiffness    age below ...: weight
    0            2000: 127    3000: 120    4000: 50     then 0
    1            4000: 127    6000: 120    8000: 50     then 0
    2            127 for ever

These are the numbers of Sparsey's Java implementation; Rinkus 2014 says the same as a permanence that rises when a
coincidence recurs within a window. `decay` is another law, of t steps with permanence T and convexity c:

    w(t) = (1 + c / T) / (1 + c / (T - t)),     0 from t = T on
"""

from __future__ import annotations

import torch
from torch import Tensor

from spiking.plasticity.arguments import real, whole

WEIGHTS = (127, 120, 50, 0)
AGES = ((2000, 3000, 4000), (4000, 6000, 8000))
PERMANENT = len(AGES)


def table(stiffness: Tensor, age: Tensor) -> Tensor:
    """Weights of synapses.

    Arguments:
        stiffness: whole numbers 0, 1 or 2.
        age: frames since the last coincidence.

    Returns:
        0 to 127, the shape that the two have together.
    """
    weights = torch.full_like(age, WEIGHTS[0])
    for k, weight in enumerate(WEIGHTS[1:]):
        weights = torch.where(age >= _age(stiffness, k), weight, weights)
    return torch.where(stiffness >= PERMANENT, WEIGHTS[0], weights)


def decay(t: Tensor, permanence: int, convexity: float) -> Tensor:
    """w(t), between 1 and 0.

    Arguments:
        t: steps since the weight was set.
        permanence: T, 1 or more.
        convexity: c, 0 or more.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    whole("permanence", permanence, 1)
    real("convexity", convexity, 0, said="0 or more")
    left = (permanence - torch.as_tensor(t).double()).clamp(min=0)
    value = (1 + convexity / permanence) / (1 + convexity / left.clamp(min=torch.finfo(torch.float64).tiny))
    return torch.where(left > 0, value, 0.0)


class Permanence:
    """Stiffness and age of the synapses from n features to so many units, of as many macs as there are.

    Arguments:
        shape: (..., inputs, units), how many there are.
        persistence: frames for which a code is held; a coincidence younger than that is the same one.

    `stiffness` (0 to 2) and `last` (the frame of the last coincidence, -1 for none) have this shape.
    """

    def __init__(self, *shape: int, persistence: int = 1) -> None:
        self.stiffness = torch.zeros(shape, dtype=torch.int8)
        self.last = torch.full(shape, -1, dtype=torch.int32)
        self.persistence = persistence

    def learn(self, features: Tensor, units: Tensor, frame: int) -> None:
        """Note a coincidence.

        Arguments:
            features: (..., inputs) bool, active ones.
            units: (..., units) bool, winners.
            frame: when.
        """
        pair = features[..., :, None] & units[..., None, :]
        age = frame - self.last
        known = pair & (self.last >= 0)
        recurs = known & (age >= self.persistence) & (age < _age(self.stiffness, 0)) & (self.stiffness < PERMANENT)
        faded = known & ~self.alive(frame)
        self.stiffness = torch.where(faded, 0, self.stiffness + recurs)
        self.last = torch.where(pair, frame, self.last)

    def alive(self, frame: int) -> Tensor:
        """(..., inputs, units) bool, synapses that have a weight at a frame."""
        young = frame - self.last < _age(self.stiffness, len(WEIGHTS) - 2)
        return (self.last >= 0) & (young | (self.stiffness >= PERMANENT))

    def weight(self, frame: int) -> Tensor:
        """(..., inputs, units) 0 to 127 at a frame."""
        return torch.where(self.last < 0, 0, table(self.stiffness, frame - self.last))

    def freeze(self, frame: int, inputs: Tensor | None = None) -> None:
        """Make permanent whatever still has a weight.

        Arguments:
            frame: when.
            inputs: (..., inputs) bool, of which inputs; `None` is all.
        """
        kept = self.alive(frame) if inputs is None else self.alive(frame) & inputs[..., None]
        self.stiffness = torch.where(kept, PERMANENT, self.stiffness)

    def to(self, device: torch.device | str) -> Permanence:
        """The same synapses on another device."""
        moved = Permanence(0, persistence=self.persistence)
        moved.stiffness, moved.last = self.stiffness.to(device), self.last.to(device)
        return moved


def _age(stiffness: Tensor, k: int) -> Tensor:
    """The k-th age at which the weight of synapses falls."""
    return torch.where(stiffness == 0, AGES[0][k], AGES[1][k])
