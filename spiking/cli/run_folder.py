"""Run folders: where a command writes, made and checked before any work starts."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from spiking.cli.mistake import Mistake
from spiking.datasets.storage import check_room

ROOM = 64 << 20
# Processes that Lightning starts for distributed training run the same command and must find the same folder.
SHARED = "SPIKING_RUN_FOLDER"


def run_folder(out: str | None, name: str, resume: bool | None = False) -> Path:
    """The folder of a run, there and writable.

    Arguments:
        out: where the user wants it; `None` makes a new one under `runs/`.
        name: what a new one's name begins with.
        resume: the folder may hold an earlier run; `None` for commands that can't go on with one.

    Raises:
        Mistake: if the folder holds something and `resume` is off, or `resume` is on without a folder.
        DataError: if it can't be written or the disk is full.
    """
    if SHARED in os.environ:
        return Path(os.environ[SHARED])
    if resume and out is None:
        raise Mistake("--resume needs --out DIR, the folder of the run to go on with")
    folder = Path(out) if out is not None else _new(name)
    try:
        if folder.exists() and not folder.is_dir():
            raise Mistake(f"--out: {folder} is a file, not a folder")
        taken = not resume and folder.is_dir() and any(folder.iterdir())
    except PermissionError as error:
        raise Mistake(f"--out: {folder} can't be read ({error.strerror})") from error
    if taken:
        more = "" if resume is None else ", or go on with its run by --resume"
        raise Mistake(f"--out: {folder} isn't empty; choose another folder{more}")
    check_room(folder, ROOM)
    os.environ[SHARED] = str(folder.resolve())
    return folder


def release() -> None:
    """Let the next command of this process choose its own folder."""
    os.environ.pop(SHARED, None)


def _new(name: str) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path("runs") / f"{name}-{stamp}"
    count = 1
    while folder.exists():
        count += 1
        folder = Path("runs") / f"{name}-{stamp}-{count}"
    return folder
