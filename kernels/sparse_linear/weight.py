"""SparseWeight: synapses as compressed sparse rows, the form in which a spike reads its fan-out.

Row n lists the targets of input n, `index[indptr[n] : indptr[n + 1]]`, in rising order and each once, with the strength
of each synapse in `values` at the same places. A pair of neurons has one synapse or none: multapses are refused.

Why not a `torch.sparse_csr` tensor, whose layout this is: as of torch 2.13 no optimiser takes one as a parameter (Adam
stops at "unsupported tensor layout: SparseCsr"), torch.compile(fullgraph=True) refuses it, and it checks no index
unless asked. Here `values` is an ordinary tensor (nnz,), which trains, compiles and saves as any other does.
`from_csr` takes such a tensor, and its values keep their gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spiking.kernels import finite


class SparseWeight:
    """A weight matrix (in, out) of which only some synapses exist.

    Arguments:
        indptr: (in + 1,) where each input's synapses begin and end.
        index: (nnz,) the target of each synapse, rising within a row.
        values: (nnz,) floating, the strength of each synapse; what takes the gradient.
        shape: (in, out).
        check: verify all of it, which costs a pass over the arrays.

    Raises:
        TypeError: naming the argument that is not a tensor.
        ValueError: naming the argument whose shape, type, device or content does not fit.
    """

    __slots__ = ("index", "indptr", "shape", "values")

    def __init__(
        self, indptr: Tensor, index: Tensor, values: Tensor, shape: tuple[int, int], check: bool = True
    ) -> None:
        if check:
            check_structure(indptr, index, shape)
            _check_values(values, index)
        self.indptr = indptr if indptr.dtype == torch.int64 else indptr.to(torch.int64)
        self.index = index if index.dtype == torch.int32 else index.to(torch.int32)
        self.values = values
        self.shape = (int(shape[0]), int(shape[1]))

    @classmethod
    def from_dense(cls, matrix: Tensor) -> SparseWeight:
        """The synapses of a dense (in, out) whose strength is not 0; gradients reach the matrix at those places."""
        if not isinstance(matrix, Tensor) or matrix.ndim != 2:
            got = tuple(matrix.shape) if isinstance(matrix, Tensor) else type(matrix).__name__
            raise ValueError(f"matrix: expected (in, out), got {got}")
        row, index = matrix.detach().nonzero(as_tuple=True)
        indptr = torch.zeros(matrix.shape[0] + 1, dtype=torch.int64, device=matrix.device)
        indptr[1:] = torch.bincount(row, minlength=matrix.shape[0]).cumsum(0)
        return cls(indptr, index, matrix[row, index], (matrix.shape[0], matrix.shape[1]))

    @classmethod
    def from_csr(cls, matrix: Tensor) -> SparseWeight:
        """The synapses of a `torch.sparse_csr` tensor (in, out), checked; gradients reach its values."""
        if not isinstance(matrix, Tensor) or matrix.layout != torch.sparse_csr or matrix.ndim != 2:
            got = matrix.layout if isinstance(matrix, Tensor) else type(matrix).__name__
            raise ValueError(f"matrix: expected (in, out) in the layout torch.sparse_csr, got {got}")
        shape = (matrix.shape[0], matrix.shape[1])
        return cls(matrix.crow_indices(), matrix.col_indices(), matrix.values(), shape)

    def to_dense(self) -> Tensor:
        """The (in, out) matrix, 0 where there is no synapse; differentiable in the values."""
        cell = self.rows() * self.shape[1] + self.index
        out = self.values.new_zeros(self.shape[0] * self.shape[1])
        return out.index_put((cell,), self.values).view(self.shape)

    def rows(self) -> Tensor:
        """(nnz,) int64, the input of each synapse."""
        inputs = torch.arange(self.shape[0], device=self.device)
        return inputs.repeat_interleave(self.indptr.diff(), output_size=self.nnz)

    def with_values(self, values: Tensor) -> SparseWeight:
        """The same connections with other strengths (nnz,)."""
        return SparseWeight(self.indptr, self.index, values, self.shape, check=False)

    def to(self, *args: object) -> SparseWeight:
        """On another device, or with values of another dtype, as `Tensor.to`."""
        values: Tensor = self.values.to(*args)  # type: ignore[call-overload]
        index, indptr = self.index.to(values.device), self.indptr.to(values.device)
        return SparseWeight(indptr, index, values, self.shape, check=False)

    @property
    def nnz(self) -> int:
        """Number of synapses."""
        return self.index.numel()

    @property
    def ndim(self) -> int:
        return 2

    @property
    def dtype(self) -> torch.dtype:
        return self.values.dtype

    @property
    def device(self) -> torch.device:
        return self.values.device

    def __repr__(self) -> str:
        return f"SparseWeight({self.shape[0]}, {self.shape[1]}, nnz={self.nnz}, {self.dtype}, {self.device})"


def check_layout(name: str, weight: Tensor | SparseWeight | None) -> None:
    """Refuse the sparse layouts of torch, which no kernel reads.

    Raises:
        ValueError: naming the argument.
    """
    if isinstance(weight, Tensor) and weight.layout != torch.strided:
        raise ValueError(f"{name}: expected a dense tensor or a SparseWeight (see from_csr), got {weight.layout}")


def watched_weight(name: str, weight: Any) -> Any:
    """A weight, dense or sparse or none, looked at for what is not finite, as its gradient will be."""
    if isinstance(weight, SparseWeight):
        finite.demand(name, weight.values, "synapse")
        return weight.with_values(finite.watched(name, weight.values, "synapse"))
    finite.demand(name, weight, *finite.WEIGHTS)
    return finite.watched(name, weight, *finite.WEIGHTS)


def check_structure(indptr: Tensor, index: Tensor, shape: tuple[int, int], prefix: str = "") -> None:
    """Refuse connections through which a kernel would read what is not there.

    Arguments:
        indptr, index, shape: as `SparseWeight` takes them.
        prefix: what stands before the names of the arrays in errors.

    Raises:
        TypeError, ValueError: naming the argument.
    """
    if len(shape) != 2 or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(f"shape: expected (in, out), got {shape!r}")
    inputs, N = shape
    for name, x in (("indptr", indptr), ("index", index)):
        if not isinstance(x, Tensor):
            raise TypeError(f"{prefix}{name}: expected a tensor, got {type(x).__name__}")
        if x.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"{prefix}{name}: expected whole numbers, int32 or int64, got {x.dtype}")
    if N > torch.iinfo(torch.int32).max:
        raise ValueError(f"shape: expected targets that fit int32, got {N}")
    if indptr.shape != (inputs + 1,):
        raise ValueError(f"{prefix}indptr: expected ({inputs + 1},) for in={inputs}, got {tuple(indptr.shape)}")
    if index.ndim != 1:
        raise ValueError(f"{prefix}index: expected one dimension, got {tuple(index.shape)}")
    if index.device != indptr.device:
        raise ValueError(f"{prefix}index: expected it on {indptr.device}, as indptr is, got {index.device}")
    nnz = index.numel()
    if int(indptr[0]) != 0 or int(indptr[-1]) != nnz or bool((indptr.diff() < 0).any()):
        raise ValueError(f"{prefix}indptr: expected a rising sequence from 0 to {nnz} synapses")
    if not nnz:
        return
    if int(index.min()) < 0 or int(index.max()) >= N:
        raise ValueError(
            f"{prefix}index: expected targets 0 to {N - 1}, got {int(index.min())} to {int(index.max())}"
        )
    falls = index.diff() <= 0
    starts = indptr[1:-1]
    falls[starts[(starts > 0) & (starts < nnz)] - 1] = False  # from one row to the next
    if bool(falls.any()):
        place = int(falls.nonzero()[0])
        row = int(torch.searchsorted(indptr, place, right=True)) - 1
        raise ValueError(
            f"{prefix}index: expected rising targets in each row, one synapse for each pair, got {int(index[place])} "
            f"before {int(index[place + 1])} in row {row}"
        )


def _check_values(values: Tensor, index: Tensor) -> None:
    if not isinstance(values, Tensor):
        raise TypeError(f"values: expected a tensor, got {type(values).__name__}")
    if not values.dtype.is_floating_point:
        raise ValueError(f"values: expected floating numbers, got {values.dtype}")
    if values.shape != index.shape:
        raise ValueError(f"values: expected {tuple(index.shape)}, one per synapse, got {tuple(values.shape)}")
    if values.device != index.device:
        raise ValueError(f"values: expected them on {index.device}, as index is, got {values.device}")
    if not bool(values.detach().isfinite().all()):
        raise ValueError("values: expected finite numbers, got NaN or infinity")
