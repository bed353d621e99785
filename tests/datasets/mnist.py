"""A tiny MNIST in idx files, written byte by byte from the specification, and recordings in N-MNIST's layout."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np

TRAIN, TEST = 13, 5


def as_idx(array: np.ndarray[Any, Any], kind: int = 8) -> bytes:
    """An array as the format says, from scratch."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, kind, array.ndim]) + sizes + array.tobytes()


def images(n: int, seed: int) -> np.ndarray[Any, Any]:
    return np.kron(np.random.default_rng(seed).integers(0, 256, (n, 4, 4)), np.ones((7, 7))).astype(np.uint8)


def idx_files(root: Path, packed: bool = True) -> Path:
    """A tiny MNIST: digit i % 10 on image i."""
    root.mkdir(parents=True)
    for name, n, seed in (("train", TRAIN, 0), ("t10k", TEST, 1)):
        for kind, array in (("images-idx3", images(n, seed)), ("labels-idx1", np.arange(n, dtype=np.uint8) % 10)):
            data = as_idx(array)
            path = root / f"{name}-{kind}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(data) if packed else data)
    return root


def nmnist_files(root: Path, film: Any) -> Path:
    """Recordings in N-MNIST's layout: image i in 0000(i + 1).bin."""
    for i in range(len(film.indptr) - 1):
        one = slice(film.indptr[i], film.indptr[i + 1])
        path = root / "Train" / str(i % 10) / f"{i + 1:05d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        p, place = np.divmod(film.index[one], 34 * 34)
        words = (place % 34) << 32 | (place // 34) << 24 | p << 23 | film.time_us[one]
        path.write_bytes(b"".join(int(word).to_bytes(5, "big") for word in words))
    return root
