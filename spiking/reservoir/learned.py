"""What a liquid has learned, in an .npz file beside the JSON that says how to draw the rest.

The JSON names the file and its sha256, so that neither can be taken for another's.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spiking.datasets.storage import atomic

if TYPE_CHECKING:
    from spiking.reservoir.lsm import LSM


def write_learned(path: Path, lsm: LSM) -> dict[str, str]:
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


def read_learned(folder: Path, words: Any, lsm: LSM) -> None:
    """Give a liquid what `words` of its JSON name.

    Raises:
        ValueError: naming the file, if it is not there, was changed, or belongs to another network.
    """
    if not isinstance(words, dict) or set(words) != {"file", "sha256"} or Path(words["file"]).name != words["file"]:
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
    with np.load(io.BytesIO(whole)) as arrays:
        strength = torch.from_numpy(arrays["strength"])
        threshold = torch.from_numpy(arrays["threshold"]) if "threshold" in arrays else None
    lsm.teach(strength, threshold)
