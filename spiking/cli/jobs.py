"""Runs side by side: processes that begin anew (spawn), a bar for each at work, and lines that bars do not cut.

A run tells `("line", text)`, `("step", run, what, done, total)` and `("end", run)`. Lines go to standard output, bars
to standard error where that is a terminal.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context
from threading import Event, Thread
from types import TracebackType
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

Found = TypeVar("Found")
Tell = Callable[[tuple[Any, ...]], None]
PACE = 0.2  # seconds between two steps that are told

_tell: Tell | None = None  # in a process of its own, how to reach the one that shows


class Board:
    """What a user sees of runs; a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        console = Console(stderr=True) if console is None else console
        self.bars = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f} steps"),
            TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal,
            redirect_stdout=sys.stdout.isatty(),
        )  # fmt: skip
        self.runs: dict[str, TaskID] = {}

    def __enter__(self) -> Board:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bars.stop()

    def take(self, told: tuple[Any, ...]) -> None:
        """Show what a run tells."""
        kind, *rest = told
        if kind == "line":
            print(rest[0], flush=True)
        elif kind == "end":
            if rest[0] in self.runs:
                self.bars.remove_task(self.runs.pop(rest[0]))
        elif not self.bars.disable:
            run, what, done, total = rest
            if run not in self.runs:
                self.runs[run] = self.bars.add_task("")
            self.bars.update(self.runs[run], description=f"{run}  {what}", completed=done, total=total)


class Steps:
    """Tells of a run's steps, not more often than eyes follow.

    Arguments:
        tell: where to.
        run: its name.
        tasks: how many it has.
    """

    def __init__(self, tell: Tell, run: str, tasks: int) -> None:
        self.tell, self.run, self.tasks, self.last = tell, run, tasks, 0.0

    def __call__(self, task: int, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last >= PACE or done == total:
            self.last = now
            self.tell(("step", self.run, f"task {task + 1}/{self.tasks}", done, total))


def teller(here: Tell | None) -> Tell:
    """How a run tells: to the process that shows, or to `here` in that process itself."""
    found = _tell or here
    assert found is not None
    return found


def side_by_side(
    work: Callable[..., Found], plan: Sequence[tuple[Any, ...]], jobs: int, board: Board
) -> list[Found]:
    """Do work in processes.

    Arguments:
        work: can be pickled.
        plan: its arguments, a tuple a run.
        jobs: runs at a time.
        board: shows what runs tell through `teller`.

    Returns:
        what it returned, in order; an interruption ends the processes at once.
    """
    context = get_context("spawn")
    queue, over = context.SimpleQueue(), Event()
    listener = Thread(target=_listen, args=(queue, over, board), daemon=True)
    others = set(active_children())
    listener.start()
    try:
        with ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(queue,)) as pool:
            try:
                return list(pool.map(work, *zip(*plan, strict=True)))
            except KeyboardInterrupt:
                for child in set(active_children()) - others:
                    child.terminate()
                raise
    finally:
        over.set()
        listener.join(5)


def _begin(queue: Any) -> None:
    """A process begins: it tells through the queue, and leaves an interruption to the one that shows."""
    global _tell
    _tell = queue.put
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _listen(queue: Any, over: Event, board: Board) -> None:
    while True:
        if not queue.empty():
            board.take(queue.get())
        elif over.wait(0.05):
            return
