"""A progress bar on standard error for what takes seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")


def progress_bar(items: Sequence[Item], text: str, shown: bool) -> Iterable[Item]:
    """The items one by one, with a bar where `shown` is set and standard error is a terminal."""
    console = Console(stderr=True)
    return track(items, text, console=console, disable=not (shown and console.is_terminal), transient=True)
