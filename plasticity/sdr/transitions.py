"""A first-order memory of sequences, simulated: every cell of a pattern learns the pattern before it on a new segment.

Each of L transitions gives every cell of its second pattern a segment with s synapses on cells of its first. Shown one
of the patterns, the memory predicts all cells with a segment that at least theta active cells reach. `sequence` has the
closed form; Ahmad & Hawkins 2016 simulated S sequences of 20 patterns with one cell a column.
"""

from __future__ import annotations

import torch

from spiking.kernels import event_linear
from spiking.neurons.connectome import draw
from spiking.plasticity.arguments import whole
from spiking.plasticity.sdr.simulate import segments, shown

SEGMENTS = 1 << 16  # of a chunk


def predictions(
    n: int, a: int, s: int, theta: int, transitions: int, asked: int = 32, seed: int = 0
) -> tuple[float, float]:
    """What a memory of transitions between random patterns predicts for patterns that it has learned.

    Arguments:
        n, a, s, theta: cells, active cells, synapses of a segment, threshold.
        transitions: L.
        asked: patterns that are shown, at most L.
        seed: of all that is drawn.

    Returns:
        the share of the next pattern's cells that are predicted, and these cells over all that are predicted or active
        (Jaccard), the mean over what is asked.

    Raises:
        ValueError: naming the argument outside its range.
    """
    n = whole("n", n, 1)
    a = whole("a", a, 1, n, "n")
    s = whole("s", s, 0, a, "a")
    theta, transitions = whole("theta", theta, 0, s, "s"), whole("transitions", transitions, 1)
    asked = whole("asked", asked, 1, transitions, "transitions")
    generator = torch.Generator().manual_seed(seed)
    pattern = draw(transitions + 1, n, a, generator).long()
    question, predicted = shown(pattern[:asked], n), torch.zeros(asked, n, dtype=torch.bool)
    together = max(1, SEGMENTS // a)
    for before, after in zip(pattern[:-1].split(together), pattern[1:].split(together), strict=True):
        chosen = draw(len(before) * a, a, s, generator).long()
        cells = before.repeat_interleave(a, 0).gather(1, chosen)
        overlap = event_linear(question, segments(cells, n))[0]
        which, segment = (overlap >= theta).nonzero(as_tuple=True)
        predicted[which, after.flatten()[segment]] = True
    right = predicted.gather(1, pattern[1 : asked + 1]).sum(1)
    return float(right.sum() / (asked * a)), float((right / (predicted.sum(1) + a - right)).mean())
