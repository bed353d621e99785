"""Plastic: the recurrent synapses of a network, which of them learn, and the bounds between which they do.

Potentiation goes towards `strong`, depression towards `weak`: of an inhibitory synapse the strong end is the lower one.
A synapse whose bounds have one sign keeps to Dale's law. Synapses that learn are listed twice, by source as they stand,
and by target and delay, so that a spike finds those on either side of its neuron.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spiking.kernels.reservoir.synapses import LAST, Generated, Synapses

Number = float | Tensor


class Plastic:
    """Recurrent synapses of which some learn.

    Arguments:
        synapses: all of them, (N, N), stored.
        weak, strong: bounds, a number or (nnz,).
        learns: (nnz,) bool, which learn; `None` is all. Their strengths have to lie within the bounds.

    Raises:
        ValueError, TypeError: naming the argument that does not fit.
    """

    __slots__ = ("delays", "ends", "in_ptr", "in_source", "in_synapse", "out_ptr", "out_synapse", "synapses", "which")

    def __init__(self, synapses: Synapses, weak: Number, strong: Number, learns: Tensor | None = None) -> None:
        if isinstance(synapses, Generated):
            raise TypeError(
                "synapses: expected stored Synapses, got Generated, whose strengths are drawn anew at every spike and "
                "can't be changed; synapses.expand() stores the same ones, at 8 bytes each"
            )
        if not isinstance(synapses, Synapses):
            raise TypeError(f"synapses: expected Synapses, got {type(synapses).__name__}")
        if synapses.shape[0] != synapses.shape[1]:
            raise ValueError(f"synapses: expected those of a network with itself, (N, N), got {synapses.shape}")
        count = synapses.word.numel()
        self.synapses = synapses
        # (nnz, 2) float64, weak and strong side by side.
        self.ends = torch.stack([_bound("weak", weak, count), _bound("strong", strong, count)], 1)
        if learns is None:
            learns = torch.ones(count, dtype=torch.bool)
        if not isinstance(learns, Tensor) or learns.dtype != torch.bool or learns.shape != (count,):
            got = f"{learns.dtype} {tuple(learns.shape)}" if isinstance(learns, Tensor) else type(learns).__name__
            raise ValueError(f"learns: expected ({count},) bool, got {got}")
        self._check(learns)
        self._index(learns.nonzero()[:, 0])

    def _check(self, learns: Tensor) -> None:
        given = self.synapses.weight.double()
        low, high = torch.minimum(self.weak, self.strong), torch.maximum(self.weak, self.strong)
        for name, bad in (("strong", low == high), ("weight", (given < low) | (given > high))):
            wrong = (bad & learns).nonzero()[:, 0]
            if len(wrong):
                e = int(wrong[0])
                wanted = "another bound than weak" if name == "strong" else f"{float(low[e])} to {float(high[e])}"
                got = float(self.strong[e] if name == "strong" else given[e])
                raise ValueError(f"{name}: expected {wanted}, got {got} at synapse {e} (first of {len(wrong)})")

    def _index(self, learning: Tensor) -> None:
        N, delay = self.synapses.shape[0], self.synapses.delay[learning].long()
        source, target = self.synapses.sparse().rows()[learning], self.synapses.target[learning].long()
        # (D,) int64, the delays that occur among those that learn, and (256,) uint8, the place of each among them.
        self.delays = delay.unique()
        self.which = torch.zeros(LAST + 1, dtype=torch.uint8)
        self.which[self.delays] = torch.arange(len(self.delays), dtype=torch.uint8)
        D = max(len(self.delays), 1)
        place = target * D + self.which[delay].long()
        order = torch.argsort(place, stable=True)
        self.out_ptr, self.in_ptr = _pointers(source, N), _pointers(place, N * D)
        self.out_synapse = learning.to(torch.int32)
        self.in_synapse, self.in_source = self.out_synapse[order], source[order].to(torch.int32)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, N)."""
        return self.synapses.shape

    @property
    def weak(self) -> Tensor:
        """(nnz,) float64, the bound towards which synapses are depressed."""
        return self.ends[:, 0]

    @property
    def strong(self) -> Tensor:
        """(nnz,) float64, the bound towards which they are potentiated."""
        return self.ends[:, 1]

    @property
    def learning(self) -> Tensor:
        """(P,) int64, the synapses that learn, rising."""
        return self.out_synapse.long()

    @property
    def index(self) -> list[Tensor]:
        """What kernels read of it, besides bounds and synapses."""
        return [self.out_ptr, self.out_synapse, self.in_ptr, self.in_synapse, self.in_source, self.which, self.delays]


def _pointers(of: Tensor, rows: int) -> Tensor:
    found = torch.zeros(rows + 1, dtype=torch.int64)
    found[1:] = torch.bincount(of, minlength=rows).cumsum(0)
    return found


def _bound(name: str, value: Any, count: int) -> Tensor:
    if isinstance(value, bool) or not isinstance(value, (int, float, Tensor)):
        raise TypeError(f"{name}: expected a number or a tensor, got {type(value).__name__}")
    found = torch.as_tensor(value, dtype=torch.float64)
    if found.ndim > 1 or found.numel() not in (1, count) or not bool(found.isfinite().all()):
        raise ValueError(f"{name}: expected finite numbers, one or ({count},), got {value!r}")
    return found.expand(count).contiguous()
