"""Routing: which input each synapse of a branch listens to.

    contiguous   branch k has the inputs k S to (k + 1) S - 1
    random       every synapse draws its input, with replacement, once
    neuronio     windows of S neighbours, one every ceil(in / branches) inputs, of the inputs in the order
                 0, in/2, 1, in/2 + 1, ...; what would lie beyond the last input is no synapse

Spieler et al. 2024, "The Expressive Leaky Memory neuron", section 3 and appendix. In NeuronIO's recordings the inputs'
first half is excitatory and the second inhibitory, in the same order along the dendrites.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

ROUTINGS = ("contiguous", "random", "neuronio")


class Routing(nn.Module):
    """The inputs of all synapses, kept in the state_dict as `index` and `valid`.

    Arguments:
        inputs: channels.
        branches: how many.
        synapses: of each branch; `None` is inputs / branches of contiguous ones.
        kind: "contiguous", "random" or "neuronio".
        seed: of the random draw.
        device: of the arrays.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    index: Tensor
    valid: Tensor

    def __init__(
        self, inputs: int, branches: int, synapses: int | None, kind: str, seed: int = 0,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if kind not in ROUTINGS:
            raise ValueError(f"routing: expected one of {', '.join(ROUTINGS)}, got {kind!r}")
        for name, size in (("branches", branches), ("synapses", synapses)):
            if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
                raise ValueError(f"{name}: expected a whole number above 0, got {size!r}")
        if kind == "contiguous":
            if branches > inputs:
                raise ValueError(f"branches: expected no more than the {inputs} synapses, got {branches}")
            if synapses is None and inputs % branches == 0:
                synapses = inputs // branches
            if synapses is None or branches * synapses != inputs:
                raise ValueError(
                    f"branches: contiguous ones share out all {inputs} inputs, got {branches} branches"
                    + ("" if synapses is None else f" of {synapses} synapses")
                )
        if synapses is None:
            raise ValueError(f"synapses: expected their number on a branch, for routing={kind!r}, got None")
        self.inputs, self.branches, self.synapses, self.kind = inputs, branches, synapses, kind
        index, valid = _draw(inputs, branches, synapses, kind, seed)
        self.register_buffer("index", index.to(device))
        self.register_buffer("valid", valid.to(device))

    def matrix(self, weight: Tensor) -> Tensor:
        """(inputs, branches), what an input brings to each branch, from the weights (branches * synapses,)."""
        branch = torch.arange(self.branches, device=weight.device).repeat_interleave(self.synapses)
        whole = weight.new_zeros(self.inputs * self.branches)
        whole = whole.index_add(0, self.index * self.branches + branch, torch.where(self.valid, weight, 0.0))
        return whole.view(self.inputs, self.branches)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """Check inputs from a file before anything is read through them."""
        index = state_dict.get(f"{prefix}index")
        if index is not None and index.numel() and not 0 <= int(index.min()) <= int(index.max()) < self.inputs:
            raise ValueError(
                f"{prefix}index: expected inputs 0 to {self.inputs - 1}, got {int(index.min())} to {int(index.max())}"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        return f"{self.inputs}, branches={self.branches}, synapses={self.synapses}, kind={self.kind!r}"


def _draw(inputs: int, branches: int, synapses: int, kind: str, seed: int) -> tuple[Tensor, Tensor]:
    number = branches * synapses
    everywhere = torch.ones(number, dtype=torch.bool)
    if kind == "contiguous":
        return torch.arange(number), everywhere
    if kind == "random":
        return torch.randint(inputs, (number,), generator=torch.Generator().manual_seed(seed)), everywhere
    if inputs % 2:
        raise ValueError(f"routing: 'neuronio' pairs the two halves of the inputs, got an odd number, {inputs}")
    order = torch.arange(inputs).view(2, -1).t().reshape(-1)
    stride = -(-inputs // branches)
    place = (torch.arange(branches)[:, None] * stride + torch.arange(synapses)).view(-1)
    return order[place.clamp(max=inputs - 1)], place < inputs
