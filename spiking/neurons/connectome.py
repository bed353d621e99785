"""Connectome: which synapses exist, drawn once at random and fixed; their strengths train.

Each sender reaches `fan_out` different targets, drawn uniformly: the rule "fixed outdegree" of NEST (Senk et al. 2022,
"Connectivity concepts in neuronal network modeling"), without multapses, with autapses in recurrent connections. So a
target's fan-in is binomial round senders * fan_out / targets.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spiking.kernels import SparseWeight
from spiking.kernels.sparse_linear.weight import check_structure


class Connectome(nn.Module):
    """Fixed random connections between two populations, kept in the state_dict as `indptr` and `index`.

    Arguments:
        senders, targets: sizes of the populations.
        fan_out: targets of each sender.
        seed: of the draw; the same seed gives the same connections everywhere.
        device: of the arrays.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    indptr: Tensor
    index: Tensor

    def __init__(
        self, senders: int, targets: int, fan_out: int, seed: int = 0, device: torch.device | str | None = None
    ) -> None:
        super().__init__()
        if isinstance(fan_out, bool) or not isinstance(fan_out, int) or not 0 < fan_out <= targets:
            raise ValueError(f"fan_out: expected 1 to {targets} targets, got {fan_out!r}")
        self.senders, self.targets, self.fan_out = senders, targets, fan_out
        index = draw(senders, targets, fan_out, torch.Generator().manual_seed(seed))
        indptr = torch.arange(senders + 1, dtype=torch.int64) * fan_out
        self.register_buffer("indptr", indptr.to(device))
        self.register_buffer("index", index.view(-1).to(device))

    def weight(self, values: Tensor) -> SparseWeight:
        """The connections with strengths (nnz,), as `event_linear` and `lif` take them."""
        return SparseWeight(self.indptr, self.index, values, (self.senders, self.targets), check=False)

    def fan_in(self) -> Tensor:
        """(targets,) int64, how many synapses each target has."""
        return torch.bincount(self.index, minlength=self.targets)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Check connections from a file before a kernel follows them."""
        if all(prefix + name in state_dict for name in ("indptr", "index")):
            indptr, index = (state_dict[prefix + name] for name in ("indptr", "index"))
            check_structure(indptr, index, (self.senders, self.targets), prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        return f"{self.senders}, {self.targets}, fan_out={self.fan_out}"


def draw(senders: int, targets: int, fan_out: int, generator: torch.Generator) -> Tensor:
    """(senders, fan_out) int32, different targets for each sender in rising order, every set of them equally likely."""
    if 2 * fan_out > targets:  # draw those that are left out
        left = torch.ones(senders, targets, dtype=torch.bool)
        if fan_out < targets:
            left.scatter_(1, draw(senders, targets, targets - fan_out, generator).long(), False)
        return left.nonzero()[:, 1].view(senders, fan_out).int()
    index = torch.randint(targets, (senders, fan_out), generator=generator, dtype=torch.int32).sort(1).values
    while True:
        twice = torch.zeros_like(index, dtype=torch.bool)
        twice[:, 1:] = index[:, 1:] == index[:, :-1]
        rows = twice.any(1).nonzero()[:, 0]
        if not rows.numel():
            return index
        again = torch.randint(targets, (int(twice.sum()),), generator=generator, dtype=torch.int32)
        index[rows] = index.masked_scatter(twice, again)[rows].sort(1).values
