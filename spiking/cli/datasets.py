"""`spiking datasets list | prepare NAME | info NAME`: what there is, building it, and looking into it."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spiking.cli.mistake import Mistake

if TYPE_CHECKING:
    from spiking.datasets import EventStore

PIECE = 1 << 24


def main(argv: Sequence[str]) -> int:
    """Run `spiking datasets`."""
    words = argparse.ArgumentParser(
        prog="spiking datasets", allow_abbrev=False, description="List, prepare or describe data sets."
    )
    actions = words.add_subparsers(dest="action", required=True, metavar="list | prepare NAME | info NAME")
    actions.add_parser("list", help="the data sets that can be loaded")
    for action, text in (("prepare", "build a data set and keep it"), ("info", "describe it and draw a recording")):
        sub = actions.add_parser(action, help=text, allow_abbrev=False)
        sub.add_argument("name", help="one of the list; folder:PATH, or folder with --root PATH")
        sub.add_argument("--root", help="where the data set's own files lie")
        sub.add_argument("--skip-corrupt", action="store_true", help="leave out recordings that can't be read")
        if action == "info":
            sub.add_argument("--out", help="the picture's file (default: NAME.png here)")
            sub.add_argument("--recording", type=int, default=0, help="which one is drawn (default %(default)s)")
            sub.add_argument("--gif", metavar="FILE", help="also write the recording as an animated GIF")
    given = words.parse_args(argv)

    from spiking.datasets import available, load

    if given.action == "list":
        known = available()
        width = max(len(name) for name, _ in known) + 2
        for name, about in known:
            print(f"{name:<{width}}{about}")
        return 0
    names = [name for name, _ in available()]
    if given.name.partition(":")[0] not in [name.partition(":")[0] for name in names]:
        raise Mistake(f"there is no data set {given.name!r}; there are {', '.join(names)}")

    name = f"folder:{given.root}" if given.name == "folder" and given.root else given.name
    root = None if name.startswith("folder:") else given.root
    store = load(name, split="all", root=root, skip_corrupt=given.skip_corrupt)
    print(describe(store))
    if given.action == "info":
        for path in _pictures(store, given):
            print(path)
    return 0


def describe(store: EventStore) -> str:
    """Counts, durations, rates and class balance in a few lines."""
    import numpy as np

    index, _, indptr = store.arrays()
    events = np.diff(indptr)
    seconds = store.duration / 1e6
    rates = events / (seconds * store.channels)
    parts = [index[k : k + PIECE] for k in range(0, len(index), PIECE)]  # counting makes eight bytes of each channel
    active = sum((np.bincount(part, minlength=store.channels) for part in parts), np.zeros(store.channels, np.int64))
    where = f"{store.channels} channels" if store.sensor is None else f"sensor {'x'.join(map(str, store.sensor))}"
    sizes = np.bincount(store.labels.numpy(), minlength=len(store.classes))
    fewest, most = int(sizes.argmin()), int(sizes.argmax())
    lines = [
        f"{len(store):,} recordings, {len(store.classes)} classes, {where}",
        f"duration    {seconds.min() * 1000:.0f} to {seconds.max() * 1000:.0f} ms, mean {seconds.mean() * 1000:.0f} ms",
        f"events      {events.min():,} to {events.max():,} per recording, mean {events.mean():,.0f}",
        f"rate        {rates.min():.2f} to {rates.max():.2f} Hz per channel, mean {store.rate:.2f}; "
        f"{(active == 0).sum():,} of {store.channels:,} channels silent",
        f"balance     {sizes[fewest]:,} ({store.classes[fewest]}) to {sizes[most]:,} ({store.classes[most]}) "
        "recordings of a class",
        _row("classes", store.classes, sizes),
    ]
    for column, values in sorted(store.metadata.items()):
        kinds, counts = np.unique(values, return_counts=True)
        if len(kinds) <= 20:
            lines.append(_row(column, kinds, counts))
        else:
            lines.append(f"{column:<12}{len(kinds):,} different values")
    return "\n".join(lines)


def _row(name: str, kinds: Iterable[Any], counts: Iterable[int]) -> str:
    text = ", ".join(f"{kind}: {count:,}" for kind, count in zip(kinds, counts, strict=True))
    return textwrap.fill(text, 112, initial_indent=f"{name:<12}", subsequent_indent=" " * 12)


def _pictures(store: EventStore, given: argparse.Namespace) -> list[Path]:
    """Draw what was asked for."""
    from spiking import plots

    show, name = given.recording, given.name.partition(":")[0]
    if not 0 <= show < len(store):
        raise Mistake(f"--recording: expected 0 to {len(store) - 1}, got {show}")
    if given.gif and Path(given.gif).suffix.lower() != ".gif":
        raise Mistake(f"--gif: expected a name that ends in .gif, got {given.gif}")
    drawn = [Path(given.out or f"{name}.png")]
    try:
        plots.overview(store, show, title=name).savefig(drawn[0])
    except (OSError, ValueError) as error:
        raise Mistake(f"--out: {drawn[0]} can't be written ({error})") from error
    if given.gif:
        events, labels = store.batch([show], dt=max(float(store.duration[show]) / 1000 / 300, 0.001))
        try:
            drawn.append(plots.movie(events, given.gif, f"{name}, class {store.classes[int(labels[0])]}"))
        except OSError as error:
            raise Mistake(f"--gif: {given.gif} can't be written ({error})") from error
    return drawn
