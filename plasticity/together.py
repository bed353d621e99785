"""Processes that train one model together learn from the activity of all of them.

With DistributedDataParallel each process runs samples of its own, and gradients are averaged. A subspace learned from a
process's own samples would be another in each. So rows of activity are gathered from all processes, in their order:
each then takes, with the same bits, the step that one process with the joined batch would take.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def world() -> int:
    """How many processes train together."""
    there = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if there else 1


def joined(rows: Tensor) -> Tensor:
    """The rows (R, n) of all processes, whose numbers of rows may differ, the first process's first."""
    if world() == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world())]
    distributed.all_gather(counts, torch.full_like(counts[0], len(rows)))
    sizes = [int(count) for count in counts]
    room = rows.new_zeros(max(sizes), rows.shape[1])
    room[: len(rows)] = rows
    parts = [torch.empty_like(room) for _ in sizes]
    distributed.all_gather(parts, room)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def averaged(tensor: Tensor) -> Tensor:
    """The mean over all processes of a tensor that has the same shape in each, as DistributedDataParallel takes it."""
    if world() == 1:
        return tensor
    total = tensor.clone()
    distributed.all_reduce(total)
    return total / world()
