"""A liquid as a file: JSON that says how to draw it, and what it has learned, which its seed can't give, in an .npz.

The JSON names the .npz beside it and its sha256, so that neither can be taken for another's, and holds a checksum of
all numbers of the network, so that what is rebuilt is what was saved or an error.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spiking.datasets.storage import atomic

if TYPE_CHECKING:
    from spiking.reservoir.lsm import LSM

FORMAT = "spiking.reservoir 2"  # 2: the checksum covers what all neurons have alike


def to_dict(lsm: LSM, beside: Path) -> dict[str, Any]:
    """What the JSON says of a liquid; `beside` is the file for what it has learned, written if it has."""
    more = {"learned": _write_learned(beside, lsm)} if lsm.learned else {}
    return {"format": FORMAT, **lsm.get_params(), **more, "digest": lsm.network().digest()}


def from_dict(kind: type[LSM], given: Any, folder: Path) -> LSM:
    """The liquid of `to_dict`; `folder` is where a file of what it has learned lies.

    Raises:
        ValueError, KeyError, TypeError: if it can't be rebuilt.
    """
    check_format(given, FORMAT)
    words = {name: value for name, value in given.items() if name != "format"}
    digest, taught = words.pop("digest"), words.pop("learned", None)
    if words["changes"]:
        words["changes"] = {name: _tuples(value) for name, value in words["changes"].items()}
    lsm = kind(**words)
    if taught is not None:
        _read_learned(folder, taught, lsm)
    if lsm.network().digest() != digest:
        raise ValueError("the network that its seed gives here has other synapses than the one that was saved")
    return lsm


def check_format(given: Any, wanted: str) -> None:
    """Raise if a JSON is not of this format.

    Raises:
        ValueError: with the format that it has.
    """
    if not isinstance(given, dict) or given.get("format") != wanted:
        got = given.get("format") if isinstance(given, dict) else type(given).__name__
        raise ValueError(f"format: expected {wanted!r}, got {got!r}")


def check_name(path: Path) -> None:
    """Raise if the JSON would lie where what was learned goes.

    Raises:
        ValueError: naming the path.
    """
    if path.suffix == ".npz":
        raise ValueError(f"path: expected a name such as liquid.json, for .npz is what it has learned, got {path}")


def _write_learned(path: Path, lsm: LSM) -> dict[str, str]:
    """Write strengths and thresholds; what the JSON says of them."""
    network = lsm.network()
    strength, whole = network.recurrent.values.numpy(), io.BytesIO()
    if network.threshold is None:
        np.savez_compressed(whole, strength=strength)
    else:
        np.savez_compressed(whole, strength=strength, threshold=network.threshold.numpy())
    with atomic(path) as temporary:
        Path(temporary).write_bytes(whole.getvalue())
    return {"file": path.name, "sha256": hashlib.sha256(whole.getvalue()).hexdigest()}


def _read_learned(folder: Path, words: Any, lsm: LSM) -> None:
    """Give a liquid what `words` of its JSON name; a ValueError names the file if it is not there or another."""
    fits = isinstance(words, dict) and set(words) == {"file", "sha256"} and isinstance(words["file"], str)
    if not fits or not words["file"] or Path(words["file"]).name != words["file"]:
        raise ValueError(f"learned: expected the name of a file beside this one and its sha256, got {words!r}")
    path = folder / words["file"]
    if not path.is_file():
        raise ValueError(
            f"learned: expected the strengths that this liquid has learned in {path}, which is not there; "
            "keep both files together"
        )
    whole = path.read_bytes()
    digest = hashlib.sha256(whole).hexdigest()
    if digest != words["sha256"]:
        raise ValueError(f"learned: expected {path} with sha256 {words['sha256']}, got {digest}")
    try:
        with np.load(io.BytesIO(whole)) as arrays:
            found = {name: torch.from_numpy(arrays[name]) for name in ("strength", "threshold") if name in arrays}
        lsm.teach(found["strength"], found.get("threshold"))
    except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"learned: expected strengths and thresholds in {path} ({error})") from error


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
