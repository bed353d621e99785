"""What levels do at each frame: they choose their codes from the lowest up.

What a mac hears from beside and above are codes of the frame before, so that levels wait for each other: the loop over
frames stands here, not in a kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from spiking.plasticity.sparsey.level import Level
from spiking.plasticity.sparsey.signals import Codes, Signal, active_below, gather, seen

SHARE = 256  # items of a pass


class Trace(NamedTuple):
    """What a memory did, a tensor for each level.

    Attributes:
        winners: (S, T, M, Q) int32, -1 where a mac was not active.
        familiarity: (S, T, M) G, 0 where it was not.
    """

    winners: tuple[Tensor, ...]
    familiarity: tuple[Tensor, ...]


def states(
    levels: Sequence[Level], x: Tensor, label: Tensor | None, learn: bool, step: int, backend: str | None,
    free: int | None,
) -> Iterator[list[Codes]]:
    """The codes of all levels, frame by frame.

    Arguments:
        levels: the lowest first.
        x: (B, T, N) bool, sequences.
        label: (B, 1, words) int32, where levels have a label source.
        learn: draw codes, and set synapses.
        step: of the first frame's draws.
        backend: of the op.
        free: the frame from which on macs go on from their past alone; `None` is never.
    """
    state = [level.silent(len(x)) for level in levels]
    stride = len(x) if learn else 1  # each item that is learned has draws of its own
    for t, (signals, count) in enumerate(_seen(levels[0], x)):
        alone = free is not None and t >= free
        state = _frame(levels, signals, count, label, state, learn, step + t * stride, backend, t == 0, alone)
        yield state


def traced(rows: list[list[Codes]]) -> Trace:
    """The codes of frames one after the other, as a trace."""
    levels = list(zip(*rows, strict=True))
    return Trace(
        tuple(torch.stack([codes.winners for codes in level], 1) for level in levels),
        tuple(torch.stack([codes.familiarity for codes in level], 1) for level in levels),
    )


def joined(traces: list[Trace]) -> Trace:
    """The traces of sequences one after the other."""
    return Trace(
        tuple(torch.cat(parts) for parts in zip(*(trace.winners for trace in traces), strict=True)),
        tuple(torch.cat(parts) for parts in zip(*(trace.familiarity for trace in traces), strict=True)),
    )


def _seen(level: Level, x: Tensor) -> Iterator[tuple[dict[str, Signal], Tensor]]:
    """What the first level sees of each frame, and how much of it is active; many short frames at a time."""
    for frames in x.split(max(1, SHARE // len(x)), 1):
        words, count = seen(frames, level.wires["fields"], level.plan.off)
        for t in range(frames.shape[1]):
            yield {letter: Signal(row[:, t]) for letter, row in words.items()}, count[:, t]


def _frame(
    levels: Sequence[Level], signals: dict[str, Signal], count: Tensor, label: Tensor | None, before: list[Codes],
    learn: bool, step: int, backend: str | None, first: bool, free: bool,
) -> list[Codes]:
    """The codes of every level at one frame, from what is seen and those of the frame before."""
    after: list[Codes] = []
    for k, level in enumerate(levels):
        plan, wires = level.plan, level.wires
        if k == 0:
            if free and "O" in signals:
                signals["O"] = Signal(torch.zeros_like(signals["O"].words))
        else:
            signals = {"U": gather(after[k - 1], wires["fields"], levels[k - 1].plan.hypotheses is not None)}
            count = active_below(after[k - 1], wires["fields"])
        if plan.beside is not None:
            signals["H"] = gather(before[k], wires["beside"], plan.hypotheses is not None)
        if plan.above is not None:
            signals["D"] = gather(before[k + 1], wires["above"], levels[k + 1].plan.hypotheses is not None)
        if plan.labels:
            assert label is not None
            signals["L"] = Signal(label.expand(-1, len(plan.fields), -1))
        active = before[k].age > 0 if free and k == 0 else level.in_band(count)
        plain = len(levels) == 1 and plan.beside is None
        after.append(level.choose(signals, count, active, before[k], learn, step, backend, first, plain))
    return after
