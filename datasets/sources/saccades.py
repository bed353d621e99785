"""MNIST-like images before the camera of N-MNIST (`spiking.datasets.nmnist_camera`), 34x34x2, 315 ms.

The four idx files lie in the root (or in MNIST/raw or FashionMNIST/raw below it), packed with gzip or not. Without a
root they are looked for in the cache and, failing that, downloaded there. The column `image` is a picture's number in
its file: real N-MNIST recordings show pictures of the same files, and whoever trains here and tests there leaves those
out.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spiking.datasets.errors import DataError
from spiking.datasets.formats import idx
from spiking.datasets.nmnist_camera import NMNIST, VERSION
from spiking.datasets.sources.fetch import fetch
from spiking.datasets.sources.gather import fingerprint
from spiking.datasets.sources.parts import in_parts
from spiking.datasets.sources.plan import Plan
from spiking.datasets.store import EventStore

Array = np.ndarray[Any, Any]

PART, ROOM = 1000, 26_000
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
BELOW = ("", "MNIST/raw", "FashionMNIST/raw", "raw")


class Images(NamedTuple):
    """A set of images in four idx files.

    Attributes:
        name: what `load` calls its recordings.
        title: what people call the images.
        classes: their names.
        mirrors: where the packed files can be had.
        digests: sha256 of each file of FILES, unpacked.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    digests: tuple[str, ...]


MNIST = Images(
    "mnist-saccades",
    "MNIST",
    tuple("0123456789"),
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
FASHION = Images(
    "fashion-saccades",
    "Fashion-MNIST",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)


def plan(images: Images, root: Path | None, cache: Path, progress: bool) -> Plan:
    """What `load` builds from the four files below a root.

    Raises:
        DataError: if the files aren't there, and without a root can't be downloaded either.
    """
    root = where(images, root, cache)
    files = _files(images, root)
    key = {"version": VERSION, "files": fingerprint(root, files)}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    scratch = cache / f".{images.name}-{digest}.parts"
    # a byte of a file of labels is a recording of ROOM bytes; the parts, their spool and the store lie there at once
    size = 3 * ROOM * sum(len(idx.unpack(path)) for path in files[1::2])
    return Plan(key, size, lambda: _build(images, root, scratch, progress), scratch=scratch)


def where(images: Images, root: Path | None, cache: Path) -> Path:
    """The root, or without one a folder of the cache into which the files that it lacks have been downloaded.

    Raises:
        DataError: if they can't be.
    """
    if root is None:
        root = cache / images.title.lower()
        for name, digest in zip(FILES, images.digests, strict=True):
            if _find(root, name) is None:
                addresses = [f"{mirror}{name}.gz" for mirror in images.mirrors]
                fetch(addresses, root / f"{name}.gz", digest, _advice(images))
    return root


def read(images: Images, root: Path, split: str) -> tuple[Array, Array]:
    """Images (n, 28, 28) and labels (n,), bytes, of "train" or "test".

    Raises:
        DataError: naming the file, if it isn't there, can't be read, is of another set, or doesn't go with the other.
    """
    files = _files(images, root)
    pictures, labels = files[:2] if split == "train" else files[2:]
    for other in (MNIST, FASHION):
        if other.name != images.name and hashlib.sha256(idx.unpack(labels)).hexdigest() in other.digests:
            raise DataError(f"{labels}: these are {other.title}'s; {other.name} shows them, not {images.name}")
    seen, label = idx.read(pictures), idx.read(labels)
    if seen.ndim != 3 or seen.shape[1:] != (28, 28) or seen.dtype != np.uint8 or not len(seen):
        raise DataError(f"{pictures}: expected images of 28 x 28 bytes, got {seen.dtype} {seen.shape}")
    if label.ndim != 1 or label.dtype != np.uint8:
        raise DataError(f"{labels}: expected a row of bytes, one label per image, got {label.dtype} {label.shape}")
    if len(seen) != len(label):
        raise DataError(f"{labels}: {len(label)} labels, but {pictures} has {len(seen)} images")
    if label.max() >= len(images.classes):
        i = int((label >= len(images.classes)).argmax())
        raise DataError(f"{labels}: label {i} is {label[i]}; {images.title} has classes 0 to {len(images.classes) - 1}")
    return seen, label


def _files(images: Images, root: Path) -> list[Path]:
    found = [_find(root, name) for name in FILES]
    missing = [name for name, path in zip(FILES, found, strict=True) if path is None]
    if missing:
        raise DataError(f"{root}: no {' and no '.join(missing)} here; {_advice(images)}")
    return [path for path in found if path is not None]


def _advice(images: Images) -> str:
    names = ", ".join(f"{name}.gz" for name in FILES)
    return f"put {images.title}'s {names} there ({images.mirrors[0]}), packed or not"


def _find(root: Path, name: str) -> Path | None:
    """A file of FILES, as its publishers or others write its name."""
    for below in BELOW:
        for written in (name, name.replace("-idx", ".idx")):
            for end in ("", ".gz"):
                path = root / below / f"{written}{end}"
                if path.is_file():
                    return path
    return None


def _build(images: Images, root: Path, scratch: Path, progress: bool) -> EventStore:
    splits = [read(images, root, split) for split in ("train", "test")]
    pictures, labels = (np.concatenate(both) for both in zip(*splits, strict=True))
    sizes = [len(part) for _, part in splits]
    number = np.concatenate([np.arange(size) for size in sizes])
    split = np.repeat(["train", "test"], sizes)

    def part(which: range) -> EventStore:
        rows = slice(which.start, which.stop)
        film = NMNIST.record(pictures[rows], first=which.start)
        return film.store(labels[rows], images.classes, image=number[rows], split=split[rows])

    ranges = [range(k, min(k + PART, len(labels))) for k in range(0, len(labels), PART)]
    return in_parts(scratch, ranges, part, f"showing {images.title} to the simulated camera", progress)
