"""spoken: recordings of words, such as the Free Spoken Digit Dataset, heard by the artificial cochlea.

Files are called <word>_<speaker>_<index>.wav or .flac and lie in the root, in a folder below it, or in .tar or .zip
archives; the column `number` is the index. The test split is FSDD's, indices 0 to 4; for speakers that training has not
heard, hold some out: `load("spoken").split(by="speaker", hold_out=1)`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from math import gcd
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import signal

from spiking.datasets import cochlea
from spiking.datasets.errors import DataError
from spiking.datasets.formats import audio
from spiking.datasets.sources.archive import archives, members
from spiking.datasets.sources.gather import fingerprint, read_all
from spiking.datasets.sources.parts import in_parts
from spiking.datasets.sources.plan import Plan
from spiking.datasets.store import EventStore

Array = np.ndarray[Any, Any]

ABOUT = "your recordings of words (.wav, .flac), such as FSDD's, before an artificial cochlea of 700 channels"
# raise it when the same files make other recordings
VERSION = 1
PART, ROOM = 250, 12
NAME = re.compile(r"(?:^|.*/)([^/_.][^/_]*_[^/]+_\d+\.(?:wav|flac))$", re.IGNORECASE)
TEST = 5
ADVICE = (
    "put <word>_<speaker>_<index>.wav or .flac there, such as FSDD's recordings "
    "(https://github.com/Jakobovski/free-spoken-digit-dataset), or a .tar or .zip of them"
)


class Word(NamedTuple):
    """A recording: its file's name and what that says."""

    name: str
    word: str
    speaker: str
    number: int


def plan(root: Path | None, cache: Path, skip_corrupt: bool, progress: bool) -> Plan:
    """What `load("spoken")` builds from the files below a root.

    Raises:
        DataError: if there is no root, or nothing below it has such a name.
    """
    if root is None or not root.exists():
        raise DataError(f"root: expected the folder or archive of your recordings, got {root}; {ADVICE}")
    files = _files(root)
    found = files or archives(root)
    if not found:
        raise DataError(f"{root}: no recordings here; {ADVICE}")
    place = root if root.is_dir() else root.parent
    key = {"version": VERSION, "files": fingerprint(place, found), "skip_corrupt": skip_corrupt}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    scratch = cache / f".spoken-{digest}.parts"
    # the parts, their spool and the store lie there at once
    size = 3 * ROOM * sum(path.stat().st_size for path in found) + (1 << 20)
    missing = {"train": "recordings of index 5 and above are these", "test": "recordings of index 0 to 4 are these"}
    return Plan(key, size, lambda: _build(place, files, found, scratch, skip_corrupt, progress), missing, scratch)


def _files(root: Path) -> list[Path]:
    """The sound files of a folder and of those in it, which all must have a name that says what they are."""
    found = sorted(path for path in root.glob("**/[!.]*") if path.suffix.lower() in audio.SUFFIXES)
    for path in found:
        if not NAME.match(path.name):
            raise DataError(f"{path}: expected a name such as 7_george_12.wav, <word>_<speaker>_<index>")
    return found


def _build(
    root: Path, files: list[Path], found: list[Path], scratch: Path, skip_corrupt: bool, progress: bool
) -> EventStore:
    with ExitStack() as stack:
        content: dict[str, Callable[[], bytes]] = {}
        for source in found:
            one = {source.relative_to(root).as_posix(): source.read_bytes} if source in files else None
            for name, get in (members(source, NAME, stack, ADVICE) if one is None else one).items():
                if name in content:
                    raise DataError(f"{source}/{name}: there is a second file of this name; keep one of them")
                content[name] = get
        if not content:
            raise DataError(f"{found[0]}: no recordings inside; {ADVICE}")
        words = sorted(map(_word, content))

        def rate_of(word: Word) -> int:
            return audio.read(content[word.name](), word.name)[1]

        kept, rates = read_all(words, rate_of, skip_corrupt, progress)
        rate = min(rates)
        classes = sorted({word.word for word in kept})

        def part(which: range) -> EventStore:
            heard = [kept[i] for i in which]
            sounds = [_sound(content[word.name](), word.name, rate) for word in heard]
            return cochlea.listen(sounds, rate, first=which.start).store(
                [classes.index(word.word) for word in heard],
                classes,
                name=[word.name for word in heard],
                speaker=[word.speaker for word in heard],
                number=[word.number for word in heard],
                split=["test" if word.number < TEST else "train" for word in heard],
            )

        ranges = [range(k, min(k + PART, len(kept))) for k in range(0, len(kept), PART)]
        return in_parts(scratch, ranges, part, "listening to words", progress)


def _word(name: str) -> Word:
    word, rest = name.rpartition("/")[2].split("_", 1)
    speaker, number = rest.rpartition(".")[0].rsplit("_", 1)
    return Word(name, word, speaker, int(number))


def _sound(content: bytes, name: str, rate: int) -> Array:
    """A file's sound at the lowest rate of all files, so that channels mean the same frequencies in all of them."""
    wave, own = audio.read(content, name)
    shared = gcd(own, rate)
    return wave if own == rate else signal.resample_poly(wave, rate // shared, own // shared)
