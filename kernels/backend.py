"""Which implementation runs an op: reference (plain PyTorch), numba (CPU) or triton (GPU)."""

from __future__ import annotations

import warnings
from contextvars import ContextVar, Token
from functools import cache
from types import TracebackType

import torch

BACKENDS = ("auto", "reference", "numba", "triton")
_chosen: ContextVar[str] = ContextVar("spiking_backend", default="auto")


class FallbackWarning(UserWarning):
    """An op runs on a slower backend than its device offers, for the reason given."""


class set_backend:
    """Force a backend for every op that is not given one, until changed or for the length of a `with` block.

    Arguments:
        name: "auto" (CUDA tensors run on triton, CPU tensors on numba), "reference", "numba" or "triton".

    Raises:
        ValueError: if there is no such backend.
    """

    def __init__(self, name: str) -> None:
        self._token: Token[str] = _chosen.set(_known(name))

    def __enter__(self) -> set_backend:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _chosen.reset(self._token)


def _known(name: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {name!r}")
    return name


@torch.compiler.assume_constant_result
def resolve(backend: str | None, device: torch.device) -> str:
    """The backend to run: the one asked for, else the one set, else the one of the tensor's device."""
    name = _known(backend or "auto")
    if name == "auto":
        name = _chosen.get()
    if name != "auto":
        return name
    if device.type == "cuda":
        return "triton"
    return "numba" if device.type == "cpu" else "reference"


@cache
def _warn_once(op: str, reason: str) -> None:
    warnings.warn(f"{op}: runs on the reference backend: {reason}", FallbackWarning, stacklevel=4)


def fall_back(op: str, reason: str) -> str:
    """Name the reference backend, warning once for each op and reason."""
    _warn_once(op, reason)
    return "reference"
