"""Named cases that every backend of `event_conv` is held to, and the code that runs one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels import event_conv

Pair = tuple[int, int]


@dataclass(frozen=True)
class Case:
    """One convolution, its sizes and its input; pairs are (down, across)."""

    name: str
    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    padding: Pair = (1, 1)
    dilation: Pair = (1, 1)
    groups: int = 1
    T: int = 7
    B: int = 3
    pixels: Pair = (9, 7)
    planes: int = 2
    out: int = 5  # of each group
    density: float = 0.1
    valued: bool = False
    lengths: tuple[int, ...] | None = None
    bias: bool = False
    where: str = "all"  # or "border", "corners"


class Result(NamedTuple):
    """Output and gradients; that of the bias is empty without one."""

    y: Tensor
    grad_weight: Tensor
    grad_bias: Tensor


CASES = [
    Case("plain"),
    Case("no_padding", padding=(0, 0)),
    Case("stride_two", (5, 5), (2, 2), (2, 2)),
    Case("border_stride_two", (5, 5), (2, 2), (2, 2), density=0.5, where="border"),
    Case("corners_stride_three", (3, 5), (3, 2), (2, 3), density=1.0, where="corners"),
    Case("stride_past_the_kernel", (2, 1), (3, 4), (1, 0)),
    Case("far_padding", (3, 3), (2, 2), (4, 5)),
    Case("tall_kernel", (7, 1), padding=(3, 0)),
    Case("wide_kernel", (1, 6), (1, 2), (0, 2)),
    Case("whole_sensor", (9, 7), padding=(0, 0)),
    Case("one_tap", (1, 1), padding=(0, 0)),
    Case("dilation", (3, 2), padding=(2, 3), dilation=(2, 3)),
    Case("dilation_and_stride", (3, 3), (3, 2), (4, 4), (2, 3)),
    Case("dilation_shares_a_factor", (3, 3), (4, 2), (3, 4), (2, 4)),
    Case("groups", planes=4, groups=2, stride=(2, 1)),
    Case("depthwise", planes=3, groups=3, out=1),
    Case("groups_and_dilation", planes=4, groups=2, dilation=(1, 2), padding=(1, 2), out=17),
    Case("everything", (3, 5), (2, 1), (1, 4), (1, 2), 2, planes=4, valued=True, lengths=(7, 0, 3), bias=True),
    Case("bias", bias=True),
    Case("counts_and_signs", valued=True),
    Case("lengths", lengths=(7, 0, 4)),
    Case("lengths_and_bias", lengths=(5, 0, 4), bias=True),
    Case("odd_sizes", T=63, B=1, out=7, pixels=(5, 6)),
    Case("one_line", (1, 3), padding=(0, 1), pixels=(1, 40)),
    Case("one_pixel", pixels=(1, 1)),
    Case("one_output", out=1),
    Case("eight_outputs", out=8, stride=(2, 2)),
    Case("many_outputs", out=65, T=2),
    Case("one_frame", T=1, B=1),
    Case("no_step", T=0, bias=True),
    Case("empty_batch", B=0),
    Case("no_event", density=0.0, bias=True),
    Case("all_pixels", density=1.0),
]


class Problem(NamedTuple):
    """The tensors of a case."""

    x: Events
    weight: Tensor
    bias: Tensor | None
    grad: Tensor


def build(case: Case, dtype: torch.dtype = torch.float64, device: str = "cpu", seed: int = 0) -> Problem:
    """The tensors of a case, drawn with `seed` on the CPU, so that every backend gets the same numbers."""
    g = torch.Generator().manual_seed(seed)
    (H, W), P, out = case.pixels, case.planes, case.out * case.groups
    hit = torch.rand(case.T, case.B, P, H, W, generator=g) < case.density
    if case.where == "border":
        hit[..., 1 : H - 1, 1 : W - 1] = False
    elif case.where == "corners":
        hit[..., 1 : H - 1, :] = hit[..., :, 1 : W - 1] = False
    counts = torch.randint(-1, 4, hit.shape, generator=g) if case.valued else 1.0
    lengths = None if case.lengths is None else torch.tensor(case.lengths)
    x = Events.from_dense((hit * counts).double().flatten(2), 1.0, lengths, (W, H, P))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(device, dtype)

    size = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(case.pixels, case.kernel, case.stride, case.padding, case.dilation, strict=True)
    ]
    bias = normal(out) if case.bias else None
    return Problem(x.to(device), normal(P, *case.kernel, case.out), bias, normal(case.T, case.B, out, *size))


def run(case: Case, p: Problem, backend: str) -> Result:
    """Forward and backward on a backend."""
    leaves = [x.detach().clone().requires_grad_() for x in (p.weight, p.bias) if x is not None]
    y = event_conv(
        p.x, leaves[0], None, case.stride, case.padding, leaves[1] if case.bias else None, dilation=case.dilation,
        groups=case.groups, backend=backend,
    )
    slopes = list(torch.autograd.grad(y, leaves, p.grad))
    return Result(y.detach(), slopes[0], slopes[1] if case.bias else p.weight.new_empty(0))


def specified(case: Case, p: Problem) -> Result:
    """The reference in float64."""
    bias = None if p.bias is None else p.bias.double()
    return run(case, Problem(p.x, p.weight.double(), bias, p.grad.double()), "reference")


def assert_close(case: Case, found: Result, wanted: Result, tolerance: float) -> None:
    """Output and gradients within `tolerance` of the specification, relative to the largest number in each."""
    for name in Result._fields:
        a, b = getattr(found, name), getattr(wanted, name)
        assert a.shape == b.shape, f"{case.name}, {name}: shape {tuple(a.shape)}, wanted {tuple(b.shape)}"
        assert torch.isfinite(a).all(), f"{case.name}, {name}: not finite"
        scale = max(1.0, float(b.abs().max()) if b.numel() else 0.0)
        error = float((a.double() - b).abs().max()) if b.numel() else 0.0
        assert error <= tolerance * scale, f"{case.name}, {name}: off by {error:.3g} of {scale:.3g}"
