"""What each operator of PyTorch does with a spike weight: products spike, views stay, the rest sees decoded numbers.

A product can spike where it sums over the weight's inputs: x W^T with the weight to the right, W x^T to the left. A sum
over its outputs (the weight used backwards) can't: scales and thresholds belong to inputs. Neither can a part of a
matrix. They are computed with the decoded weight, with a warning, and `coverage` lists them as missed; in a backward
pass that is what is wanted.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from spiking.llm.weight import SpikeWeight, tell

aten = torch.ops.aten
OURS = ("aten", "prim", "prims", "profiler")


class UnspikedWarning(UserWarning):
    """A product used a spike weight in a way that can't spike."""


class FusedError(RuntimeError):
    """A fused kernel reads a spike weight by itself."""


def dispatch(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run one operator that was given a spike weight.

    Raises:
        FusedError: for an operator of another library, which would read the numbers past the spikes.
        RuntimeError: if it changes an int8 weight in place.
    """
    packet = func.overloadpacket
    known = VIEWS.get(packet) or PRODUCTS.get(func._schema.name)
    multiplies = func._schema.name in PRODUCTS
    backward = torch._C._current_graph_task_id() != -1
    if known and not (multiplies and backward):
        if (result := known(*args, **kwargs)) is not NotImplemented:
            return result
    if func.namespace not in OURS and not known:
        names = ", ".join(weight.matrices.name for weight in _weights((args, kwargs)))
        raise FusedError(f"{func.name()} reads {names} by itself: leave it out by name, {{{names!r}: None}}")
    if not known and (result := func.decompose(*args, **kwargs)) is not NotImplemented:
        return result
    if not backward and (multiplies or func.is_view or packet is aten._unsafe_view):
        _warn(packet.__name__, args, multiplies)
    return _plain(func, args, kwargs)


def _warn(operator: str, args: tuple[Any, ...], multiplies: bool) -> None:
    """Say that from here on a weight's numbers are plain ones."""
    for weight in _weights(args):
        name = weight.matrices.name
        how = f"sums over the outputs of {name}" if multiplies else f"takes {name} apart"
        if multiplies:
            tell(weight.matrices, operator, None)
        warnings.warn(f"{operator} {how}: its products do not spike", UnspikedWarning, stacklevel=2)


def _plain(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """With decoded weights."""
    if func._schema.is_mutable and isinstance(args[0], SpikeWeight):
        weight = args[0]
        if weight.matrices.floats is None:
            raise RuntimeError(f"{weight.matrices.name}: {func.name()} would change an int8 weight in place")
        func(*tree_map_only(SpikeWeight, SpikeWeight.decode, args), **kwargs)
        return weight
    args, kwargs = tree_map_only(SpikeWeight, SpikeWeight.decode, (args, kwargs))
    return func(*args, **kwargs)


def _weights(tree: Any) -> list[SpikeWeight]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, SpikeWeight)]


# Products. Each returns NotImplemented where the sum runs over outputs.


def mm(a: Any, b: Any) -> Any:
    """(M, in) times (in, out), or (out, in) times (in, M)."""
    if isinstance(b, SpikeWeight):
        return _matrix(b, a, "mm") if b.swapped and not isinstance(a, SpikeWeight) else NotImplemented
    return _matrix(a, b.t(), "mm").t() if not a.swapped else NotImplemented


def mv(a: Any, b: Any) -> Any:
    """(out, in) times (in,)."""
    if isinstance(a, SpikeWeight) and not isinstance(b, SpikeWeight) and not a.swapped:
        return _matrix(a, b[None], "mv")[0]
    return NotImplemented


def bmm(a: Any, b: Any, out_dtype: torch.dtype | None = None) -> Any:
    """(B, M, in) times (B, in, out), or (B, out, in) times (B, in, M)."""
    if isinstance(b, SpikeWeight):
        return _batch(b, a) if b.swapped and not isinstance(a, SpikeWeight) else NotImplemented
    return _batch(a, b.transpose(1, 2)).transpose(1, 2) if not a.swapped else NotImplemented


