"""Active dendrites: units whose segments recognise a context and gate what the unit says.

    y_i = (w_i . x + b_i) sigmoid(d_i),   d_i the strongest segment's activity     (kernels/dendrites/op.py)
    z   = the k largest y, the others 0

Iyer, Grewal, Velu, Souza, Forest & Ahmad 2022, "Avoiding catastrophe: active dendrites enable multi-task learning in
dynamic environments". A task's context is its prototype, the mean of its training samples; in evaluation it is the
prototype nearest to the sample, so that no one says which task it is from.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from spiking.events import Events
from spiking.kernels.dendrites import strongest


def k_winners(y: Tensor, k: int) -> Tensor:
    """The k largest of each row of y (B, N), zeros elsewhere; only winners pass gradients."""
    best = y.topk(k, dim=1, sorted=False)
    return torch.zeros_like(y).scatter(1, best.indices, best.values)


class ActiveDendrites(nn.Module):
    """A layer of units with dendritic segments.

    Arguments:
        inputs, units: of the feed-forward weights.
        segments: of each unit.
        context: n, numbers of a context.
        density: share of the feed-forward weights that exist, drawn once.
        input_density: share of the inputs that are active, which scales the first feed-forward weights.
        context_density: share of a context that is expected to be active, which scales the first segments.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    mask: Tensor

    def __init__(
        self, inputs: int, units: int, segments: int, context: int, *, density: float = 0.5,
        input_density: float = 1.0, context_density: float = 0.1,
    ) -> None:
        super().__init__()
        for name, number in (("inputs", inputs), ("units", units), ("segments", segments), ("context", context)):
            if number < 1:
                raise ValueError(f"{name}: expected a number above 0, got {number}")
        for name, share in (("input_density", input_density), ("context_density", context_density)):
            if not 0 < share <= 1:
                raise ValueError(f"{name}: expected a share above 0 and up to 1, got {share}")
        self.weight, mask = _sparse(inputs, units, density, input_density)
        self.register_buffer("mask", mask)
        self.bias = nn.Parameter(torch.zeros(units))
        reach = (context_density * context) ** -0.5
        self.segments = nn.Parameter(torch.empty(units, segments, context).uniform_(-reach, reach))

    def forward(self, x: Tensor, contexts: Tensor, which: Tensor | int) -> Tensor:
        """What the units say.

        Arguments:
            x: (B, inputs).
            contexts: (P, n), each different context once.
            which: (B,) the context of each sample, or one number for all.

        Returns:
            (B, units).
        """
        y = nn.functional.linear(x, self.weight * self.mask, self.bias)
        if isinstance(which, int):
            return y * strongest(contexts[which : which + 1], self.segments).sigmoid()
        return y * strongest(contexts, self.segments).sigmoid()[which]


class DendriticMLP(nn.Module):
    """Layers of active dendrites with k winners each, and a sparse linear readout.

    Call `begin_task` with a task's training samples before the task. While training, the context is that task's
    prototype, in evaluation each sample's nearest one; before the first task there is none, and every gate is 1/2.

    Arguments:
        sizes: inputs, units of each hidden layer, classes; 784, 2048, 2048, 10 in the paper.
        segments: of each unit; as many as there are tasks in the paper.
        winners: share of a layer's units that speak.
        density, context_density: as in `ActiveDendrites`.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    prototypes: Tensor
    mask: Tensor

    def __init__(
        self, sizes: Sequence[int] = (784, 2048, 2048, 10), segments: int = 10, *, winners: float = 0.05,
        density: float = 0.5, context_density: float = 0.1,
    ) -> None:
        super().__init__()
        if len(sizes) < 3:
            raise ValueError(f"sizes: expected (inputs, hidden..., classes), got {list(sizes)}")
        if not 0 < winners <= 1:
            raise ValueError(f"winners: expected a share above 0 and up to 1, got {winners}")
        self.layers = nn.ModuleList(
            ActiveDendrites(
                n, m, segments, sizes[0], density=density, input_density=winners if k else 1.0,
                context_density=context_density,
            )
            for k, (n, m) in enumerate(pairwise(sizes[:-1]))
        )
        self.winners = [max(1, round(winners * m)) for m in sizes[1:-1]]
        self.weight, mask = _sparse(sizes[-2], sizes[-1], density, winners)
        self.register_buffer("mask", mask)
        self.bias = nn.Parameter(torch.zeros(sizes[-1]))
        self.register_buffer("prototypes", torch.zeros(0, sizes[0]))

    @torch.no_grad()
    def begin_task(self, samples: Tensor) -> None:
        """Add the prototype of a task, the mean of its training samples (M, inputs)."""
        if samples.ndim != 2 or samples.shape[1] != self.prototypes.shape[1] or not len(samples):
            raise ValueError(
                f"samples: expected (1 or more, {self.prototypes.shape[1]}), got {tuple(samples.shape)}"
            )
        self.prototypes = torch.cat([self.prototypes, samples.mean(0, keepdim=True).to(self.prototypes)])

    def nearest(self, x: Tensor) -> Tensor:
        """(B,) number of the prototype nearest to each sample."""
        return torch.cdist(x, self.prototypes).argmin(1)

    def forward(self, x: Tensor | Events) -> Tensor:
        """Logits (B, classes) of samples (B, inputs), or of Events' counts.

        Raises:
            RuntimeError: in training, before the first task has begun.
        """
        x = x.counts() if isinstance(x, Events) else x
        if self.training and not len(self.prototypes):
            raise RuntimeError("prototypes: there are none yet; call begin_task with the first task's samples")
        contexts = self.prototypes if len(self.prototypes) else self.prototypes.new_zeros(1, x.shape[1])
        which = len(contexts) - 1 if self.training or not len(self.prototypes) else self.nearest(x)
        for layer, k in zip(self.layers, self.winners, strict=True):
            x = k_winners(layer(x, contexts, which), k)
        return nn.functional.linear(x, self.weight * self.mask, self.bias)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
        """Take as many prototypes as the state has."""
        found = state.get(f"{prefix}prototypes")
        if found is not None:
            self.prototypes = self.prototypes.new_zeros(found.shape)
        super()._load_from_state_dict(state, prefix, *rest)


def _sparse(inputs: int, units: int, density: float, active: float) -> tuple[nn.Parameter, Tensor]:
    """Weights (units, inputs) and a mask in which every unit has the same number of inputs, drawn at random."""
    if not 0 < density <= 1:
        raise ValueError(f"density: expected a share above 0 and up to 1, got {density}")
    kept = max(1, round(density * inputs))
    mask = torch.zeros(units, inputs).scatter_(1, torch.rand(units, inputs).topk(kept, dim=1).indices, 1.0)
    reach = (kept * active) ** -0.5
    return nn.Parameter(torch.empty(units, inputs).uniform_(-reach, reach) * mask), mask
