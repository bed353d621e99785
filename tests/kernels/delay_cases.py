"""Named cases that every backend of `delay_linear` is held to, and the code that runs one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels import delay_linear


@dataclass(frozen=True)
class Case:
    """One kernel, its sizes and its input."""

    name: str
    sigma: float = 0.0
    rounded: bool = False
    axonal: bool = False
    T: int = 23
    B: int = 3
    inputs: int = 17
    out: int = 60
    last: int = 20
    density: float = 0.1
    valued: bool = False
    dense: bool = False  # a tensor that gets a gradient; otherwise events
    lengths: tuple[int, ...] | None = None
    state: bool = True


class Result(NamedTuple):
    """Outputs and gradients; `grad_x` is empty for events."""

    y: Tensor
    state: Tensor
    grad_weight: Tensor
    grad_delay: Tensor
    grad_state: Tensor
    grad_x: Tensor


KERNELS = [
    Case("linear"),
    Case("rounded", rounded=True),
    Case("gaussian", sigma=0.37),
    Case("gaussian_everywhere", sigma=4.0),
]
CASES = [
    *KERNELS,
    *(Case(f"axonal_{c.name}", c.sigma, c.rounded, axonal=True) for c in KERNELS),
    Case("dense", dense=True),
    Case("dense_rounded", rounded=True, dense=True),
    Case("dense_gaussian", sigma=0.37, dense=True, valued=True),
    Case("dense_axonal", sigma=0.37, dense=True, axonal=True),
    Case("dense_gaussian_everywhere", sigma=4.0, dense=True),
    Case("too_dense", dense=True, density=0.95),
    Case("too_dense_gaussian", sigma=0.37, dense=True, density=0.95, lengths=(23, 0, 11)),
    Case("too_dense_everywhere", sigma=4.0, dense=True, density=0.95),
    Case("counts_and_signs", valued=True),
    Case("axonal_counts_and_signs", sigma=0.37, axonal=True, valued=True),
    Case("lengths", sigma=0.37, lengths=(23, 0, 7)),
    Case("lengths_dense", dense=True, lengths=(16, 0, 22)),
    Case("without_state", sigma=0.37, state=False),
    Case("without_state_and_lengths", state=False, lengths=(1, 23, 5)),
    Case("odd_sizes", T=63, B=1, out=33, sigma=0.37),
    Case("several_blocks", out=301, B=9, T=18, sigma=0.37),
    Case("axonal_several_blocks", out=301, B=9, T=18, axonal=True),
    Case("one_output", out=1),
    Case("one_input", inputs=1, axonal=True),
    Case("no_delay", last=0),
    Case("no_delay_gaussian", last=0, sigma=2.0),
    Case("one_step_of_delay", last=1),
    Case("one_step", T=1),
    Case("no_step", T=0),
    Case("no_step_dense", T=0, dense=True),
    Case("empty_batch", B=0),
    Case("empty_batch_dense", B=0, dense=True),
    Case("no_event", density=0.0, sigma=0.37),
    Case("all_events", density=1.0),
]


class Problem(NamedTuple):
    """The tensors of a case."""

    x: Events | Tensor
    weight: Tensor
    delay: Tensor
    state: Tensor | None
    lengths: Tensor | None
    gradients: tuple[Tensor, Tensor]  # of y and of the state


def build(case: Case, dtype: torch.dtype = torch.float64, device: str = "cpu", seed: int = 0) -> Problem:
    """The tensors of a case, drawn with `seed` on the CPU, so that every backend gets the same numbers."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(device, dtype)

    hit = (torch.rand(case.T, case.B, case.inputs, generator=g) < case.density).double()
    if case.valued:
        hit *= torch.randint(-1, 4, hit.shape, generator=g)
    lengths = None if case.lengths is None else torch.tensor(case.lengths)
    x: Events | Tensor
    if case.dense:  # what lies beyond a recording's end must not count
        x = hit.to(device, dtype)
    else:
        x, lengths = Events.from_dense(hit, 1.0, lengths).to(device), None
    # Of 7 binary places, away from halves and whole steps but for the two ends: as float32 and float64 round alike.
    shape = (case.inputs,) if case.axonal else (case.inputs, case.out)
    longest = case.last if case.state or case.T == 0 else min(case.last, case.T)
    delay = (torch.randint(0, 128 * longest, shape, generator=g) | 1).double() / 128 if longest else torch.zeros(shape)
    delay.view(-1)[0], delay.view(-1)[-1] = longest, 0.0
    return Problem(
        x, normal(case.inputs, case.out), delay.to(device, dtype),
        normal(case.last, case.B, case.out) if case.state else None,
        None if lengths is None else lengths.to(device),
        (normal(case.T, case.B, case.out), normal(case.last, case.B, case.out)),
    )  # fmt: skip


def run(case: Case, p: Problem, backend: str) -> Result:
    """Forward and backward on a backend."""
    state = torch.zeros_like(p.gradients[1]) if p.state is None else p.state
    weight, delay, state = (x.detach().clone().requires_grad_() for x in (p.weight, p.delay, state))
    x = p.x.clone().requires_grad_() if isinstance(p.x, Tensor) else p.x
    y, after = delay_linear(
        x, weight, delay, case.last, None if p.state is None else state, sigma=case.sigma, rounded=case.rounded,
        lengths=p.lengths, backend=backend,
    )
    leaves = [weight, delay, state, *([x] if isinstance(x, Tensor) else [])]
    found = torch.autograd.grad([y, after], leaves, p.gradients, allow_unused=True)
    slopes = [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]
    if not isinstance(x, Tensor):
        slopes.append(weight.new_empty(0))
    return Result(y.detach(), after.detach(), *slopes)


def specified(case: Case, p: Problem) -> Result:
    """The reference in float64."""
    x = p.x.double() if isinstance(p.x, Tensor) else p.x
    weight, delay = p.weight.double(), p.delay.double()
    state = None if p.state is None else p.state.double()
    gradients = (p.gradients[0].double(), p.gradients[1].double())
    return run(case, Problem(x, weight, delay, state, p.lengths, gradients), "reference")


def assert_close(case: Case, found: Result, wanted: Result, tolerance: float) -> None:
    """Every output and gradient within `tolerance` of the specification, relative to the largest number in it."""
    for name in Result._fields:
        a, b = getattr(found, name), getattr(wanted, name)
        assert a.shape == b.shape, f"{case.name}, {name}: shape {tuple(a.shape)}, wanted {tuple(b.shape)}"
        assert torch.isfinite(a).all(), f"{case.name}, {name}: not finite"
        scale = max(1.0, float(b.abs().max()) if b.numel() else 0.0)
        error = float((a.double() - b).abs().max()) if b.numel() else 0.0
        assert error <= tolerance * scale, f"{case.name}, {name}: off by {error:.3g} of {scale:.3g}"