def _added(product: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def run(bias: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> Any:
        if isinstance(bias, SpikeWeight):
            bias = bias.decode()
        y = product(a, b) if isinstance(a, SpikeWeight) or isinstance(b, SpikeWeight) else a @ b
        return y if y is NotImplemented else alpha * y + beta * bias

    return run


def grouped(x: Any, weight: Any, offs: Tensor | None = None, bias: Any = None, out_dtype: Any = None) -> Any:
    """(tokens, in), sorted by expert, times (experts, in, out); offs (experts,) is where each expert's tokens end."""
    if not isinstance(weight, SpikeWeight) or isinstance(x, SpikeWeight) or offs is None or bias is not None:
        return NotImplemented
    if not weight.swapped or weight.batch is None or x.ndim != 2:
        return NotImplemented
    y = x.new_zeros(len(x), weight.shape[-1])
    start = 0
    for expert, end in zip(weight.batch, offs.tolist(), strict=True):
        if end > start:
            tell(weight.matrices, "grouped_mm", x[start:end])
            y[start:end] = weight.matrices.product(x[start:end], expert)
        start = max(start, end)
    return y


def _matrix(weight: SpikeWeight, x: Tensor, operator: str) -> Tensor:
    tell(weight.matrices, operator, x)
    return weight.matrices.product(x, weight.expert)


def _batch(weight: SpikeWeight, x: Tensor) -> Tensor:
    """(B, M, out) from (B, M, in): positions with the same expert together."""
    assert weight.batch is not None
    tell(weight.matrices, "bmm", x)
    positions: dict[int, list[int]] = {}
    for position, expert in enumerate(weight.batch):
        positions.setdefault(expert, []).append(position)
    y = x.new_empty(*x.shape[:2], weight.matrices.shape[-2])
    for expert, where in positions.items():
        y[where] = weight.matrices.product(x[where], expert)
    return y


def einsum(equation: str, *operands: Any) -> Any:
    """Two operands, one of them a spike weight whose inputs are summed over: permuted into linear or bmm.

    Decomposed by PyTorch, the weight would be taken apart by permutations that are no matrix any more.
    """
    terms, _, out = equation.replace(" ", "").partition("->")
    first, _, second = terms.partition(",")
    if len(operands) != 2 or not out or sum(isinstance(one, SpikeWeight) for one in operands) != 1:
        return NotImplemented
    (x, labels), (w, of) = (operands[0], first), (operands[1], second)
    if isinstance(x, SpikeWeight):
        (x, labels), (w, of) = (w, of), (x, labels)
    w, of = (w.transpose(-1, -2), of[:-2] + of[:-3:-1]) if w.swapped else (w, of)
    expert, o, i = of[:-2], *of[-2:]
    rest = labels.replace(i, "").replace(expert, "")
    seen = rest.replace(".", "")
    if i in out or labels.count(i) != 1 or o in labels or set(seen + o + expert) != set(out.replace(".", "")):
        return NotImplemented
    x = torch.einsum(f"{labels}->{expert}{rest}{i}", x)
    if expert:
        if "." in rest or expert not in labels:
            return NotImplemented
        y = torch.bmm(x.flatten(1, -2), w.transpose(1, 2)).unflatten(1, x.shape[1:-1])
    else:
        y = torch.matmul(x, w.t())
    return torch.einsum(f"{expert}{rest}{o}->{out}", y)


PRODUCTS: dict[str, Callable[..., Any]] = {
    "aten::mm": mm,
    "aten::mv": mv,
    "aten::bmm": bmm,
    "aten::addmm": _added(mm),
    "aten::addmv": _added(mv),
    "aten::baddbmm": _added(bmm),
    "aten::_grouped_mm": grouped,
    "transformers::grouped_mm_fallback": grouped,
}


# Views. Each returns NotImplemented where the result is no whole matrix.


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
