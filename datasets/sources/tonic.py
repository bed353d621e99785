"""tonic:NAME: any data set of tonic by its name there, such as tonic:CIFAR10DVS, read through tonic into a store.

Options of tonic's class follow the name, tonic:NTIDIGITS18,single_digits=True. Files lie in ROOT/NAME as tonic keeps
them, or are downloaded there. What tonic divides into training, validation and test stays so; of the others a fifth of
every class is the test split, as for one's own recordings. Clocks that ran before the recording begin at its first
event. Data sets without classes (their targets are poses, frames, boxes) get one class, `recording`; of several cameras
the first is read.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spiking.datasets.errors import DataError
from spiking.datasets.sources.download import check_no_page, reason, through_tonic
from spiking.datasets.sources.folder import SEED, TEST
from spiking.datasets.sources.gather import fingerprint, read_all
from spiking.datasets.sources.plan import Plan
from spiking.datasets.split import hold_out_share
from spiking.datasets.spool import Spool
from spiking.datasets.store import EventStore

Array = np.ndarray[Any, Any]
Opened = dict[str, Any]  # by split, a data set of tonic's

ABOUT = "any data set of tonic by its name there: CIFAR10DVS, DVSLip, NCALTECH101, NTIDIGITS18, ... (files or download)"
# raise it when the same files make other recordings
VERSION = 1
DOWNLOAD = 1 << 30
ALONE = "recording"
# what tonic calls our splits, where its classes take a `split`
SPLITS = {
    "SSC": {"train": "train", "valid": "valid", "test": "test"},
    "ThreeET_Eyetracking": {"train": "train", "valid": "val"},
    "EBSSA": {"train": "labelled"},
}
# later first events than this come from a clock that ran before the recording, microseconds
RUNNING = 10_000_000


class _Missing(Exception):
    """The files aren't there."""


def plan(root: Path | None, cache: Path, skip_corrupt: bool, progress: bool, name: str) -> Plan:
    """What `load("tonic:NAME")` builds.

    Arguments:
        name: what follows the colon: tonic's name, and options of its class.

    Raises:
        DataError: if tonic isn't installed or has no such data set, or its files aren't there and can't be downloaded.
    """
    called, options = _parse(name)
    kind = _class(called)
    root = cache / "tonic" if root is None else root
    opened = _open(kind, options, root)
    places = {Path(getattr(dataset, "location_on_system", root)) for dataset in opened.values()}
    files = sorted(path for place in places for path in place.rglob("*") if path.is_file())
    import tonic

    key = {
        "version": VERSION, "name": called, "options": {k: repr(v) for k, v in sorted(options.items())},
        "tonic": tonic.__version__, "skip_corrupt": skip_corrupt, "files": fingerprint(root, files),
    }  # fmt: skip
    size = 2 * sum(path.stat().st_size for path in files) + (1 << 20)
    return Plan(key, size, lambda: _build(called, opened, cache, skip_corrupt, progress))


def _parse(name: str) -> tuple[str, dict[str, Any]]:
    """SMNIST,num_neurons=79 is SMNIST, {"num_neurons": 79}."""
    called, *pairs = name.split(",")
    options = {}
    for pair in pairs:
        option, equals, value = pair.partition("=")
        if not (option.isidentifier() and equals):
            raise DataError(f"name: expected tonic:NAME,option=value, got tonic:{name}")
        try:
            options[option] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[option] = value
    return called, options


def _class(called: str) -> type:
    try:
        with _quiet():
            from tonic import datasets
    except ImportError as error:
        raise DataError(f"tonic:{called}: tonic can't be imported ({error}); pip install tonic requests") from error
    if called not in datasets.__all__:
        raise DataError(f"name: tonic has no data set {called!r}; it has {', '.join(datasets.__all__)}")
    found: type = getattr(datasets, called)
    return found


def _open(kind: type, options: Mapping[str, Any], root: Path) -> Opened:
    """tonic's data sets by split, their files downloaded if they aren't there; "" is one that isn't divided."""
    place = root / kind.__name__
    file, url = getattr(kind, "filename", None), getattr(kind, "url", None)
    wanted = f"{file} or what is in it" if isinstance(file, str) else "its files"
    advice = f"tonic looks for {wanted} in {place}" + (f"; get it from {url}" if isinstance(url, str) else "")
    if isinstance(file, str) and (place / file).is_file():
        check_no_page(place / file, advice)
    try:
        return _make(_offline(kind), options, root)
    except _Missing:
        pass
    except (Exception, SystemExit) as error:
        raise DataError(f"{root}: tonic can't open {kind.__name__} here ({reason(error)}); {advice}") from error
    through_tonic(partial(_make, kind, options), root, DOWNLOAD, f"tonic's {kind.__name__}", advice, {})
    return _make(_offline(kind), options, root)


def _make(kind: type, options: Mapping[str, Any], where: str | Path) -> Opened:
    known = inspect.signature(kind).parameters
    parts: dict[str, dict[str, Any]] = {"": {}}
    if "train" in known:
        parts = {"train": {"train": True}, "test": {"train": False}}
    elif "split" in known:
        named = SPLITS.get(kind.__name__, {"train": "train", "test": "test"})
        parts = {ours: {"split": theirs} for ours, theirs in named.items()}
    with _quiet():
        return {split: kind(str(where), **part, **options) for split, part in parts.items()}


def _offline(kind: type) -> type:
    """The class, which says that files are missing rather than download them over what is there."""

    def download(self: Any) -> None:
        raise _Missing

    return type(kind.__name__, (kind,), {"download": download})


