"""What operators do with a spike weight: products spike, views stay (views.py), the rest sees decoded numbers.

A product can spike where it sums over the weight's inputs: x W^T with the weight to the right, W x^T to the left. A sum
over its outputs (the weight used backwards) can't: scales and thresholds belong to inputs. Neither can a part of a
matrix. They are computed with the decoded weight, with a warning, and `coverage` lists them as missed; in a backward
pass that is what is wanted.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from spiking.llm.views import VIEWS
from spiking.llm.weight import FusedError, SpikeWeight, tell

aten = torch.ops.aten
OURS = ("aten", "prim", "prims", "profiler")
MULTIPLIES = re.compile(
    r"(^|_)(mm|bmm|mv|addmm|addmv|addbmm|baddbmm|dot|vdot|matmul|linear|convolution|conv[123]d|bilinear|lstm|gru|rnn|"
    r"attention|einsum|tensordot|cdist)(_|$)"
)  # names of operators that sum products


class UnspikedWarning(UserWarning):
    """A product uses a spike weight in a way that can't spike."""


def dispatch(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run one operator that was given a spike weight.

    Raises:
        FusedError: for an operator of another library, which would read the numbers past the spikes.
        RuntimeError: if it changes an int8 weight in place.
    """
    packet = func.overloadpacket
    known = VIEWS.get(packet) or PRODUCTS.get(func._schema.name)
    multiplies = known in PRODUCTS.values() or MULTIPLIES.search(packet.__name__) is not None
    backward = torch._C._current_graph_task_id() != -1
    if known and not (multiplies and backward):
        words = {name: value for name, value in kwargs.items() if name != "out"}
        if (result := known(*args, **words)) is not NotImplemented:
            return kwargs["out"].resize_(result.shape).copy_(result) if "out" in kwargs else result
    if func.namespace not in OURS and not known:
        raise FusedError(", ".join(weight.matrices.name for weight in _weights((args, kwargs))), func.name())
    if not known and (result := func.decompose(*args, **kwargs)) is not NotImplemented:
        return result
    if not backward and (multiplies or func.is_view or packet is aten._unsafe_view):
        _warn(packet.__name__, args, multiplies)
    return _plain(func, args, kwargs)


def _warn(operator: str, args: tuple[Any, ...], multiplies: bool) -> None:
    """Say that from here on a weight's numbers are plain ones."""
    for weight in _weights(args):
        name = weight.matrices.name
        how = f"does not sum over the inputs of {name}" if multiplies else f"takes {name} apart"
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


def mm(a: Any, b: Any, out_dtype: torch.dtype | None = None) -> Any:
    """(M, in) times (in, out), or (out, in) times (in, M)."""
    if isinstance(b, SpikeWeight):
        return _matrix(b, a, "mm", out_dtype) if b.swapped and not isinstance(a, SpikeWeight) else NotImplemented
    return _matrix(a, b.t(), "mm", out_dtype).t() if not a.swapped else NotImplemented


def mv(a: Any, b: Any) -> Any:
    """(out, in) times (in,)."""
    if isinstance(a, SpikeWeight) and not isinstance(b, SpikeWeight) and not a.swapped:
        return _matrix(a, b[None], "mv")[0]
    return NotImplemented


def bmm(a: Any, b: Any, out_dtype: torch.dtype | None = None) -> Any:
    """(B, M, in) times (B, in, out), or (B, out, in) times (B, in, M)."""
    if isinstance(b, SpikeWeight):
        return _batch(b, a, out_dtype) if b.swapped and not isinstance(a, SpikeWeight) else NotImplemented
    return _batch(a, b.transpose(1, 2), out_dtype).transpose(1, 2) if not a.swapped else NotImplemented


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
    y = x.new_zeros(len(x), weight.shape[-1], dtype=out_dtype)
    start = 0
    for expert, end in zip(weight.batch, offs.tolist(), strict=True):
        if end > start:
            tell(weight.matrices, "grouped_mm", x[start:end])
            y[start:end] = weight.matrices.product(x[start:end], expert).to(y.dtype)
        start = max(start, end)
    return y


def _matrix(weight: SpikeWeight, x: Tensor, operator: str, dtype: torch.dtype | None = None) -> Tensor:
    tell(weight.matrices, operator, x)
    return weight.matrices.product(x, weight.expert).to(dtype or x.dtype)


def _batch(weight: SpikeWeight, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """(B, M, out) from (B, M, in): positions with the same expert together."""
    assert weight.batch is not None
    tell(weight.matrices, "bmm", x)
    positions: dict[int, list[int]] = {}
    for position, expert in enumerate(weight.batch):
        positions.setdefault(expert, []).append(position)
    y = x.new_empty(*x.shape[:2], weight.matrices.shape[-2], dtype=dtype)
    for expert, where in positions.items():
        y[where] = weight.matrices.product(x[where], expert).to(y.dtype)
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
