"""How many sequences a mac holds: Rinkus' capacity study, 144 features of which 9 to 12 are active, ten frames.

Sequences are learned one after the other; after each, all so far are recognised again, every code being the context of
the next, and the share of modules with the right winner is taken. Capacity is the number up to which it is 97 % or
more. A frame of 144 features, 9 to 12 of them active, each number equally often, is worth its entropy, 53.18 bits
(56.66 if all such frames were equally likely); one drawn from a lexicon of 100, log2 100. There a first frame may have
been learned in several places, and its code is a mixture until the next one settles which: what the correction for
multiple hypotheses is for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from spiking.plasticity.arguments import real, whole
from spiking.plasticity.sparsey.network import Sparsey
from spiking.plasticity.sparsey.study.sequences import bits, sequences

RECALL = 0.97


class Capacity(NamedTuple):
    """Of one net.

    Attributes:
        modules, units, synapses: Q, K and the number of binary weights.
        sequences: how many it holds.
        bits_per_synapse: what they are worth.
        curve: recall after 1, 2, ... sequences.
    """

    modules: int
    units: int
    synapses: int
    sequences: int
    bits_per_synapse: float
    curve: list[float]


def stored(
    memory: Sparsey, items: Tensor, recall: float = RECALL, every: int = 1, report: Callable[[str], None] | None = None
) -> list[float]:
    """Recall of all sequences so far, after each that was learned, until it is too low.

    Arguments:
        memory: of one level.
        items: (S, T, N).
        recall: stop below this.
        every: look after so many.
    """
    curve: list[float] = []
    codes: list[Tensor] = []
    for s in range(len(items)):
        codes.append(memory.learn(items[s]).winners[0])
        if (s + 1) % every == 0:
            found = memory.recognise(items[: s + 1]).winners[0]
            curve.append(float((found == torch.cat(codes)).double().mean()))
            if report is not None and len(curve) % 10 == 0:
                report(f"  {s + 1} sequences: {100 * curve[-1]:.2f} %")
            if curve[-1] < recall:
                break
    return curve


def capacity(
    modules: int, units: int, *, normalise: str = "active", exponents: tuple[float, float] = (4.0, 4.0),
    hypotheses: str | None = None, lexicon: int | None = None, most: int = 400, frames: int = 10,
    active: tuple[int, int] = (9, 12), seed: int = 0, recall: float = RECALL,
) -> Capacity:
    """The capacity of a net of one mac.

    Arguments:
        modules, units: Q and K.
        normalise, exponents, hypotheses: as `LevelPlan` has them, for U and H.
        lexicon: correlated sequences, see `sequences`.
        most: sequences at which to stop.
        frames, active: of a sequence.
        seed: of the sequences and the memory.
        recall: the share of right winners that counts as holding.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    whole("most", most, 1)
    real("recall", recall, 0, 1, "a share from 0 to 1")
    memory = Sparsey.from_preset(
        "capacity", seed, modules=modules, units=units, exponents=exponents, normalise=normalise, least=active[0],
        hypotheses=hypotheses,
    )
    items = sequences(most, frames, 144, active, lexicon, seed)
    curve = stored(memory, items, recall)
    held = sum(value >= recall for value in curve)
    frame = bits(144, active) if lexicon is None else math.log2(lexicon)
    worth = held * frames * frame / memory.synapses
    return Capacity(modules, units, memory.synapses, held, worth, curve)


def mean(found: Sequence[Capacity]) -> tuple[float, float]:
    """Sequences and bits per synapse, the mean over seeds."""
    n = max(len(found), 1)
    return sum(one.sequences for one in found) / n, sum(one.bits_per_synapse for one in found) / n
