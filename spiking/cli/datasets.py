"""`spiking datasets list | prepare NAME | info NAME`: what there is, building it, and looking into it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spiking.cli.mistake import Mistake

if TYPE_CHECKING:
    from spiking.datasets import EventStore


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
        print(_picture(store, given.name.partition(":")[0], given.out))
    return 0


def describe(store: EventStore) -> str:
    """Counts, durations, rates and class balance in a few lines."""
    import numpy as np

    events = store.counts().sum(1)
    seconds = store.duration / 1e6
    rate = events.sum() / (seconds.sum() * store.channels)
    where = f"{store.channels} channels" if store.sensor is None else f"sensor {'x'.join(map(str, store.sensor))}"
    parts = np.bincount(store.labels.numpy(), minlength=len(store.classes))
    lines = [
        f"{len(store):,} recordings, {len(store.classes)} classes, {where}",
        f"duration    {seconds.min() * 1000:.0f} to {seconds.max() * 1000:.0f} ms, mean {seconds.mean() * 1000:.0f} ms",
        f"events      {events.min():,.0f} to {events.max():,.0f} per recording, mean {events.mean():,.0f}",
        f"rate        {rate:.2f} Hz per channel",
        "classes     " + ", ".join(f"{c}: {n}" for c, n in zip(store.classes, parts, strict=True)),
    ]
    for column, values in sorted(store.metadata.items()):
        kinds, sizes = np.unique(values, return_counts=True)
        if len(kinds) <= 20:
            lines.append(f"{column:<12}" + ", ".join(f"{k}: {n}" for k, n in zip(kinds, sizes, strict=True)))
        else:
            lines.append(f"{column:<12}{len(kinds)} different values")
    return "\n".join(lines)


def _picture(store: EventStore, name: str, out: str | None) -> Path:
    from spiking import plots
    longest = float(store.duration[0]) / 1000
    events, labels = store.batch([0], dt=max(longest / 300, 0.1))
    title = f"{name}: {store.name(0)}, class {store.classes[int(labels[0])]}"
    chart = plots.raster(events) if store.sensor is None else plots.event_image(events, title=title)
    path = Path(out or f"{name}.png")
    try:
        chart.savefig(path)
    except (OSError, ValueError) as error:
        raise Mistake(f"--out: {path} can't be written ({error})") from error
    return path