def _build(called: str, opened: Opened, cache: Path, skip_corrupt: bool, progress: bool) -> EventStore:
    items = [(split, i) for split, dataset in opened.items() for i in range(len(dataset))]
    if not items:
        raise DataError(f"tonic:{called}: no recordings")
    sensor = _sensor(opened, items)
    width, height, polarities = sensor
    camera = height > 1
    names: list[str] = []
    splits: list[str] = []
    with Spool(cache, None, sensor if camera else None, width * height * polarities) as spool:

        def read(item: tuple[str, int]) -> None:
            split, i = item
            name = _name(opened[split], split, i)
            events, target = _item(opened[split], i, name)
            label = _label(opened[split], target)
            if label not in names:
                names.append(label)
            time, order = _times(events)
            x, y, p = (_column(events, key, name)[order] for key in "xyp")
            # where there is one polarity tonic writes 1, others 0
            place = np.stack([x, y, (p > 0).astype(np.int64) if polarities > 1 else np.zeros_like(p)])
            outside = ((place < 0) | (place >= np.array(sensor)[:, None])).any(0)
            if outside.any():
                e = int(outside.argmax())
                raise DataError(f"{name}: event {e} lies at {tuple(place[:, e].tolist())}, outside {sensor}")
            index = (place[2] * height + place[1]) * width + place[0]
            spool.add(index, time, [0, len(time)], [names.index(label)], name=[name])
            splits.append(split)

        read_all(items, read, skip_corrupt, progress)
        store = spool.store(split=np.array(splits))
    if names == [ALONE]:
        warnings.warn(f"tonic:{called} has no classes; all recordings are of the class {ALONE!r}", stacklevel=2)
    _order(store, opened, names)
    if not splits[0]:
        labels = store.labels.numpy()
        test = hold_out_share(labels, TEST, SEED) if len(store) > 1 else np.zeros(len(store), bool)
        store.metadata["split"] = np.where(test, "test", "train")
    return store


def _order(store: EventStore, opened: Opened, names: Sequence[str]) -> None:
    """Give a store its classes, in tonic's order where it has one and else in that of the alphabet (or of numbers)."""
    known = _classes(next(iter(opened.values())))
    ordered = list(known) if set(names) <= set(known) else sorted(names, key=lambda n: (not n.isdigit(), n.zfill(9)))
    place = torch.tensor([ordered.index(name) for name in names])
    store.labels, store.classes = place[store.labels], tuple(ordered)


def _classes(dataset: Any) -> list[str]:
    """The names of the classes by number, as far as tonic says."""
    classes = getattr(dataset, "classes", None)
    if isinstance(classes, Mapping):
        classes = [name for name, _ in sorted(classes.items(), key=lambda pair: int(pair[1]))]
    return [] if classes is None else [_text(name) for name in classes]


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _label(dataset: Any, target: Any) -> str:
    """The name of a target's class."""
    if isinstance(target, np.ndarray) and target.size == 1:
        target = target.item()
    if isinstance(target, (str, bytes)):
        return _text(target)
    if not isinstance(target, (int, np.integer)):
        return ALONE
    known = _classes(dataset)
    return known[target] if 0 <= target < len(known) else str(target)


def _item(dataset: Any, i: int, name: str) -> tuple[Array, Any]:
    """A recording's events and its target."""
    try:
        with _quiet():
            data, target = dataset[i]
    except Exception as error:
        raise DataError(f"{name}: tonic can't read it ({type(error).__name__}: {error})") from error
    events = next(_structured(data), None)
    if events is None:
        raise DataError(f"{name}: no events with t and x in what tonic reads")
    return events.reshape(-1), target


def _structured(data: Any) -> Iterator[Array]:
    """The arrays of events in what a data set of tonic's returns."""
    if isinstance(data, np.ndarray):
        if data.dtype.names and {"t", "x"} <= set(data.dtype.names):
            yield data
    elif isinstance(data, Mapping):
        for part in data.values():
            yield from _structured(part)
    elif isinstance(data, (tuple, list)):
        for part in data:
            yield from _structured(part)


def _times(events: Array) -> tuple[Array, Array]:
    """Microseconds from the beginning, rising, and the events' order."""
    time = events["t"].astype(np.int64)
    order = np.argsort(time, kind="stable")
    time = time[order]
    return (time - time[0] if len(time) and time[0] > RUNNING else time), order


def _column(events: Array, key: str, name: str) -> Array:
    assert events.dtype.names is not None
    if key not in events.dtype.names:
        return np.zeros(len(events), np.int64)
    return events[key].astype(np.int64)


def _sensor(opened: Opened, items: Sequence[tuple[str, int]]) -> tuple[int, int, int]:
    """(W, H, P) as tonic says, or where recordings differ in size the largest coordinates of all."""
    size = getattr(next(iter(opened.values())), "sensor_size", None)
    if size is not None:
        return int(size[0]), int(size[1]), int(size[2])
    most = np.ones(2, np.int64)
    for split, i in items:
        events, _ = _item(opened[split], i, _name(opened[split], split, i))
        if len(events):
            most = np.maximum(most, [int(events["x"].max()) + 1, int(_column(events, "y", "").max()) + 1])
    return int(most[0]), int(most[1]), 2


def _name(dataset: Any, split: str, i: int) -> str:
    """A recording's file where tonic keeps one for each, else its number."""
    data, place = getattr(dataset, "data", None), str(getattr(dataset, "location_on_system", ""))
    if isinstance(data, list) and i < len(data) and isinstance(data[i], str):
        return data[i].removeprefix(place).lstrip("/")
    return f"{split}:{i}".lstrip(":")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What tonic prints goes where messages belong, and its remarks about files left open nowhere."""
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
