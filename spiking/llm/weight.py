"""A parameter whose products spike: y = x W^T becomes y = V_th W s, whoever computes it and from wherever.

A hook or an exchanged module sees only calls of that module. Fused code reads `module.weight` and multiplies by itself:
SpikingBrain's released down-projection is never spiked for that reason. Here the weight is the thing that knows: a
tensor subclass that PyTorch asks at every operator (`__torch_dispatch__`), below autograd, so that linear, matmul, `@`,
einsum and autograd functions all end here as mm, addmm, bmm... products.py computes those. Views (transposes, one of
several experts, an expanded batch) stay spike weights. What is no product sees the decoded weight.

Backward, rounding passes the gradient straight through: the products of a backward pass use the decoded weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from spiking.kernels.spike_linear import PackedWeight, encode, pack, spike_linear
from spiking.llm.config import SpikeConfig

CLIP = 127
class FusedError(RuntimeError):
    """A fused kernel reads a spike weight by itself, past the spikes."""

    def __init__(self, name: str, kernel: str) -> None:
        super().__init__(f"{kernel} reads {name} by itself: leave it out by name, {{{name!r}: None}}")


Watcher = Callable[["Matrices", str, "Tensor | None"], None]
_watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("spiking_llm_watchers", default=())


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Call `watcher(matrices, operator, x)` at every product of a spike weight inside the block.

    Arguments:
        watcher: gets the weight's matrices, the operator's name, and x (..., in) before its encoding; x is None where
            an operator could only be given the decoded weight.
    """
    token = _watchers.set((*_watchers.get(), watcher))
    try:
        yield
    finally:
        _watchers.reset(token)


def tell(matrices: Matrices, operator: str, x: Tensor | None) -> None:
    """Tell the watchers of a product."""
    for watcher in _watchers.get():
        watcher(matrices, operator, x)


