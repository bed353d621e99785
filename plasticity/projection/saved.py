"""Projection of activity, where that is cheaper: for its weight's gradient a layer saves x - x H^T H in place of x.

    g^T (x - x H^T H) = G - G H^T H          4 R n k operations for R rows of activity, not 4 out n k

The layer's output and the gradient of x stay what they are. What else adds to a gradient, such as a penalty on weights,
goes past the activity: each gradient is tried along one direction of the span, and projected itself where it isn't
orthogonal to it. Only between `observe` and `project`, and for `nn.Linear`, whose gradient is that product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from spiking.kernels.oja import project
from spiking.kernels.oja.project import cheaper
from spiking.plasticity.sites import Site

EXACT = 100  # times the rounding of one number: up to there a gradient counts as orthogonal to old rows


class Saved:
    """What linear layers save for the gradients of their weights.

    Arguments:
        sites: name -> site.
        rows: name -> H (k, n), orthonormal, and its complement or `None`.
    """

    def __init__(self, sites: Mapping[str, Site], rows: Callable[[str], tuple[Tensor, Tensor | None]]) -> None:
        self.rows, self.watching = rows, False
        self.rest: dict[str, list[Tensor]] = {name: [] for name in sites}  # what H leaves of each call's activity
        self._open: list[saved_tensors_hooks] = []
        self._draw = torch.Generator().manual_seed(0)
        for site in sites.values():
            if type(site.holder) is nn.Linear:
                site.holder.register_forward_pre_hook(self._before(site), with_kwargs=True)
                site.holder.register_forward_hook(self._after, always_call=True)

    def begin(self) -> None:
        """Look at the calls that follow."""
        self.watching = True
        for seen in self.rest.values():
            seen.clear()

    def take(self, name: str) -> list[Tensor]:
        """What H left of the activity of each call since `begin`, in the call's shape; it is forgotten."""
        found, self.rest[name] = self.rest[name], []
        return found

    def _before(self, site: Site) -> Any:
        def look(module: nn.Linear, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            x = args[0] if args else kwargs["input"]
            if not self._pays(site, x):
                return
            with torch.no_grad():
                rest = project(x.reshape(-1, x.shape[-1]), *self.rows(site.name)).view_as(x)
            self.rest[site.name].append(rest)

            def save(tensor: Tensor) -> Tensor:
                ours = tensor.data_ptr() == x.data_ptr() and tensor.numel() == x.numel()
                return rest.view(tensor.shape) if ours else tensor

            self._open.append(saved_tensors_hooks(save, _as_it_is))
            self._open[-1].__enter__()

        return look

    def _after(self, module: nn.Module, args: Any, out: Any) -> None:
        if self._open:
            self._open.pop().__exit__()

    def _pays(self, site: Site, x: Tensor) -> bool:
        weight = site.weight
        return (
            self.watching
            and site.module.training and torch.is_grad_enabled() and weight.requires_grad
            and x.dtype == weight.dtype and weight.dtype in (torch.float32, torch.float64)
            and not torch.is_autocast_enabled(weight.device.type) and not torch.compiler.is_compiling()
            and len(self.rows(site.name)[0]) > 0 and x.shape[-1] == site.inputs and x.numel() > 0
            and cheaper(x.numel() // site.inputs, site.outputs) == "activity"
        )  # fmt: skip

    def spared(self, name: str, G: Tensor, axis: int) -> bool:
        """Whether the gradient matrix G has no part along old rows, by a look at one direction of their span."""
        if not self.rest[name]:
            return False
        H = self.rows(name)[0]
        probe = H.t() @ torch.randn(len(H), dtype=H.dtype, generator=self._draw).to(H.device)
        along = G @ probe if axis == -1 else probe @ G
        return bool(along.norm() <= EXACT * torch.finfo(G.dtype).eps * probe.norm() * G.norm())


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
