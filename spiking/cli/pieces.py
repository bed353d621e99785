"""Pieces: what a command has measured so far, in its run folder, so that it can go on after an interruption."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spiking.cli.mistake import Mistake
from spiking.datasets.errors import DataError

NAME = "pieces.json"


class Pieces:
    """Results by name, each on the disk as soon as it is there.

    Arguments:
        folder: of the run.
        command: its name.
        given: the command's options; those of an interrupted run must be the same.
        free: options that may differ, as they only say how many pieces there are.

    Raises:
        Mistake: naming an option that differs.
        DataError: if the file is damaged.
    """

    def __init__(self, folder: Path, command: str, given: Namespace, free: Collection[str] = ()) -> None:
        self.path = folder / NAME
        apart = {"out", "resume", *free}
        self.options = {"command": command} | {
            name: value for name, value in vars(given).items() if name not in apart and not name.endswith("root")
        }
        self.found: dict[str, Any] = {}
        if not given.resume or not self.path.exists():
            return
        try:
            kept = json.loads(self.path.read_text())
            options, self.found = dict(kept["options"]), dict(kept["found"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.path}: not what an interrupted run left ({error}); choose a new folder") from error
        for name, value in self.options.items():
            if options.get(name) != value:
                word = name.replace("_", "-")
                raise Mistake(f"--resume: the run in {folder} has {word} {options.get(name)}, not {value}")

    def of(self, name: str, measure: Callable[[], Any]) -> Any:
        """What was found under a name, measured if it was not yet."""
        if name not in self.found:
            self.keep(name, measure())
        return self.found[name]

    def keep(self, name: str, result: Any) -> None:
        """Write down what was found under a name."""
        self.found[name] = json.loads(json.dumps(result, default=float))  # the same whether measured now or read
        temporary = self.path.with_suffix(".tmp")
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"options": self.options, "found": self.found}))
        os.replace(temporary, self.path)


@contextmanager
def going_on(folder: Path) -> Iterator[None]:
    """Say at an interruption how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"the same command with --out {folder} --resume goes on", file=sys.stderr)
        raise
