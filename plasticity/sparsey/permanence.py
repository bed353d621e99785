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
    ages = torch.tensor(AGES, device=age.device)
    passed = (age[..., None] >= ages[stiffness.clamp(max=PERMANENT - 1)]).sum(-1)
    weights = torch.tensor(WEIGHTS, device=age.device)[passed]
    return torch.where(stiffness >= PERMANENT, WEIGHTS[0], weights)


def decay(t: Tensor, permanence: int, convexity: float) -> Tensor:
    """w(t), between 1 and 0.

    Arguments:
        t: steps since the weight was set.
        permanence: T.
        convexity: c.
    """
    left = (permanence - t.double()).clamp(min=0)
    whole = (1 + convexity / permanence) / (1 + convexity / left.clamp(min=torch.finfo(torch.float64).tiny))
    return torch.where(left > 0, whole, 0.0)


class Permanence:
    """Stiffness and age of the synapses from n features to so many units.

    Arguments:
        inputs, units: how many there are.
        persistence: frames for which a code is held; a coincidence younger than that is the same one.
    """

    def __init__(self, inputs: int, units: int, persistence: int = 1) -> None:
        self.stiffness = torch.zeros(inputs, units, dtype=torch.long)
        self.last = torch.full((inputs, units), -1)
        self.persistence = persistence

    def learn(self, features: Tensor, units: Tensor, frame: int) -> None:
        """Note a coincidence.

        Arguments:
            features: (inputs,) bool, active ones.
            units: (units,) bool, winners.
            frame: when.
        """
        pair = features[:, None] & units[None]
        age = frame - self.last
        whole = torch.tensor([ages[0] for ages in AGES])[self.stiffness.clamp(max=PERMANENT - 1)]
        recurs = pair & (self.last >= 0) & (age >= self.persistence) & (age < whole) & (self.stiffness < PERMANENT)
        faded = pair & (self.last >= 0) & (self.weight(frame) == 0)
        self.stiffness = torch.where(faded, 0, self.stiffness + recurs)
        self.last = torch.where(pair, frame, self.last)

    def weight(self, frame: int) -> Tensor:
        """(inputs, units) 0 to 127 at a frame."""
        return torch.where(self.last < 0, 0, table(self.stiffness, frame - self.last))

    def freeze(self, frame: int, inputs: slice = slice(None)) -> None:
        """Make permanent whatever still has a weight.

        Arguments:
            frame: when.
            inputs: of which inputs; all unless given.
        """
        whole = torch.where(self.weight(frame) > 0, PERMANENT, self.stiffness)
        self.stiffness[inputs] = whole[inputs]