@dataclass(frozen=True, eq=False)
class Matrices:
    """The content of a spike weight: one matrix (out, in) or one for each expert, in whole numbers or as it was.

    Arguments:
        name: of the parameter.
        config: how inputs are encoded.
        shape: (out, in), or (experts, out, in).
        codes, scales: of the packed weight, flat, or (experts, flat); None for a float weight.
        floats: the float weight, of that shape.
    """

    name: str
    config: SpikeConfig
    shape: tuple[int, ...]
    codes: Tensor | None = None
    scales: Tensor | None = None
    floats: Tensor | None = None
    _packed: dict[int, PackedWeight] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, name: str, config: SpikeConfig, weight: Tensor) -> Matrices:
        """Pack a float weight (out, in) or (experts, out, in), or keep it.

        Raises:
            ValueError: if the weight has numbers that are not finite; it names the parameter.
        """
        if not weight.isfinite().all():
            raise ValueError(f"{name}: expected finite weights, got {int((~weight.isfinite()).sum())} that are not")
        for channel, _ in config.outliers:
            if channel >= weight.shape[-1]:
                raise ValueError(f"{name}: outliers: expected channels 0 to {weight.shape[-1] - 1}, got {channel}")
        if config.weights is None:
            return cls(name, config, tuple(weight.shape), floats=weight.detach())
        flat = scaled(weight.detach(), config, 1).reshape(-1, *weight.shape[-2:])
        each = [pack(one, config.group) for one in flat]
        codes, scales = torch.stack([one.codes for one in each]), torch.stack([one.scales for one in each])
        if weight.ndim == 2:
            codes, scales = codes[0], scales[0]
        return cls(name, config, tuple(weight.shape), codes, scales)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(part.nbytes for part in self.parts if part is not None)

    @property
    def parts(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Codes, scales, floats."""
        return self.codes, self.scales, self.floats

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return next(part.device for part in self.parts if part is not None)

    def packed(self, expert: int = 0) -> PackedWeight:
        """One packed matrix."""
        if expert not in self._packed:
            assert self.codes is not None and self.scales is not None
            codes = self.codes.view(-1, self.codes.shape[-1])[expert]
            scales = self.scales.view(-1, self.scales.shape[-1])[expert]
            self._packed[expert] = PackedWeight(codes, scales, (self.shape[-2], self.shape[-1]), self.config.group)
        return self._packed[expert]

    def decoded(self, expert: int = 0) -> Tensor:
        """One matrix (out, in) in float, as products see it."""
        if self.floats is not None:
            return self.floats[expert] if self.floats.ndim == 3 else self.floats
        return scaled(self.packed(expert).unpack(), self.config, -1)

    def product(self, x: Tensor, expert: int = 0, bias: Tensor | None = None) -> Tensor:
        """(..., out): each token's spikes times one matrix, in the dtype of x."""
        config = self.config
        x = scaled(x, config, -1)
        if self.floats is None:
            return spike_linear(x, self.packed(expert), config.k, bias, config.mode, config.saturation)
        counts, threshold = encode(x, config.k)
        if config.saturation == "clip":
            counts = counts.clamp(-CLIP, CLIP)
        spikes = scaled((counts * threshold).to(x.dtype), config, 1)
        return torch.nn.functional.linear(spikes, self.decoded(expert).to(x.dtype), bias)

    def apply(self, change: Callable[[Tensor], Tensor]) -> Matrices:
        """The same with every tensor changed, for moves and copies."""
        codes, scales, floats = (None if part is None else change(part) for part in self.parts)
        return replace(self, codes=codes, scales=scales, floats=floats)


def scaled(x: Tensor, config: SpikeConfig, power: int) -> Tensor:
    """(..., in) with the outlier channels of a weight times their factors (1), or divided by them (-1)."""
    if not config.outliers:
        return x
    factor = x.new_ones(x.shape[-1])
    channels, factors = zip(*config.outliers, strict=True)
    factor[list(channels)] = x.new_tensor(factors) ** power
    return x * factor


class SpikeWeight(torch.Tensor):
    """A tensor that stands for (..., out, in) numbers, or (..., in, out) when swapped, and spikes in products.

    Arguments:
        matrices: its content.
        batch: the expert at each position of the leading dimension; None for a plain matrix.
        swapped: the last two dimensions are (in, out).
        dtype: the type it shows.
        expert: which matrix a plain one is.
    """

    matrices: Matrices
    batch: tuple[int, ...] | None
    swapped: bool
    expert: int

    @staticmethod
    def __new__(
        cls, matrices: Matrices, batch: tuple[int, ...] | None, swapped: bool, dtype: torch.dtype, expert: int = 0
    ) -> SpikeWeight:
        out, inputs = matrices.shape[-2:]
        last = (inputs, out) if swapped else (out, inputs)
        shape = last if batch is None else (len(batch), *last)
        with torch.inference_mode(False):  # a view of a parameter is no inference tensor, wherever it is made
            made = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=matrices.device)
        made.matrices, made.batch, made.swapped, made.expert = matrices, batch, swapped, expert
        return made

    @classmethod
    def parameter(cls, matrices: Matrices, swapped: bool, dtype: torch.dtype) -> torch.nn.Parameter:
        """The whole weight as a module's parameter."""
        batch = tuple(range(matrices.shape[0])) if len(matrices.shape) == 3 else None
        trains = matrices.floats is not None
        return torch.nn.Parameter(cls(matrices, batch, swapped, dtype), requires_grad=trains)

    @property
    def plain(self) -> bool:
        """Whether this is one packed matrix (out, in)."""
        return not self.swapped and self.batch is None and self.matrices.floats is None

    def with_(self, **changes: Any) -> SpikeWeight:
        """Another view of the same numbers."""
        parts = {"matrices": self.matrices, "batch": self.batch, "swapped": self.swapped, "dtype": self.dtype}
        return SpikeWeight(**{**parts, "expert": self.expert, **changes})

    def decode(self) -> Tensor:
        """A plain tensor of the same shape; for a float weight kept whole, a view of it."""
        m = self.matrices
        if m.floats is not None and self.batch == (None if len(m.shape) == 2 else tuple(range(m.shape[0]))):
            plain = m.floats
        elif self.batch is None:
            plain = m.decoded(self.expert)
        else:
            plain = torch.stack([m.decoded(expert) for expert in self.batch])
        plain = plain.transpose(-1, -2) if self.swapped else plain
        return plain if plain.dtype == self.dtype else plain.to(self.dtype)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        kind = self.matrices.config.weights or "float"
        return f"SpikeWeight({self.matrices.name}, {tuple(self.shape)}, {kind}, k={self.matrices.config.k})"

    def __tensor_flatten__(self) -> tuple[list[str], Any]:
        m = self.matrices
        names = [name for name in ("codes", "scales", "floats") if getattr(m, name) is not None]
        return names, (m.name, m.config, m.shape, self.batch, self.swapped, self.dtype, self.expert)

    @property
    def codes(self) -> Tensor | None:
        """The packed weight's codes."""
        return self.matrices.codes

    @property
    def scales(self) -> Tensor | None:
        """The packed weight's scales."""
        return self.matrices.scales

    @property
    def floats(self) -> Tensor | None:
        """The float weight, where it is kept."""
        return self.matrices.floats

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, Tensor], meta: Any, size: Any, stride: Any) -> SpikeWeight:
        name, config, shape, *view = meta
        matrices = Matrices(name, config, shape, parts.get("codes"), parts.get("scales"), parts.get("floats"))
        return SpikeWeight(matrices, *view)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """A short way for linear with packed weights, and einsum; the rest goes down to `__torch_dispatch__`."""
        kwargs = kwargs or {}
        seen = torch._C._len_torch_dispatch_stack()  # someone follows every operator, as coverage does: no short ways
        if func is torch.nn.functional.linear and len(args) > 1 and not kwargs and not seen:
            x, weight, bias = (*args, None)[:3]
            both = isinstance(weight, SpikeWeight) and not isinstance(x, SpikeWeight)
            if both and weight.plain and x.dtype == weight.dtype:
                tell(weight.matrices, "linear", x)
                return weight.matrices.product(x, weight.expert, bias)
        if func is torch.Tensor.data_ptr:
            raise FusedError(args[0].matrices.name, "a kernel outside PyTorch's operators")
        if func is torch.einsum and args and isinstance(args[0], str):
            from spiking.llm.products import einsum

            operands = args[1] if isinstance(args[1], (list, tuple)) else args[1:]
            if (result := einsum(args[0], *operands)) is not NotImplemented:
                return result
        with torch._C.DisableTorchFunctionSubclass():  # results are plain tensors, or SpikeWeights already
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        from spiking.llm.products import dispatch  # it makes SpikeWeights, hence no import above

        return dispatch(func, args, kwargs or {})
