"""Events: a batch of spike trains as a ragged list, the form in which spikes flow through the house.

The trains of B samples with N channels over T steps are stored time-major, as compressed sparse rows: row t*B + b
lists the channels of sample b that were active in step t, `index[indptr[row] : indptr[row + 1]]`. Storage and work
grow with the number of events, not with T*B*N.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

Sensor = tuple[int, int, int]


class Events:
    """A batch of spike trains, ragged and time-major.

    Arguments:
        indptr: (T*B + 1,) int64, where each row's events begin and end; row t*B + b is step t of sample b.
        index: (nnz,) int32, the channel of each event, 0 <= index < N.
        shape: (T, B, N), steps, samples, channels.
        dt: length of a step in ms.
        value: (nnz,) counts or signs; `None` means every event counts 1.
        lengths: (B,) int64, valid steps of each sample; steps t >= lengths[b] lie outside the recording.
            `None` means T for all.
        sensor: (W, H, P) of a camera whose flat channel is (p*H + y)*W + x.
        check: verify the arrays, which costs one pass over them.

    Raises:
        TypeError: naming the argument that is not a tensor.
        ValueError: naming the argument whose shape, type, device or content does not fit.
    """

    __slots__ = ("dt", "index", "indptr", "lengths", "sensor", "shape", "value")

    def __init__(
        self,
        indptr: Tensor,
        index: Tensor,
        shape: tuple[int, int, int],
        dt: float,
        value: Tensor | None = None,
        lengths: Tensor | None = None,
        sensor: Sensor | None = None,
        check: bool = True,
    ) -> None:
        if check:
            _check_types(indptr, index, shape, dt, value, lengths, sensor)
        T, B, N = (int(n) for n in shape)
        self.indptr = indptr.to(torch.int64).contiguous()  # all arrays: kernels on GPUs see no strides
        self.index = index if index.dtype == torch.int32 else index.to(torch.int64)
        self.value = None if value is None else value.contiguous()
        self.shape = (T, B, N)
        self.dt = float(dt)
        self.lengths = (
            torch.full((B,), T, dtype=torch.int64, device=indptr.device) if lengths is None else lengths.to(torch.int64)
        ).contiguous()
        self.sensor = None if sensor is None else (int(sensor[0]), int(sensor[1]), int(sensor[2]))
        if check:
            self._check()
        self.index = self.index.to(torch.int32).contiguous()  # after the check, which sees what would not fit

    def _check(self) -> None:
        T, B, N = self.shape
        if self.indptr.shape != (T * B + 1,):
            raise ValueError(f"indptr: expected ({T * B + 1},) for T={T}, B={B}, got {tuple(self.indptr.shape)}")
        if self.index.ndim != 1:
            raise ValueError(f"index: expected one dimension, got {tuple(self.index.shape)}")
        nnz = self.index.numel()
        if int(self.indptr[0]) != 0 or int(self.indptr[-1]) != nnz or bool((self.indptr.diff() < 0).any()):
            raise ValueError(f"indptr: expected a rising sequence from 0 to {nnz} events")
        if nnz and (int(self.index.min()) < 0 or int(self.index.max()) >= N):
            raise ValueError(
                f"index: expected channels 0 to {N - 1}, got {int(self.index.min())} to {int(self.index.max())}"
            )
        if self.value is not None and self.value.shape != (nnz,):
            raise ValueError(f"value: expected ({nnz},), one per event, got {tuple(self.value.shape)}")
        if self.value is not None and not bool(self.value.isfinite().all()):
            raise ValueError("value: expected finite numbers, got NaN or infinity")
        _check_lengths(self.lengths, T, B)
        if self.sensor is not None and self.sensor[0] * self.sensor[1] * self.sensor[2] != N:
            raise ValueError(f"sensor: (W, H, P) = {self.sensor} does not make N = {N} channels")
        late = self._steps() >= self.lengths[None, :]
        if bool((self.indptr.diff().view(T, B)[late] > 0).any()):
            raise ValueError("lengths: there are events after the end of a recording")

    def _steps(self) -> Tensor:
        return torch.arange(self.shape[0], device=self.indptr.device)[:, None]

    @classmethod
    def from_dense(
        cls, x: Tensor, dt: float, lengths: Tensor | None = None, sensor: Sensor | None = None
    ) -> Events:
        """The events of a dense tensor.

        Arguments:
            x: (T, B, N); bool, or numbers whose non-zero entries are counts or signs.
            dt: length of a step in ms.
            lengths: (B,) valid steps; entries of `x` beyond them are left out.
            sensor: (W, H, P), optional.

        Returns:
            Events without `value` when every non-zero entry is 1.

        Raises:
            TypeError, ValueError: as the class does.
        """
        _check_array("x", x, whole=False)
        if x.ndim != 3:
            raise ValueError(f"x: expected (T, B, N), got {tuple(x.shape)}")
        T, B, N = x.shape
        x = x.detach()
        if lengths is not None:
            _check_array("lengths", lengths)
            _check_lengths(lengths, T, B)
            lengths = lengths.to(x.device, torch.int64)
            valid = torch.arange(T, device=x.device)[:, None] < lengths[None, :]
            x = x * valid[:, :, None].to(x.dtype)
        flat = x.reshape(T * B, N)
        row, index = flat.nonzero(as_tuple=True)
        indptr = torch.zeros(T * B + 1, dtype=torch.int64, device=x.device)
        indptr[1:] = torch.bincount(row, minlength=T * B).cumsum(0)
        value = None
        if x.dtype != torch.bool:
            value = flat[row, index]
            if not bool(value.isfinite().all()):
                raise ValueError("x: expected finite numbers, got NaN or infinity")
            if bool((value == 1).all()):
                value = None
        return cls(indptr, index, (T, B, N), dt, value, lengths, sensor)

    def rows(self) -> Tensor:
        """(nnz,) int64, the row t*B + b of each event."""
        rows = torch.arange(self.indptr.numel() - 1, device=self.indptr.device)
        return rows.repeat_interleave(self.indptr.diff(), output_size=self.nnz)

    def to_dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The (T, B, N) tensor; events that share a step and a channel add up."""
        T, B, N = self.shape
        value = torch.ones_like(self.index, dtype=dtype) if self.value is None else self.value.to(dtype)
        first = torch.arange(T * B, device=self.device) * N
        cell = first.repeat_interleave(self.indptr.diff(), output_size=self.nnz).add_(self.index)
        return _zeros(T * B * N, dtype, self.device).index_add_(0, cell, value).view(T, B, N)

    @property
    def nnz(self) -> int:
        """Number of events."""
        return self.index.numel()

    @property
    def density(self) -> float:
        """Events per valid step and channel."""
        cells = int(self.lengths.sum()) * self.shape[2]
        return self.nnz / cells if cells else 0.0

    @property
    def device(self) -> torch.device:
        """Where the arrays lie."""
        return self.index.device

    def valid(self) -> Tensor:
        """(T, B) bool, True where a step lies inside its recording."""
        return self._steps() < self.lengths[None, :]

    def counts(self) -> Tensor:
        """(B, N) float32, the sum of each channel's events over the recording."""
        _, B, N = self.shape
        value = torch.ones_like(self.index, dtype=torch.float32) if self.value is None else self.value.float()
        out = torch.zeros(B * N, device=self.device)
        out.index_add_(0, (self.rows() % max(B, 1)) * N + self.index, value)
        return out.view(B, N)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Events:
        """`x[t0:t1]` cuts steps, `x[:, samples]` picks samples (a slice, list, integer or boolean tensor)."""
        steps, samples = key if isinstance(key, tuple) and len(key) == 2 else (key, slice(None))
        if not isinstance(steps, slice) or steps.step not in (None, 1):
            raise TypeError(f"steps: expected a slice with step 1, such as x[10:20], got {steps!r}")
        out = self
        if steps != slice(None):
            out = out._cut(*steps.indices(self.shape[0])[:2])
        if not (isinstance(samples, slice) and samples == slice(None)):
            out = out._pick(samples)
        return out

    def _like(self, indptr: Tensor, index: Tensor, value: Tensor | None, T: int, B: int, lengths: Tensor) -> Events:
        return Events(indptr, index, (T, B, self.shape[2]), self.dt, value, lengths, self.sensor, check=False)

    def _cut(self, start: int, stop: int) -> Events:
        B = self.shape[1]
        stop = max(start, stop)
        first, last = int(self.indptr[start * B]), int(self.indptr[stop * B])
        value = None if self.value is None else self.value[first:last]
        lengths = (self.lengths - start).clamp(0, stop - start)
        indptr = self.indptr[start * B : stop * B + 1] - first
        return self._like(indptr, self.index[first:last], value, stop - start, B, lengths)

    def _pick(self, samples: slice | Sequence[int] | Tensor) -> Events:
        T, B, _ = self.shape
        chosen = torch.arange(B, device=self.device)
        if isinstance(samples, int):
            raise TypeError(f"samples: expected a slice, list or tensor, such as x[:, [{samples}]], got an integer")
        chosen = chosen[samples if isinstance(samples, (slice, Tensor)) else list(samples)]
        rows = (self._steps() * B + chosen[None, :]).reshape(-1)
        count = self.indptr.diff()[rows]
        indptr = torch.zeros(rows.numel() + 1, dtype=torch.int64, device=self.device)
        indptr[1:] = count.cumsum(0)
        shift = (self.indptr[:-1][rows] - indptr[:-1]).repeat_interleave(count)
        where = torch.arange(int(indptr[-1]), device=self.device) + shift
        value = None if self.value is None else self.value[where]
        return self._like(indptr, self.index[where], value, T, chosen.numel(), self.lengths[chosen])

    @staticmethod
    def cat(parts: Sequence[Events], dim: str = "batch") -> Events:
        """Join batches of the same channels and step.

        Arguments:
            parts: what to join, in order.
            dim: "batch" (shorter parts are padded with steps outside the recording) or "time" (the inverse of
                slicing: a sample may go on in a later part only if its earlier parts are full).

        Raises:
            ValueError: if there is nothing to join, if dt, channels, sensor or (in time) samples differ, or a
                sample would go on after its end.
        """
        if not parts:
            raise ValueError("parts: expected at least one Events, got none")
        if dim not in ("batch", "time"):
            raise ValueError(f"dim: expected 'batch' or 'time', got {dim!r}")
        head = parts[0]
        for k, part in enumerate(parts):
            if part.dt != head.dt:
                raise ValueError(f"dt: part 0 has {head.dt} ms, part {k} has {part.dt} ms")
            if part.shape[2] != head.shape[2] or part.sensor != head.sensor:
                raise ValueError(
                    f"parts: part 0 has N={head.shape[2]}, sensor={head.sensor}; "
                    f"part {k} has N={part.shape[2]}, sensor={part.sensor}"
                )
            if dim == "time" and part.shape[1] != head.shape[1]:
                raise ValueError(f"parts: part 0 has B={head.shape[1]} samples, part {k} has {part.shape[1]}")
        index = torch.cat([part.index for part in parts])
        value = None
        if any(part.value is not None for part in parts):
            value = torch.cat([torch.ones(p.nnz, device=p.device) if p.value is None else p.value for p in parts])
        if dim == "time":
            return _cat_time(parts, index, value)
        return _cat_batch(parts, index, value)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Events:
        """The same events on another device."""
        return self._map(lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Events:
        """The same events in page-locked memory, which copies to a GPU without waiting."""
        return self._map(Tensor.pin_memory)

    def _map(self, move: Any) -> Events:
        value = None if self.value is None else move(self.value)
        T, B, _ = self.shape
        return self._like(move(self.indptr), move(self.index), value, T, B, move(self.lengths))

    def __repr__(self) -> str:
        T, B, N = self.shape
        sensor = "" if self.sensor is None else f", sensor={self.sensor}"
        return f"Events(T={T}, B={B}, N={N}, dt={self.dt:g} ms, {self.nnz} events, density={self.density:.4f}{sensor})"


def _zeros(cells: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(cells,) zeros, from NumPy, which asks for huge pages: touching torch's small ones takes longest of all."""
    if device.type != "cpu" or not cells:
        return torch.zeros(cells, dtype=dtype, device=device)
    return torch.from_numpy(np.zeros(cells * dtype.itemsize, np.uint8)).view(dtype)


def _check_types(
    indptr: Tensor, index: Tensor, shape: Any, dt: Any, value: Tensor | None, lengths: Tensor | None, sensor: Any
) -> None:
    for name, numbers, wanted in (("shape", shape, "(T, B, N)"), ("sensor", sensor, "(W, H, P)")):
        if name == "sensor" and numbers is None:
            continue
        if not (isinstance(numbers, (tuple, list)) and len(numbers) == 3 and all(_is_size(n) for n in numbers)):
            raise ValueError(f"{name}: expected {wanted}, whole numbers without negative sizes, got {numbers!r}")
    for count, what in ((shape[1], "samples"), (shape[2], "channels")):
        if count >= 2**31:
            raise ValueError(f"shape: expected fewer than 2**31 {what}, got {count}")
    if isinstance(dt, bool) or not isinstance(dt, Real) or not 0 < float(dt) < math.inf:
        raise ValueError(f"dt: expected a step above 0 ms, got {dt!r}")
    _check_array("indptr", indptr)
    _check_array("index", index, indptr.device)
    if value is not None:
        _check_array("value", value, indptr.device, whole=False)
    if lengths is not None:
        _check_array("lengths", lengths, indptr.device)


def _is_size(number: Any) -> bool:
    return isinstance(number, Real) and float(number).is_integer() and float(number) >= 0


def _check_array(name: str, x: Tensor, device: torch.device | None = None, whole: bool = True) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(x).__name__}")
    if x.is_complex() or (whole and (x.is_floating_point() or x.dtype == torch.bool)):
        raise ValueError(f"{name}: expected {'integers' if whole else 'real numbers'}, got {x.dtype}")
    if device is not None and x.device != device:
        raise ValueError(f"{name}: expected a tensor on {device}, where indptr lies, got {x.device}")


def _check_lengths(lengths: Tensor, T: int, B: int) -> None:
    if lengths.shape != (B,):
        raise ValueError(f"lengths: expected ({B},), got {tuple(lengths.shape)}")
    if B and (int(lengths.min()) < 0 or int(lengths.max()) > T):
        raise ValueError(f"lengths: expected 0 to {T} steps, got {lengths.tolist()}")


def _cat_time(parts: Sequence[Events], index: Tensor, value: Tensor | None) -> Events:
    head = parts[0]
    lengths = torch.zeros_like(head.lengths)
    steps, pointers, events = 0, [head.indptr[:1]], 0
    for k, part in enumerate(parts):
        if bool(((part.lengths > 0) & (lengths < steps)).any()):
            raise ValueError(f"parts: a sample that ended before part {k} goes on in it")
        lengths = lengths + part.lengths
        pointers.append(part.indptr[1:] + events)
        steps, events = steps + part.shape[0], events + part.nnz
    return head._like(torch.cat(pointers), index, value, steps, head.shape[1], lengths)


def _cat_batch(parts: Sequence[Events], index: Tensor, value: Tensor | None) -> Events:
    head = parts[0]
    T = max(part.shape[0] for part in parts)
    counts = [
        torch.nn.functional.pad(part.indptr.diff().view(*part.shape[:2]), (0, 0, 0, T - part.shape[0]))
        for part in parts
    ]
    lengths = torch.cat([part.lengths for part in parts])
    count = torch.cat(counts, dim=1)
    indptr = torch.zeros(count.numel() + 1, dtype=torch.int64, device=head.device)
    indptr[1:] = count.reshape(-1).cumsum(0)
    B = count.shape[1]
    offset = 0
    where = []
    for part in parts:
        rows = part.rows()
        t, b = rows // max(part.shape[1], 1), rows % max(part.shape[1], 1) + offset
        within = torch.arange(part.nnz, device=head.device) - part.indptr[rows]
        where.append(indptr[t * B + b] + within)
        offset += part.shape[1]
    target = torch.cat(where)
    placed = torch.empty_like(index).index_copy_(0, target, index)
    if value is not None:
        value = torch.empty_like(value).index_copy_(0, target, value)
    return head._like(indptr, placed, value, T, B, lengths)
