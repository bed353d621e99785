"""The states that layers and networks take and return."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor

S = TypeVar("S")


def detach(state: S) -> S:
    """The same state, cut from the graph that made it, so that the next pass ends its gradient here.

    Arguments:
        state: what a layer or a network returned: a tensor, `None`, or tuples, lists and dictionaries of them.

    Returns:
        The same structure; nothing is copied.

    Raises:
        TypeError: if it holds anything else.
    """
    done: S = _detach(state)
    return done


def _detach(state: Any) -> Any:
    if state is None:
        return None
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, dict):
        return {name: _detach(part) for name, part in state.items()}
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*(_detach(part) for part in state))
    if isinstance(state, (tuple, list)):
        return type(state)(_detach(part) for part in state)
    raise TypeError(f"state: expected tensors in tuples, lists or dictionaries, got {type(state).__name__}")
