"""A weight in int8 with one scale for each output and group of inputs, in the layout that the kernels read.

    scale[o, g] = max |W[o, i]| over the inputs i of group g / (2^(bits - 1) - 1)
    code[o, i]  = round(W[o, i] / scale[o, g])

Outputs are cut into blocks of WIDTH, the last one narrower (a multiple of 16). A block holds one row of codes for each
input, contiguous, so that a silent input skips its whole row, and any four rows can be multiplied at once. Codes are
stored with 128 added: the dot products of CPUs take one operand without a sign. Scales lie in the same blocks, one row
for each group. PackedWeight's tensors are flat and plain, so that any file format can hold them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

WIDTH = 256
GRAIN = 16  # outputs by which the last block is rounded up
SPARE = 64  # bytes that vector loads may read behind the last row
OFFSET = 128
QUAD = 4  # rows multiplied at once; their number is rounded up to it


def to_blocks(rows: Tensor) -> Tensor:
    """(rows, out) as blocks of outputs one after the other, flat; rounded up with zeros."""
    padded = torch.nn.functional.pad(rows, (0, -rows.shape[1] % GRAIN))
    return torch.cat([block.reshape(-1) for block in padded.split(WIDTH, 1)])


def from_blocks(flat: Tensor, rows: int, out: int) -> Tensor:
    """(rows, out) from the blocks: the inverse of `to_blocks`."""
    wide = out + -out % GRAIN
    blocks = flat[: rows * wide].split(rows * WIDTH)
    return torch.cat([block.view(rows, -1) for block in blocks], 1)[:, :out]


@dataclass(frozen=True)
class PackedWeight:
    """A weight of whole numbers and scales, as `pack` makes it; put together anew from saved tensors by its fields.

    Arguments:
        codes: uint8, the codes + 128 in blocks, flat.
        scales: float32, the scales in blocks, flat.
        shape: (out, in).
        group: inputs that share a scale.

    Raises:
        ValueError: if the tensors have not the size or the type that the shape and the group need.
    """

    codes: Tensor
    scales: Tensor
    shape: tuple[int, int]
    group: int

    def __post_init__(self) -> None:
        wide = self.shape[0] + -self.shape[0] % GRAIN
        rows = self.shape[1] + -self.shape[1] % QUAD
        for name, found, size, dtype in (
            ("codes", self.codes, rows * wide + SPARE, torch.uint8),
            ("scales", self.scales, self.groups * wide, torch.float32),
        ):
            if found.shape != (size,) or found.dtype != dtype:
                raise ValueError(
                    f"{name}: expected ({size},) {dtype} for a weight {tuple(self.shape)} in groups of {self.group}, "
                    f"got {tuple(found.shape)} {found.dtype}"
                )

    @property
    def groups(self) -> int:
        """The number of groups of inputs; the last one may be smaller."""
        return -(-self.shape[1] // self.group)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self.codes.nbytes + self.scales.nbytes

    @property
    def device(self) -> torch.device:
        """Where the codes are."""
        return self.codes.device

    def to(self, device: torch.device | str) -> PackedWeight:
        """The same weight on a device; on a CPU in huge pages, which are read a fifth faster than small ones."""
        codes, scales = self.codes.to(device), self.scales.to(device)
        if codes.device.type == "cpu":
            from spiking.kernels.jit import room

            codes = room(codes, codes.numel()).copy_(codes)
        return replace(self, codes=codes, scales=scales)

    def integers(self) -> Tensor:
        """The codes as int8, (out, in)."""
        out, inputs = self.shape
        rows = from_blocks(self.codes, inputs + -inputs % QUAD, out)[:inputs]
        return (rows.to(torch.int16) - OFFSET).to(torch.int8).t().contiguous()

    def scale(self) -> Tensor:
        """The scales, (out, groups)."""
        return from_blocks(self.scales, self.groups, self.shape[0]).t().contiguous()

    def unpack(self) -> Tensor:
        """The weight that the codes stand for: float32 (out, in)."""
        scale = self.scale().repeat_interleave(self.group, 1)[:, : self.shape[1]]
        return self.integers() * scale


def pack(weight: Tensor, group: int = 128, bits: int = 8) -> PackedWeight:
    """A weight rounded to whole numbers, symmetrically, with one scale for each output and group of inputs.

    Arguments:
        weight: (out, in), floating.
        group: inputs that share a scale, a multiple of 4; a last group of fewer inputs has a scale as well.
        bits: 2 to 8, the codes' range: 8 is -127 to 127.

    Raises:
        ValueError: if an argument is out of its range, or the weight holds numbers that are not finite.
    """
    if weight.ndim != 2 or not weight.numel() or not weight.dtype.is_floating_point:
        raise ValueError(f"weight: expected floating (out, in), got {weight.dtype} {tuple(weight.shape)}")
    if group < QUAD or group % QUAD:
        raise ValueError(f"group: expected a multiple of {QUAD}, got {group}")
    if not 2 <= bits <= 8:
        raise ValueError(f"bits: expected 2 to 8, got {bits}")
    w = weight.detach().to(torch.float32)
    bad = (~w.isfinite()).any(1)
    if bad.any():
        raise ValueError(
            f"weight: expected finite numbers, got others in {int(bad.sum())} of {len(w)} outputs, "
            f"first in output {int(bad.to(torch.uint8).argmax())}"
        )
    out, inputs = w.shape
    most = 2 ** (bits - 1) - 1
    parts = torch.nn.functional.pad(w, (0, -inputs % group)).view(out, -1, group)
    scale = parts.abs().amax(2) / most
    codes = (parts / scale.clamp_min(torch.finfo(torch.float32).tiny)[..., None]).round().clamp(-most, most)
    codes = codes.view(out, -1)[:, : inputs + -inputs % QUAD]
    codes = torch.nn.functional.pad(codes, (0, inputs + -inputs % QUAD - codes.shape[1]))
    blocks = torch.nn.functional.pad(to_blocks((codes + OFFSET).to(torch.uint8).t()), (0, SPARE))
    packed = PackedWeight(blocks, to_blocks(scale.t().contiguous()), (out, inputs), group)
    return packed.to(packed.device)
