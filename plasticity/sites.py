"""Sites: the layers of a model whose weights a rule can reach, torch's and ours alike, by name.

A site knows where its weight is, along which axis the inputs lie, and how activity becomes rows (R, n): the inputs of a
matrix as they are, those of a convolution patch by patch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from spiking.networks import SpikingConv2d
from spiking.neurons import Layer

CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Site:
    """One layer.

    Arguments:
        name: in the model.
        module: whose input is the activity.
        holder: whose `weight` is the matrix; another one for `SpikingConv2d`.
        timed: the input is (T, B, ...).
    """

    name: str
    module: nn.Module
    holder: nn.Module
    timed: bool

    @property
    def weight(self) -> nn.Parameter:
        """(in, out) in our layers, (out, in, ...) in torch's."""
        found = self.holder.weight
        assert isinstance(found, nn.Parameter)
        return found

    @property
    def ours(self) -> bool:
        """Whether the weight is (in, out)."""
        return isinstance(self.holder, Layer)

    @property
    def inputs(self) -> int:
        """n, what a row of activity has."""
        return self.weight.shape[0] if self.ours else self.weight[0].numel()

    @property
    def outputs(self) -> int:
        """Columns of the matrix."""
        return self.weight.numel() // self.inputs

    @property
    def axis(self) -> int:
        """Of the inputs in `matrix`, as `spiking.kernels.oja.project` takes it."""
        return 0 if self.ours else -1

    def matrix(self, tensor: Tensor) -> Tensor:
        """The weight, or its gradient, as a matrix (in, out) or (out, in)."""
        return tensor if self.ours else tensor.flatten(1)

    def rows(self, x: Tensor) -> Tensor:
        """Activity (B, ...) as rows (R, n)."""
        if not isinstance(self.holder, CONV):
            return x.reshape(-1, x.shape[-1])
        if isinstance(self.module, SpikingConv2d):
            x = x.reshape(-1, *self.module.shape)
        return patches(x, self.holder)


def patches(x: Tensor, conv: Any) -> Tensor:
    """The inputs (B, C, ...) of a convolution as rows (B * positions, C * kernel)."""
    x = nn.functional.pad(x, conv._reversed_padding_repeated_twice)
    space = range(2, x.ndim)
    for d in space:
        i = d - 2
        reach = conv.dilation[i] * (conv.kernel_size[i] - 1) + 1
        x = x.unfold(d, reach, conv.stride[i])[..., :: conv.dilation[i]]
    order = [0, *space, 1, *range(x.ndim - len(space), x.ndim)]
    return x.permute(order).reshape(-1, x.shape[1] * int(torch.tensor(conv.kernel_size).prod()))


def find(model: nn.Module, names: Iterable[str], argument: str, time_first: bool = True) -> dict[str, Site]:
    """The sites of that name.

    Arguments:
        model: any module.
        names: of layers with weights, as `model.named_modules()` gives them.
        argument: how an error calls the names.
        time_first: the input of a matrix with three axes or more starts with time.

    Raises:
        ValueError: if there is no such layer, naming those there are.
    """
    there = _all(model, time_first)
    missing = [name for name in names if name not in there]
    if missing:
        listed = ", ".join(f"{name!r} ({site.inputs} inputs)" for name, site in there.items()) or "none"
        raise ValueError(f"{argument}: no layer {', '.join(map(repr, missing))}; layers with weights: {listed}")
    return {name: there[name] for name in names}


def every(model: nn.Module, time_first: bool = True) -> dict[str, Site]:
    """All sites of a model in its own order, each weight once; arguments as in `find`."""
    seen: set[int] = set()
    found = {}
    for name, site in _all(model, time_first).items():
        if id(site.holder) not in seen:
            seen.add(id(site.holder))
            found[name] = site
    return found


def _all(model: nn.Module, time_first: bool) -> dict[str, Site]:
    model = model.module if isinstance(model, DistributedDataParallel) else model
    return {name: site for name, module in model.named_modules() if (site := _site(name, module, time_first))}


def _site(name: str, module: nn.Module, time_first: bool) -> Site | None:
    if isinstance(module, Layer):
        sparse = module.connectome is not None  # the gradient of sparse synapses is no matrix
        return None if module.weight is None or sparse else Site(name, module, module, True)
    if isinstance(module, SpikingConv2d):
        return Site(name, module, module.conv, True)
    if isinstance(module, nn.Linear):
        return Site(name, module, module, time_first)
    if isinstance(module, CONV) and module.groups == 1 and module.padding_mode == "zeros":
        return Site(name, module, module, False)
    return None
