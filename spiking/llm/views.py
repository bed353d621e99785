"""Operators after which a spike weight is still one: transposed, one of its experts or a batch, copied, moved.

Each returns NotImplemented where the result would be no whole matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spiking.llm.weight import SpikeWeight

aten = torch.ops.aten


def _swap(w: SpikeWeight, one: int = 0, two: int = 1) -> Any:
    dims = {one % w.ndim, two % w.ndim}
    if dims == {w.ndim - 2, w.ndim - 1}:
        return w.with_(swapped=not w.swapped)
    return w.with_() if len(dims) == 1 else NotImplemented


def _permute(w: SpikeWeight, dims: list[int]) -> Any:
    order, whole = [dim % w.ndim for dim in dims], list(range(w.ndim))
    if order == whole:
        return w.with_()
    return w.with_(swapped=not w.swapped) if order == [*whole[:-2], *whole[:-3:-1]] else NotImplemented


def _select(w: SpikeWeight, dim: int, index: int) -> Any:
    if w.batch is None or dim % w.ndim:
        return NotImplemented
    return w.with_(batch=None, expert=w.batch[index])


def _index(w: Any, indices: list[Tensor | None]) -> Any:
    first = indices[0] if len(indices) == 1 else None
    if not isinstance(w, SpikeWeight) or w.batch is None or first is None:
        return NotImplemented
    if first.dtype not in (torch.int32, torch.int64) or first.ndim > 1:
        return NotImplemented
    return w.with_(batch=tuple(w.batch[i] for i in first.tolist())) if first.ndim else _select(w, 0, int(first))


def _index_select(w: SpikeWeight, dim: int, index: Tensor) -> Any:
    return _index(w, [index]) if isinstance(w, SpikeWeight) and dim % w.ndim == 0 else NotImplemented


def _unbind(w: SpikeWeight, dim: int = 0) -> Any:
    return NotImplemented if w.batch is None or dim % w.ndim else [_select(w, 0, i) for i in range(len(w.batch))]


def _unsqueeze(w: SpikeWeight, dim: int) -> Any:
    return w.with_(batch=(w.expert,)) if w.batch is None and dim in (0, -3) else NotImplemented


def _squeeze(w: SpikeWeight, dim: int | list[int] = 0) -> Any:
    first = [dim] if isinstance(dim, int) else dim
    if w.batch is None or len(w.batch) != 1 or [one % w.ndim for one in first] != [0]:
        return NotImplemented
    return w.with_(batch=None, expert=w.batch[0])


def _expand(w: SpikeWeight, size: list[int], *, implicit: bool = False) -> Any:
    wanted = [have if want == -1 else want for want, have in zip(size[::-1], w.shape[::-1], strict=False)][::-1]
    if wanted[-2:] != list(w.shape[-2:]) or len(size) > 3:
        return NotImplemented
    if len(size) == 2 or list(size) == list(w.shape):
        return w.with_()
    batch = (w.expert,) if w.batch is None else w.batch
    return w.with_(batch=batch * size[0]) if len(batch) == 1 else NotImplemented


def _view(w: SpikeWeight, size: list[int]) -> Any:
    """Only leading dimensions of 1 may come and go."""
    shape = list(size)
    if -1 in shape:
        rest = 1
        for length in shape:
            rest *= length if length != -1 else 1
        shape[shape.index(-1)] = w.numel() // rest
    if shape == list(w.shape):
        return w.with_()
    if shape == [1, *w.shape[-2:]] and w.batch is None:
        return w.with_(batch=(w.expert,))
    if shape == list(w.shape[1:]) and w.batch is not None and len(w.batch) == 1:
        return w.with_(batch=None, expert=w.batch[0])
    return NotImplemented


def _same(w: SpikeWeight, *args: Any, **kwargs: Any) -> Any:
    return w.with_()


def _clone(w: SpikeWeight, *, memory_format: Any = None) -> Any:
    return w.with_(matrices=w.matrices.apply(torch.Tensor.clone))


def _to_copy(w: SpikeWeight, *, dtype: Any = None, device: Any = None, layout: Any = None, **rest: Any) -> Any:
    """The type it shows changes; the whole numbers and their scales do not."""

    def move(part: Tensor) -> Tensor:
        return part.to(device=device, dtype=dtype if part is w.matrices.floats else None)

    wanted = w.dtype if dtype is None else dtype
    if not wanted.is_floating_point:
        return NotImplemented
    return w.with_(matrices=w.matrices.apply(move), dtype=wanted)


def _copy(target: Any, source: Any, non_blocking: bool = False) -> Any:
    """`load_state_dict`: numbers of one spike weight into another, which keeps its config."""
    if not (isinstance(target, SpikeWeight) and isinstance(source, SpikeWeight)):
        return NotImplemented
    to, come = target.matrices, source.matrices
    if (to.shape, to.config.group, to.codes is None) != (come.shape, come.config.group, come.codes is None):
        raise ValueError(f"{to.name}: expected a weight like {target}, got {source}")
    for name in ("codes", "scales", "floats"):
        if (part := getattr(to, name)) is not None:
            part.copy_(getattr(come, name))
    return target


VIEWS: dict[Any, Callable[..., Any]] = {
    aten.t: _swap,
    aten.transpose: _swap,
    aten.permute: _permute,
    aten.select: _select,
    aten.index: _index,
    aten.index_select: _index_select,
    aten.unbind: _unbind,
    aten.unsqueeze: _unsqueeze,
    aten.squeeze: _squeeze,
    aten.expand: _expand,
    aten.view: _view,
    aten._unsafe_view: _view,
    aten.reshape: _view,
    aten.detach: _same,
    aten.alias: _same,
    aten.clone: _clone,
    aten._to_copy: _to_copy,
    aten.copy_: _copy,
}
