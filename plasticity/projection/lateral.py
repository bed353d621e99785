"""Projection of activity, for lateral neurons that are quantised: what the gradient alone can't tell.

With y = q(x H^T) the published gradient is  g^T (x - y H) = G - (g^T y) H. The layer's output is given the extra
current y A with A = 0 (k, out), which changes nothing and whose gradient is y^T g.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spiking.events import Events
from spiking.kernels import Lateral, event_linear
from spiking.kernels.oja import quantise
from spiking.neurons import Layer
from spiking.plasticity.sites import Site
from spiking.plasticity.together import averaged

FUNCTIONS: dict[type, Any] = {
    nn.Conv1d: nn.functional.conv1d, nn.Conv2d: nn.functional.conv2d, nn.Conv3d: nn.functional.conv3d,
}


class Shadow:
    """The silent extra current of a site.

    Arguments:
        site: of a layer of torch's or of ours without normalisation.
        lateral: how y is quantised; `None` leaves it real.

    Raises:
        ValueError: if the layer normalises its currents, into which no other can be mixed.
    """

    def __init__(self, site: Site, lateral: Lateral | None) -> None:
        self.site, self.lateral = site, lateral
        self.H: Tensor | None = None
        self.A: Tensor | None = None
        holder: Any = site.holder
        if not isinstance(holder, Layer):
            holder.register_forward_hook(self._add)
            return
        if holder.norm is not None:
            raise ValueError(f"{site.name}: batch normalisation mixes activity; use form='gradient'")
        run = holder._run

        def with_current(x: Any, state: Any, weight: Tensor | None, *rest: Any) -> Any:
            if self.A is None or weight is None or not torch.is_grad_enabled():
                return run(x, state, weight, *rest)
            assert self.H is not None
            current = event_linear(x, weight) + quantise(event_linear(_free(x), self.H.t()), self.lateral) @ self.A
            return run(current, state, None, *rest)

        setattr(holder, "_run", with_current)  # noqa: B010  no method is assigned to, says mypy

    def follow(self, H: Tensor) -> None:
        """Project out of the rows H (k, n) from now on."""
        self.H = H
        self.A = H.new_zeros(H.shape[0], self.site.outputs).requires_grad_()

    def _add(self, module: Any, args: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
        if self.A is None or not torch.is_grad_enabled():
            return None
        assert self.H is not None
        x, k = args[0].detach(), self.H.shape[0]
        if isinstance(module, nn.Linear):
            return out + quantise(x @ self.H.t(), self.lateral) @ self.A
        convolve = FUNCTIONS[type(module)]
        y = convolve(
            x, self.H.view(k, *module.weight.shape[1:]), None, module.stride, module.padding, module.dilation
        )
        return out + convolve(quantise(y, self.lateral), self.A.t().reshape(-1, k, *[1] * len(module.kernel_size)))

    def project(self, G: Tensor) -> Tensor:
        """The gradient of projected activity from G, (in, out) or (out, in), both of the last backward pass.

        Raises:
            RuntimeError: if G came about without the extra current, as through a fused path past the module.
        """
        if self.A is None or self.H is None or not len(self.H):
            return G
        if self.A.grad is None:
            raise RuntimeError(f"{self.site.name}: its activity went past the lateral neurons; use form='gradient'")
        seen, self.A.grad = averaged(self.A.grad), None
        if self.site.ours:
            return torch.addmm(G, self.H.t(), seen, alpha=-1)
        return torch.addmm(G, seen.t(), self.H, alpha=-1)


def _free(x: Tensor | Events) -> Tensor | Events:
    return x.detach() if isinstance(x, Tensor) else x
