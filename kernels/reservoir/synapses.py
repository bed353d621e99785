"""Who reaches whom, how strongly and how late: synapses that are stored, or drawn when a spike comes.

`Synapses` takes 8 bytes each: the delay stands in the upper 8 bits of the word that holds the target, beside a weight
in single precision. `Generated` takes none. Source n reaches K targets, synapse k one out of the k-th of K equal
shares of the population, and with h(x) a hash of 32 bits (the finaliser of C. Wellons, 2018, `lowbias32`)

    g       = h(h(n ^ h(seed)) + k c)                         one number for each synapse, c = 0x9E3779B9
    target  = floor(k N / K) + g mod (floor((k + 1) N / K) - floor(k N / K))
    weight  = low + (high - low) (h(g ^ 1) >> 8) / 2^24       in the range of the source's kind
    delay   = first + h(g ^ 2) mod (last - first + 1)

so that any source's fan-out is known without that of the others, and the same on every backend.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spiking.kernels.arguments import floating
from spiking.kernels.finite import demand
from spiking.kernels.sparse_linear.weight import SparseWeight, check_structure

BITS = 24  # of a word that hold the target; the delay has the other 8
MASK = (1 << BITS) - 1
LAST = 255  # the longest delay in steps
GOLDEN, FIRST, SECOND, LOW32 = 0x9E3779B9, 0x7FEB352D, 0x846CA68B, 0xFFFFFFFF


class Synapses:
    """Stored connections from `shape[0]` sources to `shape[1]` neurons; `Synapses.of` makes them of weights and delays.

    Arguments:
        indptr: (sources + 1,) int64, where each source's synapses begin and end.
        word: (nnz,) int32, the target, rising within a source, and the delay in steps times 2^24.
        weight: (nnz,) float32 or float64.
        shape: (sources, neurons).

    Raises:
        ValueError, TypeError: naming the argument that does not fit.
    """

    __slots__ = ("first", "indptr", "last", "shape", "weight", "word")

    def __init__(self, indptr: Tensor, word: Tensor, weight: Tensor, shape: tuple[int, int]) -> None:
        for name, x, dtype in (("indptr", indptr, torch.int64), ("word", word, torch.int32)):
            if not isinstance(x, Tensor) or x.dtype != dtype:
                got = x.dtype if isinstance(x, Tensor) else type(x).__name__
                raise TypeError(f"{name}: expected a tensor of {dtype}, got {got}")
        check_structure(indptr, word & MASK, shape)
        floating("weight", weight, word.device)
        if weight.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"weight: expected float32 or float64, got {weight.dtype}")
        if weight.shape != word.shape:
            raise ValueError(f"weight: expected {tuple(word.shape)}, got {tuple(weight.shape)}")
        demand("weight", weight, "synapse")
        self.indptr, self.word, self.weight = indptr.contiguous(), word.contiguous(), weight.detach().contiguous()
        self.shape = (int(shape[0]), int(shape[1]))
        delay = self.delay
        # The shortest and the longest delay in steps, 1 where there is no synapse.
        self.first, self.last = (int(delay.min()), int(delay.max())) if word.numel() else (1, 1)

    @classmethod
    def of(cls, weight: SparseWeight, delay: int | Tensor = 1) -> Synapses:
        """Give sparse weights delays.

        Arguments:
            weight: (sources, neurons); row n is the fan-out of source n.
            delay: steps from a spike to its arrival, 0 to 255; a number, (sources,), or (nnz,) in the order of
                `weight.values`.

        Raises:
            ValueError: naming the argument that does not fit.
        """
        if not isinstance(weight, SparseWeight):
            raise TypeError(f"weight: expected a SparseWeight, got {type(weight).__name__}")
        if weight.shape[1] > MASK:
            raise ValueError(f"weight: expected at most {MASK} neurons, got {weight.shape[1]}")
        delay = torch.as_tensor(delay)
        if delay.is_floating_point() or delay.dtype == torch.bool:
            raise ValueError(f"delay: expected whole steps, got {delay.dtype}")
        if delay.shape == (weight.shape[0],) and delay.shape != weight.index.shape:
            delay = delay.to(weight.device)[weight.rows()]
        elif delay.ndim and delay.shape != weight.index.shape:
            raise ValueError(
                f"delay: expected a number, ({weight.shape[0]},) or ({weight.nnz},), got {tuple(delay.shape)}"
            )
        if delay.numel() and not 0 <= int(delay.min()) <= int(delay.max()) <= LAST:
            raise ValueError(f"delay: expected 0 to {LAST} steps, got {int(delay.min())} to {int(delay.max())}")
        word = (delay.to(weight.device, torch.int32) << BITS) | weight.index
        return cls(weight.indptr, word.expand(weight.nnz), weight.values, weight.shape)

    def with_weight(self, weight: Tensor) -> Synapses:
        """The same connections with other weights (nnz,)."""
        return Synapses(self.indptr, self.word, weight, self.shape)

    @property
    def target(self) -> Tensor:
        """(nnz,) int32, the target of each synapse."""
        return self.word & MASK

    @property
    def delay(self) -> Tensor:
        """(nnz,) int32, the delay of each synapse in steps."""
        return (self.word >> BITS) & LAST

    @property
    def nbytes(self) -> int:
        """Memory of the synapses, without the pointers of the sources."""
        return self.word.nbytes + self.weight.nbytes

    def expand(self) -> Synapses:
        """Itself, as `Generated.expand`."""
        return self

    def sparse(self) -> SparseWeight:
        """The weights without their delays."""
        return SparseWeight(self.indptr, self.target, self.weight, self.shape, check=False)

    def to(self, device: torch.device | str) -> Synapses:
        """The same on another device."""
        return Synapses(self.indptr.to(device), self.word.to(device), self.weight.to(device), self.shape)


class Generated(NamedTuple):
    """Connections that are drawn from a seed whenever a source spikes, and never stored; see the head of this file.

    Arguments:
        seed: 0 to 2^32 - 1; inputs and neurons should have different ones.
        shape: (sources, neurons).
        fan_out: K, targets of each source.
        weight: (low, high) of a source; a range that crosses 0 breaks Dale's law.
        excitatory: the first so many sources draw from `weight`, the others from `inhibitory`; `None` is all.
        inhibitory: (low, high) of the others.
        delay: (first, last) in steps, 0 to 255.
        autapses: whether a neuron may reach itself; without, such a synapse is missing.
    """

    seed: int
    shape: tuple[int, int]
    fan_out: int
    weight: tuple[float, float]
    excitatory: int | None = None
    inhibitory: tuple[float, float] = (0.0, 0.0)
    delay: tuple[int, int] = (1, 1)
    autapses: bool = True

    @property
    def last(self) -> int:
        """The longest delay in steps."""
        return self.delay[1]

    @property
    def first(self) -> int:
        """The shortest delay in steps."""
        return self.delay[0]

    @property
    def nbytes(self) -> int:
        """Memory of the synapses: none."""
        return 0

    def to(self, device: torch.device | str) -> Generated:
        """Itself: there is nothing to move."""
        return self

    def expand(self) -> Synapses:
        """The same connections, stored: int32 words and weights in single precision."""
        check_generated("connections", self)
        sources, N = self.shape
        K, first, count = self.fan_out, self.delay[0], self.delay[1] - self.delay[0] + 1
        n, k = torch.arange(sources)[:, None], torch.arange(K)[None, :]
        row = mix(n ^ mix(torch.tensor(self.seed)))
        g = mix((row + k * GOLDEN) & LOW32)
        low = k * N // K
        target = low + g % ((k + 1) * N // K - low)
        u = (mix(g ^ 1) >> 8).to(torch.float32) * 2.0**-24
        dale = n >= (sources if self.excitatory is None else self.excitatory)
        bounds = torch.tensor([self.weight, self.inhibitory], dtype=torch.float32)
        span = bounds[:, 1] - bounds[:, 0]
        weight = torch.where(dale, bounds[1, 0] + span[1] * u, bounds[0, 0] + span[0] * u)
        word = ((first + mix(g ^ 2) % count) << BITS) | target
        word = torch.where(word >= 1 << 31, word - (1 << 32), word).to(torch.int32)
        kept = (target != n) if not self.autapses else torch.ones_like(target, dtype=torch.bool)
        indptr = torch.cat([torch.zeros(1, dtype=torch.int64), kept.sum(1).cumsum(0)])
        return Synapses(indptr, word[kept], weight[kept], self.shape)

    def numbers(self) -> list[float]:
        """What kernels need: h(seed), K, the low end and width of both ranges, excitatory sources, delays, autapses."""
        (low, high), (weakest, strongest) = self.weight, self.inhibitory
        bounds = torch.tensor([low, high, weakest, strongest], dtype=torch.float32)
        spans = (bounds[1::2] - bounds[::2]).tolist()
        sources = self.shape[0] if self.excitatory is None else self.excitatory
        start, (first, last) = float(mix(torch.tensor(self.seed))), self.delay
        return [
            start, self.fan_out, float(bounds[0]), spans[0], float(bounds[2]), spans[1], sources, first,
            last - first + 1, float(self.autapses),
        ]  # fmt: skip


Connections = Synapses | Generated


def mix(x: Tensor) -> Tensor:
    """The hash of whole numbers below 2^32, int64 in and out."""
    x = x ^ (x >> 16)
    x = (x * FIRST) & LOW32
    x = x ^ (x >> 15)
    x = (x * SECOND) & LOW32
    return x ^ (x >> 16)


def check_generated(name: str, given: Generated) -> None:
    """Refuse numbers from which no connections can be drawn.

    Raises:
        ValueError: naming the field.
    """
    sources, N = given.shape
    if not 0 <= given.seed <= LOW32:
        raise ValueError(f"{name}.seed: expected 0 to {LOW32}, got {given.seed}")
    if sources < 0 or not 0 < N <= MASK or sources > LOW32:
        raise ValueError(f"{name}.shape: expected (sources, 1 to {MASK} neurons), got {given.shape}")
    if not 0 < given.fan_out <= N:
        raise ValueError(f"{name}.fan_out: expected 1 to {N} targets, got {given.fan_out}")
    if given.excitatory is not None and not 0 <= given.excitatory <= sources:
        raise ValueError(f"{name}.excitatory: expected 0 to {sources} sources, got {given.excitatory}")
    for field in ("weight", "inhibitory"):
        low, high = getattr(given, field)
        if not -float("inf") < low <= high < float("inf"):
            raise ValueError(f"{name}.{field}: expected finite (low, high), got {(low, high)}")
    if not 0 <= given.delay[0] <= given.delay[1] <= LAST:
        raise ValueError(f"{name}.delay: expected (first, last) within 0 to {LAST} steps, got {given.delay}")


def check_connections(name: str, given: Connections, device: torch.device) -> None:
    """Refuse connections that a kernel can't follow.

    Raises:
        ValueError, TypeError: naming the argument.
    """
    if isinstance(given, Generated):
        check_generated(name, given)
        return
    if not isinstance(given, Synapses):
        raise TypeError(f"{name}: expected Synapses or Generated, got {type(given).__name__}")
    if given.word.device != device:
        raise ValueError(f"{name}: expected them on {device}, where x lies, got {given.word.device}")
