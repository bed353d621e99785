"""The engine of the associative memories: keys that are compared with a query, values that are added up.

    o_mu = key_mu . q            overlap with what was stored
    h    = sum_mu c_mu o_mu^(P-1) value_mu      what is recalled

P = 2 is the Hebbian matrix sum_mu value_mu key_mu^T, which is never built; larger P sharpens the choice. Linear
attention, Hopfield's network, multitasking and dense Hebbian networks differ in keys, values and what follows h.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spiking.plasticity.arguments import real, whole


class Memory:
    """Pairs of keys and values, and recall by overlap.

    Arguments:
        inputs: length n of a key.
        outputs: length m of a value.
        order: P, at least 2.

    `keys` (K, n), `values` (K, m) and `strength` (K,) are what was stored, in 64 bits.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(self, inputs: int, outputs: int, order: int = 2) -> None:
        inputs, outputs = whole("inputs", inputs, 1), whole("outputs", outputs, 1)
        self.order = whole("order", order, 2)
        self.keys = torch.zeros(0, inputs, dtype=torch.float64)
        self.values = torch.zeros(0, outputs, dtype=torch.float64)
        self.strength = torch.zeros(0, dtype=torch.float64)

    def store(self, keys: Tensor, values: Tensor, strength: float = 1.0) -> None:
        """Remember pairs.

        Arguments:
            keys: (K, n).
            values: (K, m).
            strength: c of each.

        Raises:
            ValueError: naming the argument that does not fit.
        """
        real("strength", strength)
        keys, values = checked("keys", keys, self.keys.shape[1]), checked("values", values, self.values.shape[1])
        if len(keys) != len(values):
            raise ValueError(f"values: expected {len(keys)} rows, one for each key, got {len(values)}")
        self.keys, self.values = torch.cat([self.keys, keys]), torch.cat([self.values, values])
        self.strength = torch.cat([self.strength, torch.full((len(keys),), strength, dtype=torch.float64)])

    def overlap(self, query: Tensor) -> Tensor:
        """(B, K) products of queries (B, n) with the keys."""
        return checked("query", query, self.keys.shape[1]) @ self.keys.t()

    def field(self, query: Tensor) -> Tensor:
        """(B, m), what the pairs recall for queries (B, n)."""
        return (self.overlap(query) ** (self.order - 1) * self.strength) @ self.values


def checked(name: str, x: Tensor, width: int) -> Tensor:
    """Rows of finite numbers in 64 bits.

    Raises:
        TypeError, ValueError: naming the argument.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(x).__name__}")
    if x.ndim != 2 or x.shape[1] != width:
        raise ValueError(f"{name}: expected (rows, {width}), got {tuple(x.shape)}")
    if x.is_complex():
        raise ValueError(f"{name}: expected real numbers, got {x.dtype}")
    x = x.detach().to(torch.float64)
    if not bool(x.isfinite().all()):
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return x
